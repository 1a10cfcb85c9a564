"""Joins the processes of a run on several hosts; the wait for the others can be interrupted."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from aborts import say_when_aborted
from absl import flags

import ladder_jax as lj

FLAGS = ("coordinator", "num_processes", "process_id", "heartbeat_seconds")
_ALONE = (
    "the processes did not find each other: not all came within five minutes, or two have the same "
    "process_id (JAX gave up, see above)"
)


def check(values: flags.FlagValues) -> None:
    """That flags of a run on several hosts are not given without it.

    Raises:
      ConfigError: they are.
    """
    for name in FLAGS:
        if values[name].present and not values.distributed:
            raise lj.ConfigError(name, values[name].value, "goes with --distributed")


def join(values: flags.FlagValues, workdir: str) -> None:
    """Waits for the other processes.

    Raises:
      ConfigError: see ``hosts.initialize``.
    """
    if not values.quiet:
        print("waiting for the other processes, five minutes at most", flush=True)
    say_when_aborted(_ALONE)
    with _ended_by_signals():
        lj.hosts.initialize(*(values[name].value for name in FLAGS))
    kept = f"{workdir} {lj.hosts.LAST_CHECKPOINT}"
    say_when_aborted(lj.hosts.lost_peer("JAX gave up, see above", kept))


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    # JAX waits in C++, where Python's handlers are not run.
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_DFL) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
