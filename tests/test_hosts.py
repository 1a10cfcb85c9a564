"""Two real processes on this machine, two virtual devices each, as two hosts would be."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import ladder_jax as lj

DIGITS = Path(__file__).resolve().parent.parent / "experiments" / "digits.py"
LIMIT = 240  # seconds; a process that waits for a lost peer would take for ever
SMALL = ("--layers=dense:32,dense:10", "--denoising_weights=100,1,0.1")  # soon compiled

HEARTBEAT = 15  # seconds; a sign of life is sent twice in them
LONG = (
    *(*SMALL, "--epochs=2000", "--decay_start=1", "--checkpoint_every=1"),
    f"--heartbeat_seconds={HEARTBEAT}",
)


def start(folder, process, port, *words):
    environment = os.environ | {
        "JAX_NUM_CPU_DEVICES": "2",
        "JAX_PLATFORMS": "cpu",
        "PYTHONUNBUFFERED": "1",
    }
    command = [
        *(sys.executable, DIGITS, f"--workdir={folder}", "--distributed", "--noreport"),
        *(f"--coordinator=localhost:{port}", "--num_processes=2", f"--process_id={process}"),
    ]
    return subprocess.Popen(
        [*map(str, command), *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def free_port():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def start_both(folder, *words):
    port = free_port()
    return [start(folder, process, port, *words) for process in (0, 1)]


def finish(processes):
    try:
        return [process.communicate(timeout=LIMIT)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()


def read_costs(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    lines = [json.loads(line) for line in lines]
    return {(line.get("seed"), line["epoch"]): line["cost/total"] for line in lines}


def check_same_parameters(folder, other, seed):
    """To 1e-5 of the largest value of an array, after three epochs; 1e-6 was seen."""
    own, its = (lj.load(path, seed).variables["params"] for path in (folder, other))
    largest = jax.tree.map(lambda a, b: np.abs(a - b).max() / np.abs(b).max().clip(1e-3), own, its)
    assert max(jax.tree.leaves(largest)) < 1e-5, largest


def alone(folder, *words):
    done = subprocess.run(
        [sys.executable, DIGITS, f"--workdir={folder}", "--quiet", "--noreport", *words],
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "result.json").read_text())


@pytest.mark.parametrize(
    "words", [(), ("--parallel=pmap",), ("--num_seeds=4",)], ids=["jit", "pmap", "seeds"]
)
def test_two_hosts_train_as_one(tmp_path, words):
    words = (*SMALL, "--epochs=3", *words)
    processes = start_both(tmp_path / "two", *words)
    first, second = finish(processes)
    assert [process.returncode for process in processes] == [0, 0], first + second
    assert "test error" in first
    assert "test error" not in second  # one process speaks
    seeds = any("seeds" in word for word in words)
    want = alone(tmp_path / "one", *(word for word in words if "parallel" not in word))
    costs = read_costs(tmp_path / "two")
    assert costs == pytest.approx(read_costs(tmp_path / "one"), rel=1e-4)
    assert len(costs) == (12 if seeds else 3)
    got = json.loads((tmp_path / "two" / "result.json").read_text())
    assert got["device"].startswith("4 x")
    assert len(got["runs"]) == len(want["runs"]) == (4 if seeds else 1)
    assert got["test_error_percent"] == pytest.approx(want["test_error_percent"], abs=0.5)
    for run in got["runs"]:
        check_same_parameters(tmp_path / "two", tmp_path / "one", run["seed"])


def lose(which, how, folder):
    """Ends one of two hosts by a signal; the other one says so and ends too."""
    processes = start_both(folder, *LONG)
    other = processes[1 - which]
    try:
        wait_for_checkpoint(folder, processes)
        processes[which].send_signal(how)
        output = other.communicate(timeout=3 * HEARTBEAT)[0]  # JAX's own takes 50 to 100
    finally:
        processes[which].kill()
        finish(processes)
    assert other.returncode == 1, output
    last = output.splitlines()[-1]
    assert last.startswith("error: another process of this run ended or cannot be reached"), output
    assert last.endswith(f"{folder} goes on from its last checkpoint, if it has one")
    assert "Traceback" not in output
    return last


def test_hosts_left_by_a_silent_one_or_by_the_first_end_with_one_line(tmp_path):
    # Not gone, only silent: nothing fails but the heartbeat, by JAX's abort.
    silent = lose(1, signal.SIGSTOP, tmp_path / "silent")
    assert "(JAX gave up, see above)" in silent
    lose(0, signal.SIGKILL, tmp_path / "first")


def test_lost_host_is_named_and_the_run_goes_on(tmp_path):
    folder = tmp_path / "run"
    lose(1, signal.SIGKILL, folder)
    done = len(read_costs(folder))
    assert 1 <= done < 2000
    # The same, for fewer epochs than it would take, by SIGTERM to one of the two: both stop.
    processes = start_both(folder, *LONG)
    wait_for_more(folder, processes, done + 2)
    processes[1].send_signal(signal.SIGTERM)
    first, second = finish(processes)
    assert [process.returncode for process in processes] == [130, 143], first + second
    assert "run again to go on" in first
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    epochs = [json.loads(line)["epoch"] for line in lines]
    assert epochs == list(range(1, len(epochs) + 1))


def test_folder_that_is_not_shared_or_is_another_runs_ends_all_hosts(tmp_path):
    port = free_port()
    apart = [start(tmp_path / f"own{process}", process, port) for process in (0, 1)]
    for output in finish(apart):
        assert "not all hosts see it" in output
        assert "Traceback" not in output
    alone(tmp_path / "one", "--epochs=2")
    (tmp_path / "one" / "result.json").unlink()
    processes = start_both(tmp_path / "one", "--epochs=3")
    first, second = finish(processes)
    assert "training.epochs is 2 there, 3 here" in first
    assert "the first process cannot use it" in second
    assert [process.returncode for process in (*apart, *processes)] == [1] * 4


def test_a_dry_run_joins_nobody(tmp_path):
    process = start(tmp_path / "none", 0, 1, "--dry_run")
    (output,) = finish([process])
    assert process.returncode == 0
    assert "gaussian" in output
    assert not (tmp_path / "none").exists()


def wait_for_checkpoint(folder, processes):
    deadline = time.monotonic() + LIMIT
    while not any(folder.glob("checkpoints/[0-9]*")):
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes)
        time.sleep(0.2)


def wait_for_more(folder, processes, lines):
    deadline = time.monotonic() + LIMIT
    while len(read_costs(folder)) < lines:
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes)
        time.sleep(0.2)


def test_one_host_alone_waits_for_nobody():
    assert lj.hosts.is_first_process()
    lj.hosts.wait_for_processes("nobody")
    assert lj.hosts.any_process(True)
    assert not lj.hosts.any_process(False)
