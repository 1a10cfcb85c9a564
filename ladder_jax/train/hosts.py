"""The processes of a run on several hosts: one on each, all with the same program.

Each has the whole data set in its memory and computes with its own devices; only the first one
writes. Some devices and hosts being only how a run is made, nothing else needs to know of them.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from ladder_jax.errors import ConfigError, PeerError, whole

HEARTBEAT_SECONDS = 100  # as JAX's own default

# What a JaxRuntimeError begins with that is this process's own trouble, no lost process.
_OWN_TROUBLE = ("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT")


def initialize(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    heartbeat_seconds: int = HEARTBEAT_SECONDS,
) -> None:
    """Joins the processes of a run on several hosts; before anything else is done with JAX.

    It waits for all of them, five minutes at most. Under Slurm JAX gives each task one GPU of its
    node, elsewhere a process has all of its host's devices.

    Args:
      coordinator: host:port of process 0. This and the others are found by themselves on TPU
        pods, under Slurm and Kubernetes.
      num_processes: how many there are.
      process_id: which of them this is, from 0.
      heartbeat_seconds: silence after which a process counts as lost and JAX aborts the others.
        A process that is alive sends its sign of life from a thread of its own, also while it
        compiles; a host that is badly overloaded may be late.

    Raises:
      ConfigError: one of them cannot be, some of the first three are missing, the port is in use
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
    """What JAX would say less clearly, or end the process for."""
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
    """Tries the port of process 0 as JAX will use it, on all addresses; else it crashes."""
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
    """Whether this is one of several processes; asks without starting JAX's backends."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def is_first_process() -> bool:
    """Whether this process is the one that writes, of a run on several hosts."""
    return jax.process_index() == 0


def process_index() -> int:
    """Which of the processes of the run this one is, from 0."""
    return jax.process_index()


def number_of_first_process(number: int | None) -> int | None:
    """What the first process of a run on several hosts calls it with, not negative; all ask."""
    if jax.process_count() == 1:
        return number
    told = multihost_utils.broadcast_one_to_all(np.array(-1 if number is None else number))
    return None if told < 0 else int(told)


def wait_for_processes(name: str) -> None:
    """Returns when all processes of a run on several hosts have called it by that name."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def any_process(wish: bool) -> bool:
    """Whether one of the processes of a run on several hosts wishes it; all ask at once."""
    if jax.process_count() == 1:
        return wish
    return bool(np.any(multihost_utils.process_allgather(np.array(wish))))


def check_same_settings(settings: Mapping[str, Any]) -> None:
    """Holds that all processes of a run on several hosts have the same; all call it at once.

    Args:
      settings: plain JSON values, may be nested.

    Raises:
      ConfigError: they differ; in every process.
    """
    if jax.process_count() == 1:
        return
    own = np.frombuffer(json.dumps(settings, default=str).encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.array(len(own)))
    padded = np.zeros(sizes.max(), np.uint8)  # all processes have to give the same shape
    padded[: len(own)] = own
    texts = multihost_utils.process_allgather(padded)
    told = [json.loads(bytes(t[:n])) for t, n in zip(texts, sizes, strict=True)]
    raise_if_different(told, jax.process_index())


def raise_if_different(told: Sequence[Mapping[str, Any]], own: int) -> None:
    """Compares the settings of all processes with those of process ``own``.

    Raises:
      ConfigError: names the first field in which another process differs, and both values.
    """
    mine = _flat(told[own])
    for process, settings in enumerate(told):
        its = _flat(settings)
        for field in [*mine, *(name for name in its if name not in mine)]:
            value, other = mine.get(field), its.get(field)
            if value != other:
                problem = f"process {process} has {other}; start all with the same settings"
                raise ConfigError(field, value, problem)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in settings.items():
        nested = isinstance(value, Mapping)
        found |= _flat(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return found


@contextmanager
def naming_lost_peers(kept: str) -> Iterator[None]:
    """Turns what JAX raises when another process of the run is gone into a ``PeerError``.

    JAX has no error of its own for it. Full memory and wrong arguments pass as they are.

    Args:
      kept: what is not lost, for the message.

    Raises:
      PeerError: another process is gone.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1 or str(error).startswith(_OWN_TROUBLE):
            raise
        raise PeerError(lost_peer(str(error).splitlines()[0], kept)) from error


def kept_in(workdir: str | os.PathLike[str] | None) -> str:
    """What is not lost when a run ends before its time; None keeps nothing on disk."""
    if workdir is None:
        return "nothing was saved"
    return f"{workdir} goes on from its last checkpoint, if it has one"


def lost_peer(reason: str, kept: str) -> str:
    """What is said when another process of the run is gone: why so, and what is not lost."""
    lost = f"another process of this run ended or cannot be reached ({reason})"
    return f"{lost}; start all of them again: {kept}"
