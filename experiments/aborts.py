"""One clear last line where JAX ends a process of a run on several hosts by abort().

It does so, from a thread of its own and with a long log, when a lost process is noticed by its
missed heartbeat and not by an error of a computation; Python cannot catch that as an exception.
"""

import ctypes
import os
import signal
from collections.abc import Callable

_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int)
_kept: list[Callable[[int], None]] = []  # C holds no reference


def say_when_aborted(message: str) -> None:
    """Lets the process end with that line and status 1 where it would be aborted; again: anew.

    Python's own handlers do not do: they run in the main thread, later, and abort() is final.

    Args:
      message: what happened, and what to do.
    """
    text = f"error: {message}\n".encode()

    def end(number: int) -> None:
        os.write(2, text)
        os._exit(1)

    _kept.append(_Handler(end))
    ctypes.CDLL(None).signal(int(signal.SIGABRT), _kept[-1])
