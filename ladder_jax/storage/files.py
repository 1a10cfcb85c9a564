"""Replaces, locks and reads the files of a run."""

# The operating system frees a lock when its process ends, however it ends, so none is ever stale.

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from ladder_jax.errors import RunError, while_writing

Json = dict[str, Any]
_Parsed = TypeVar("_Parsed")

UNREADABLE = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    OverflowError,
    RecursionError,
)
"""Exceptions that damaged JSON, or JSON of another version, can cause."""

OTHER_VERSION = "is damaged or of another version of ladder_jax ({error})"
"""What is wrong with a file that ``read_json`` cannot use."""

SET_IT_ASIDE = "set this run aside (--noresume, in Python resume=False)"
"""What to do with a run folder that cannot be continued, as the end of a sentence."""


def read_json(
    path: Path, parse: Callable[[Json], _Parsed], problem: str = OTHER_VERSION
) -> _Parsed | None:
    """Returns what ``parse`` makes of the object in a JSON file, or None if there is no such file.

    Raises:
      RunError: the file cannot be read, or ``parse`` raised one of ``UNREADABLE``. The message is
        then ``problem``, with that exception in the place of ``{error}``.
    """
    try:
        known = json.loads(path.read_bytes())
        if not isinstance(known, dict):
            raise TypeError("it is no JSON object")
        return parse(known)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from None
    except UNREADABLE as error:
        raise RunError(f"{path}: {problem.format(error=error)}") from None


def append_metrics(path: Path, lines: Sequence[Json]) -> None:
    """Adds all lines to metrics.jsonl, or none of them if there is a RunError."""
    text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines).encode()
    with while_writing(path), open(path, "ab", buffering=0) as file:
        before = file.seek(0, os.SEEK_END)
        try:
            if file.write(text) != len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            file.truncate(before)
            raise


def read_metrics(path: Path) -> dict[int, list[Json]]:
    """Returns all complete lines by seed, one per epoch from the first; none without a file."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from None
    found: dict[int, list[Json]] = {}
    try:
        for line in (json.loads(line) for line in lines if line.endswith(b"\n")):
            found.setdefault(line["seed"], []).append(line)
        whole = all(
            [line["epoch"] for line in own] == list(range(1, len(own) + 1))
            for own in found.values()
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        whole = False
    if not whole:
        raise RunError(f"{path}: is damaged; choose another work folder, or {SET_IT_ASIDE}")
    return found


def metrics_text(metrics: dict[int, list[Json]], at_once: bool) -> bytes:
    """Returns the whole content of metrics.jsonl from the lines of each seed."""
    # The order in which the seeds' epochs were trained.
    first, second = ("epoch", "seed") if at_once else ("seed", "epoch")
    lines = [line for own in metrics.values() for line in own]
    lines.sort(key=lambda line: (line[first], line[second]))
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def sync(path: Path) -> None:
    """Waits until the lines of the file are on the disk."""
    if path.exists():
        with while_writing(path), open(path, "ab") as file:
            os.fsync(file.fileno())


def replace(path: Path, content: str | bytes) -> None:
    """Replaces a file as a whole: a reader sees the old or the new one, never a part."""
    partial = path.with_name(f".{path.name}.partial")
    with while_writing(path):
        try:
            with open(partial, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except OSError:
            with suppress(OSError):
                partial.unlink()
            raise


if sys.platform == "win32":
    import msvcrt
    import time

    def lock(file: IO[Any], wait: bool) -> bool:
        """Locks a file until it is closed or its process ends, and returns whether it could."""
        file.seek(1 << 30)  # beyond the content, since Windows lets nobody read a locked part
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

    def lock(file: IO[Any], wait: bool) -> bool:
        """Locks a file until it is closed or its process ends, and returns whether it could."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another process has it
            return False
        return True
