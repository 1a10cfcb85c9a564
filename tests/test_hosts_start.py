"""How the processes of a run on several hosts come together, or say why they do not."""

import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import pytest
from test_hosts import DIGITS, SMALL, alone, finish, start, start_both

import ladder_jax as lj
from ladder_jax import hosts


@pytest.fixture
def taken_port():
    with socket.create_server(("", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("localhost", 2, 0), "coordinator=localhost: give host:port"),
        (("localhost:http", 2, 0), "give host:port"),
        (("localhost:70000", 2, 0), "give host:port"),
        ((":1234", 2, 0), "give host:port"),
        (("localhost:1", 0, 0), "num_processes=0"),
        (("localhost:1", 2, 2), "process_id=2: is from 0 to 1 with num_processes=2"),
        (("localhost:1", 2, -1), "process_id=-1"),
        (("localhost:1", 2, None), "give coordinator, num_processes and process_id"),
        ((None, None, None), "no TPU pod, Slurm or Kubernetes was found; give coordinator"),
    ],
)
def test_mistakes_are_found_before_anybody_is_waited_for(given, words):
    with pytest.raises(lj.ConfigError, match=words):
        hosts.initialize(*given)


def test_port_in_use_is_said(taken_port):
    """JAX would end the process with a segmentation fault."""
    with pytest.raises(lj.ConfigError, match=f"port {taken_port} is in use on this host"):
        hosts.initialize(f"localhost:{taken_port}", 2, 0)


@pytest.mark.parametrize("flag", ["coordinator=a:1", "process_id=0", "heartbeat_seconds=9"])
def test_flags_of_several_hosts_need_distributed(tmp_path, flag):
    command = [sys.executable, DIGITS, f"--workdir={tmp_path}", f"--{flag}"]
    done = subprocess.run(command, capture_output=True, text=True)
    name, value = flag.split("=")
    assert done.stderr == f"error: {name}={value}: goes with --distributed\n"
    assert done.returncode == 1


@pytest.mark.parametrize("process", [0, 1])
def test_ctrl_c_ends_the_wait_for_the_others(tmp_path, process):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    waiting = start(tmp_path, process, port)
    try:
        assert waiting.stdout.readline().startswith("waiting for the other processes")
        time.sleep(2)  # until it is in JAX's own wait
        waiting.send_signal(signal.SIGINT)
        waiting.communicate(timeout=30)
    finally:
        waiting.kill()
    assert waiting.returncode == -signal.SIGINT


def test_no_find_is_said_otherwise_than_a_loss():
    code = """
import os, sys
sys.path.insert(0, "experiments")
import joining, ladder_jax as lj
from common_flags import define
values = define("digits", "50")
values(["digits", "--distributed", "--workdir=w"])
lj.hosts.initialize = lambda *given: os.abort()
joining.join(values, "w")
"""
    root = DIGITS.parent.parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: the processes did not find each other:")


def test_processes_with_different_settings_say_which(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    both = [start(tmp_path / "run", i, port, *SMALL, f"--epochs={3 + i}") for i in (0, 1)]
    first, second = finish(both)
    assert "error: training.epochs=3: process 1 has 4; start all with the same settings" in first
    assert "error: training.epochs=4: process 0 has 3; start all with the same settings" in second
    assert [process.returncode for process in both] == [1, 1]
    assert not (tmp_path / "run" / "config.json").exists()


def test_the_first_difference_is_named_in_every_process():
    told = [{"a": {"b": 1}, "c": [2]}, {"a": {"b": 1}, "c": [3]}, {"a": {"b": 1}, "c": [2], "d": 4}]
    for own, words in ((0, r"c=2: process 1 has \[3\]"), (1, "c=3: process 0"), (2, "process 0")):
        with pytest.raises(lj.ConfigError, match=words):
            hosts.raise_if_different(told, own)
    hosts.raise_if_different(told[:1] * 3, 1)


def test_finished_run_that_one_host_does_not_see_is_said(tmp_path):
    """By the host that sees it too, which has nothing to train."""
    words = (*SMALL, "--epochs=2")
    alone(tmp_path / "own0", *words)
    shutil.rmtree(tmp_path / "own0" / "checkpoints", ignore_errors=True)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    both = [start(tmp_path / f"own{i}", i, port, *words) for i in (0, 1)]
    for output in finish(both):
        assert "not all hosts see it" in output
    assert [process.returncode for process in both] == [1, 1]
    assert (tmp_path / "own0" / "result.json").exists()


def test_finished_run_is_shown_once(tmp_path):
    words = (*SMALL, "--epochs=2")
    alone(tmp_path / "run", *words)
    both = start_both(tmp_path / "run", *words)
    first, second = finish(both)
    assert "this run was finished before" in first and "this run" not in second
    assert [process.returncode for process in both] == [0, 0]


@pytest.mark.parametrize("kind", ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "INVALID_ARGUMENT"])
def test_full_memory_is_no_lost_process(monkeypatch, kind):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    expected = lj.PeerError if kind == "UNAVAILABLE" else jax.errors.JaxRuntimeError
    with pytest.raises(expected, match=kind), hosts.naming_lost_peers("kept"):
        raise jax.errors.JaxRuntimeError(f"{kind}: because")


def test_parallel_of_another_kind_is_refused(tiny_config, blobs):
    with pytest.raises(lj.ConfigError, match=r'parallel=all: give lj.Parallel\(devices="all"\)'):
        lj.train_and_evaluate(
            tiny_config, lj.TrainConfig(labels=20, epochs=1), blobs, parallel="all"
        )
