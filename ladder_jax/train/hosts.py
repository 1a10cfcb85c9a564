"""The processes of a run on several hosts: one on each host, all with the same program.

Each process has the whole data set in its memory and computes with its own devices; only the
first one writes. Hosts and devices change how a run is computed, and its result by rounding only.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from ladder_jax.errors import ConfigError, PeerError, whole
from ladder_jax.storage.description import differences

HEARTBEAT_SECONDS = 100  # JAX's own default

# How a JaxRuntimeError begins that comes from this process and not from a lost one.
_OWN_TROUBLE = ("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT")


def initialize(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    heartbeat_seconds: int = HEARTBEAT_SECONDS,
) -> None:
    """Connects the processes of a run on several hosts, before any other use of JAX.

    It waits at most five minutes for all of them. Under Slurm, JAX gives each task one GPU of its
    node; elsewhere a process has all devices of its host.

    Args:
      coordinator: host:port of process 0. JAX finds this and the next two arguments by itself on
        TPU pods and under Slurm and Kubernetes.
      num_processes: number of processes.
      process_id: index of this process, from 0.
      heartbeat_seconds: silence after which a process counts as lost and JAX aborts the others.
        A process sends its heartbeat from a separate thread, even while it compiles; on a badly
        overloaded host it may be late.

    Raises:
      ConfigError: a value is invalid, only some of the first three are given, the port is in use
        on the host of process 0, or the processes do not find each other.
    """
    if heartbeat_seconds < 1:
        raise ConfigError("heartbeat_seconds", heartbeat_seconds, "has to be at least 1")
    given = (coordinator, num_processes, process_id)
    if coordinator is not None and num_processes is not None and process_id is not None:
        _check_given(coordinator, num_processes, process_id)
    elif given != (None, None, None):
        problem = "give coordinator, num_processes and process_id, or none of them"
        raise ConfigError("coordinator", coordinator, problem)
    try:
        jax.distributed.initialize(*given, heartbeat_timeout_seconds=heartbeat_seconds)
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        problem = f"the processes do not find each other ({reason})"
        if coordinator is None and "be defined" in reason:
            found = "no TPU pod, Slurm or Kubernetes was found"
            problem = f"{found}; give coordinator, num_processes and process_id"
        raise ConfigError("distributed", True, problem) from None


def _check_given(coordinator: str, num_processes: int, process_id: int) -> None:
    """Raises a ConfigError for values that JAX reports less clearly or crashes on."""
    host, _, port = coordinator.rpartition(":")
    if not (host and port.isdecimal() and 1 <= int(port) <= 65535):
        problem = "give host:port of process 0, such as 10.0.0.1:12345"
        raise ConfigError("coordinator", coordinator, problem)
    whole("num_processes", num_processes, 1)
    if whole("process_id", process_id, 0) >= num_processes:
        problem = f"is from 0 to {num_processes - 1} with num_processes={num_processes}"
        raise ConfigError("process_id", process_id, problem)
    if process_id == 0:
        _check_port(coordinator, int(port))


def _check_port(coordinator: str, port: int) -> None:
    """Raises a ConfigError if process 0 cannot open the port."""
    # JAX listens on all addresses and crashes if it cannot, so this tries the same first.
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    try:
        socket.create_server(("", port), family=family, dualstack_ipv6=dual).close()
    except OSError as error:
        used = error.errno == errno.EADDRINUSE
        reason = "is in use" if used else f"cannot be used ({error.strerror})"
        problem = f"port {port} {reason} on this host; choose another for all processes"
        raise ConfigError("coordinator", coordinator, problem) from None


def are_several() -> bool:
    """Returns whether this is one of several processes, without starting JAX's backends."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def is_first_process() -> bool:
    """Returns whether this process is the first one, which alone writes files."""
    return jax.process_index() == 0


def number_of_first_process(number: int | None) -> int | None:
    """Returns the ``number`` of the first process; all processes must call it."""
    if jax.process_count() == 1:
        return number
    # A broadcast takes arrays only, so -1 stands for None.
    told = multihost_utils.broadcast_one_to_all(np.array(-1 if number is None else number))
    return None if told < 0 else int(told)


def wait_for_processes(name: str) -> None:
    """Waits until all processes of the run have called it with the same name."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def any_process(wish: bool) -> bool:
    """Returns whether ``wish`` is true in any process; all processes must call it."""
    if jax.process_count() == 1:
        return wish
    return bool(np.any(multihost_utils.process_allgather(np.array(wish))))


def check_same_settings(settings: dict[str, Any]) -> None:
    """Raises a ConfigError in every process if their settings, JSON values, differ."""
    if jax.process_count() == 1:
        return
    own = np.frombuffer(json.dumps(settings, default=str).encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.array(len(own)))
    padded = np.zeros(sizes.max(), np.uint8)  # all processes must pass the same shape
    padded[: len(own)] = own
    texts = multihost_utils.process_allgather(padded)
    told = [json.loads(bytes(t[:n])) for t, n in zip(texts, sizes, strict=True)]
    raise_if_different(told, jax.process_index())


def raise_if_different(told: Sequence[dict[str, Any]], own: int) -> None:
    """Raises a ConfigError for the first field that differs from that of process ``own``."""
    for process, settings in enumerate(told):
        for field, other, value in differences(settings, told[own]):
            problem = f"process {process} has {other}; start all with the same settings"
            raise ConfigError(field, value, problem)


@contextmanager
def naming_lost_peers(kept: str) -> Iterator[None]:
    """Raises a PeerError that names what is ``kept`` if another process is lost."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        # JAX has no error class for a lost process, so all but known other errors count as one.
        if jax.process_count() == 1 or str(error).startswith(_OWN_TROUBLE):
            raise
        raise PeerError(lost_peer(str(error).splitlines()[0], kept)) from error


def kept_in(workdir: str | os.PathLike[str] | None) -> str:
    """Returns, in words, what is not lost if a run with this work folder ends early."""
    if workdir is None:
        return "nothing was saved"
    return f"{workdir} goes on from its last checkpoint, if it has one"


def lost_peer(reason: str, kept: str) -> str:
    """Returns the message for a lost process: the reason, and what is not lost."""
    lost = f"another process of this run ended or cannot be reached ({reason})"
    return f"{lost}; start all of them again: {kept}"
