"""Makes a command one process of a run on several hosts."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

from absl import flags

import ladder_jax as lj

_FLAGS = ("coordinator", "process_id", "num_processes", "heartbeat_seconds")


def check_flags(values: flags.FlagValues) -> None:
    """Raises ``ConfigError`` if a flag of several hosts is given without --distributed."""
    for name in _FLAGS:
        if values[name].present and not values.distributed:
            raise lj.ConfigError(name, values[name].value, "goes with --distributed; add that")


def join(values: flags.FlagValues, workdir: str) -> None:
    """Waits for the other processes; a signal meanwhile ends the command at once."""
    if not values.quiet:
        print("waiting for the other processes, five minutes at most", flush=True)
    count = f"all {values.num_processes}" if values.num_processes else "all"
    say_when_aborted(
        f"the processes did not find each other: not {count} came within five minutes, or two "
        "have the same process_id (JAX gave up, see above)"
    )
    # JAX waits in C++, where Python's handlers do not run; there is nothing to save yet.
    stops = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, signal.SIG_DFL) for number in stops}
    try:
        given = (values.coordinator, values.num_processes, values.process_id)
        lj.hosts.initialize(*given, values.heartbeat_seconds)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    kept = lj.hosts.kept_in(workdir)
    say_when_aborted(lj.hosts.lost_peer("JAX gave up, see above", kept))


def all_have(found: bool, workdir: str) -> bool:
    """Returns whether ``found`` is true in all processes, each of which has to call this."""
    with lj.hosts.naming_lost_peers(lj.hosts.kept_in(workdir)):
        return not lj.hosts.any_process(not found)


_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int)
_kept: list[Callable[[int], None]] = []  # C holds no reference


def say_when_aborted(message: str) -> None:
    """Sets the message with which the process exits with status 1 instead of aborting."""
    # Python's own handlers cannot do this: they run later, in the main thread; abort() is final.
    text = f"error: {message}\n".encode()

    def end(number: int) -> None:
        os.write(2, text)
        os._exit(1)

    _kept.append(_Handler(end))
    ctypes.CDLL(None).signal(int(signal.SIGABRT), _kept[-1])
