"""Locks on files that the operating system frees when their process ends, however it ends.

So no lock is ever stale: that of a killed process is gone with it.
"""

from __future__ import annotations

import sys
from typing import IO, Any

if sys.platform == "win32":
    import msvcrt
    import time

    def _lock(file: IO[Any], wait: bool) -> bool:
        while True:
            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
                return True
            except PermissionError:  # another process has it
                if not wait:
                    return False
                time.sleep(0.05)

else:
    import fcntl

    def _lock(file: IO[Any], wait: bool) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another process has it
            return False
        return True


def lock(file: IO[Any], wait: bool) -> bool:
    """Locks an open file until it is closed or its process ends; whether that could be done.

    Args:
      file: open for writing.
      wait: until another process frees it; else the answer is at once.
    """
    return _lock(file, wait)
