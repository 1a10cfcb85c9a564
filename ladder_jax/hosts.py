"""The processes of a run on several hosts: one on each, all with the same program.

Each has the whole data set in its memory and computes with its own devices; only the first one
writes. Some devices and hosts being only how a run is made, nothing else needs to know of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import jax
import numpy as np
from jax.experimental import multihost_utils

from ladder_jax.errors import ConfigError, PeerError

HEARTBEAT_SECONDS = 100  # as JAX's own default


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
      ConfigError: some of the first three are missing, the last is not positive, or the
        processes do not find each other.
    """
    if heartbeat_seconds < 1:
        raise ConfigError("heartbeat_seconds", heartbeat_seconds, "has to be at least 1")
    given = (coordinator, num_processes, process_id)
    if any(value is None for value in given) and given != (None, None, None):
        problem = "give coordinator, num_processes and process_id, or none of them"
        raise ConfigError("coordinator", coordinator, problem)
    try:
        jax.distributed.initialize(*given, heartbeat_timeout_seconds=heartbeat_seconds)
    except (ValueError, RuntimeError) as error:
        problem = f"the processes do not find each other ({str(error).splitlines()[0]})"
        raise ConfigError("distributed", True, problem) from None


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


@contextmanager
def naming_lost_peers(kept: str) -> Iterator[None]:
    """Turns what JAX raises when another process of the run is gone into a ``PeerError``."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        raise PeerError(lost_peer(str(error).splitlines()[0], kept)) from error


def lost_peer(reason: str, kept: str) -> str:
    """What is said when another process of the run is gone: why so, and what is not lost."""
    lost = f"another process of this run ended or cannot be reached ({reason})"
    return f"{lost}; start all of them again: {kept}"
