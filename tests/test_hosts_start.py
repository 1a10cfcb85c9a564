"""How the processes of a run on several hosts find each other, and what is said if they do not."""

import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from test_hosts import SMALL, alone, finish, free_port, start, start_both

import ladder_jax as lj


@pytest.fixture
def joined(monkeypatch):
    """What reaches JAX, which joins nobody."""
    told = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *a, **k: told.append((a, k)))
    return told


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("localhost:1", None, None), "give coordinator, num_processes and process_id, or none"),
        (("localhost", 2, 1), "coordinator=localhost: give host:port of process 0"),
        (("localhost:port", 2, 1), "coordinator=localhost:port: give host:port"),
        ((":123", 2, 1), "coordinator=:123: give host:port"),
        (("localhost:70000", 2, 1), "coordinator=localhost:70000: give host:port"),
        (("localhost:1", 0, 0), "num_processes=0: a whole number of at least 1"),
        (("localhost:1", 2, 2), "process_id=2: is from 0 to 1 with num_processes=2"),
        (("localhost:1", 2, -1), "process_id=-1: a whole number of at least 0"),
        ((None, None, None, 0), "heartbeat_seconds=0"),
    ],
)
def test_settings_of_hosts_are_checked(joined, given, message):
    with pytest.raises(lj.ConfigError, match=message):
        lj.hosts.initialize(*given)
    assert not joined


def test_heartbeat_reaches_jax(joined):
    address = f"localhost:{free_port()}"
    lj.hosts.initialize(address, 2, 0, heartbeat_seconds=7)
    lj.hosts.initialize()
    assert joined == [
        ((address, 2, 0), {"heartbeat_timeout_seconds": 7}),
        ((None, None, None), {"heartbeat_timeout_seconds": 100}),
    ]


def test_nothing_given_and_nothing_found_says_what_to_give():
    """In a process of its own: JAX asks whether it was used before it looks for others."""
    code = "import ladder_jax as lj; lj.hosts.initialize()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "no TPU pod, Slurm or Kubernetes was found; give coordinator" in done.stderr


@pytest.mark.parametrize("address", ["", "127.0.0.1"])
def test_port_in_use_is_said_where_jax_would_crash(joined, address):
    with socket.create_server((address, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(lj.ConfigError, match=f"port {port} is in use on this host"):
            lj.hosts.initialize(f"localhost:{port}", 2, 0)
        assert not joined
        lj.hosts.initialize(f"localhost:{port}", 2, 1)  # it is process 0 that has to have it
    assert len(joined) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_waiting_for_others(tmp_path, number):
    process = start(tmp_path / "run", 0, free_port(), *SMALL)
    try:
        assert process.stdout.readline().startswith("waiting for the other processes, five")
        time.sleep(2)  # until JAX waits, in C++
        assert process.poll() is None
        process.send_signal(number)
        assert process.wait(timeout=10) == -number
    finally:
        process.kill()
        finish([process])
    assert not (tmp_path / "run").exists()


def test_an_abort_says_what_jax_was_doing(tmp_path):
    process = start(tmp_path / "run", 0, free_port(), *SMALL)
    try:
        process.stdout.readline()
        time.sleep(2)
        process.send_signal(signal.SIGABRT)  # as JAX does after five minutes
        output = process.communicate(timeout=20)[0]
    finally:
        process.kill()
        finish([process])
    assert process.returncode == 1
    said = output.splitlines()[-1]
    assert said.startswith("error: the processes did not find each other: not all 2 came"), said
    assert "checkpoint" not in said


def test_finished_run_that_one_host_does_not_see_is_said_by_all(tmp_path):
    alone(tmp_path / "one", *SMALL, "--epochs=1")
    port = free_port()
    words = (*SMALL, "--epochs=1", "--heartbeat_seconds=15")
    processes = [start(tmp_path / folder, i, port, *words) for i, folder in enumerate(("one", "x"))]
    for output in finish(processes):
        assert "not all hosts see it" in output
        assert "Traceback" not in output
    assert [process.returncode for process in processes] == [1, 1]


def test_finished_run_that_all_see_is_shown(tmp_path):
    alone(tmp_path, *SMALL, "--epochs=1")
    first, second = finish(start_both(tmp_path, *SMALL, "--epochs=1"))
    assert "this run was finished before" in first
    assert "test error" in first and "test error" not in second


def test_different_settings_are_named_by_both(tmp_path):
    port = free_port()
    words = [(*SMALL, f"--epochs={epochs}") for epochs in (3, 4)]
    processes = [start(tmp_path / "run", i, port, *own) for i, own in enumerate(words)]
    first, second = finish(processes)
    told = "start all with the same settings"
    assert f"error: training.epochs=3: process 1 has 4; {told}" in first
    assert f"error: training.epochs=4: process 0 has 3; {told}" in second
    assert [process.returncode for process in processes] == [1, 1]
    assert not (tmp_path / "run").exists()


def test_first_difference_is_named_with_its_process():
    same = {"model": {"layers": [1, 2]}, "seeds": 1}
    lj.hosts.raise_if_different([same, same, same], 1)
    lj.hosts.check_same_settings(same)  # one process alone asks nobody
    told = [same, same, {"model": {"layers": [1, 3]}, "seeds": 2}]
    with pytest.raises(lj.ConfigError, match=r"model.layers=1,2: process 2 has \[1, 3\]"):
        lj.hosts.raise_if_different(told, 0)
    with pytest.raises(lj.ConfigError, match=r"model.layers=1,3: process 0 has \[1, 2\]"):
        lj.hosts.raise_if_different(told, 2)
    with pytest.raises(lj.ConfigError, match="more=None: process 1 has 1"):
        lj.hosts.raise_if_different([same, same | {"more": 1}], 0)


def test_settings_of_unequal_length_are_told_whole(monkeypatch):
    """The gathering, of two processes imitated: the other one's text is longer."""
    other = {"name": "longer than this one's"}
    text = np.frombuffer(b'{"name": "longer than this one\'s"}', np.uint8)

    def gather(own):
        if own.ndim == 0:
            return np.array([own, len(text)])
        assert len(own) == len(text)
        return np.stack([own, text])

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(lj.hosts.multihost_utils, "process_allgather", gather)
    lj.hosts.check_same_settings(other)
    with pytest.raises(lj.ConfigError, match="name=short: process 1 has longer"):
        lj.hosts.check_same_settings({"name": "short"})


def test_only_a_lost_process_is_called_one(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    for own in ("RESOURCE_EXHAUSTED: Out of memory", "INVALID_ARGUMENT: shapes"):
        with pytest.raises(jax.errors.JaxRuntimeError, match=own), lj.hosts.naming_lost_peers(""):
            raise jax.errors.JaxRuntimeError(own)
    with pytest.raises(lj.PeerError, match="Connection closed"), lj.hosts.naming_lost_peers(""):
        raise jax.errors.JaxRuntimeError("UNKNOWN: Gloo all-reduce failed: Connection closed")


def test_no_heartbeat_is_one_line_before_anything_begins(tmp_path):
    process = start(tmp_path / "none", 0, 1, "--heartbeat_seconds=0")
    (output,) = finish([process])
    assert process.returncode == 1
    assert output.startswith("error: ") and "heartbeat_seconds" in output
    assert output.count("\n") == 1
    assert not (tmp_path / "none").exists()
