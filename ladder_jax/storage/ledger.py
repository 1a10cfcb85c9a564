"""Keeps the results of many runs in one file that any number of processes append to."""

# The file has a JSON object per line and only grows. A process holds a lock while it appends, so
# no line is lost or torn by another process. A claim on a run is a lock too: the operating system
# frees it when its process ends, however it ends.

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any

from ladder_jax.errors import RunError
from ladder_jax.storage.files import lock

Line = dict[str, Any]


class Ledger:
    """A file of finished runs, one JSON object per line."""

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)

    def lines(self) -> list[Line]:
        """Returns all complete lines, without the last one if a kill cut it short."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RunError(f"{self.path}: cannot be read ({error.strerror})") from None
        found = []
        for number, text in enumerate(content.splitlines(keepends=True), 1):
            line = _parse(text)
            if line is not None:
                found.append(line)
            elif text.endswith(b"\n") and text.strip():
                raise RunError(
                    f"{self.path}: line {number} is damaged; mend it or remove that line"
                )
        return found

    def append(self, line: Line) -> None:
        """Adds a line, which is on the disk when this returns."""
        text = json.dumps(line, allow_nan=False).encode() + b"\n"
        with self.locked(), self._writing(), open(self.path, "a+b") as file:
            file.seek(0)
            content = file.read()
            torn = content[content.rfind(b"\n") + 1 :]
            if _parse(torn) is not None:  # complete except for its newline
                text = b"\n" + text
            elif torn:
                file.truncate(len(content) - len(torn))
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Waits for other processes to finish appending, and keeps them from it meanwhile."""
        # This file and .claims/ may be deleted while no process is at work.
        with self._open(self.path.with_name(self.path.name + ".lock")) as file:
            with self._writing():
                lock(file, wait=True)
            yield

    def claim(self, key: str) -> AbstractContextManager[object] | None:
        """Returns the right to do a run until its context ends, or None if another has it."""
        # Another process may have finished the run before: read the ledger again after a claim.
        name = hashlib.sha256(key.encode()).hexdigest()[:32] + ".lock"
        file = self._open(self.path.parent / ".claims" / name)
        try:
            with self._writing():
                claimed = lock(file, wait=False)
        except BaseException:
            file.close()
            raise
        if claimed:
            return file  # closing it frees the lock
        file.close()
        return None

    def _open(self, path: Path) -> IO[bytes]:
        """Opens a lock file and creates its folder."""
        with self._writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            return open(path, "ab")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turns an OSError into a RunError that says what to do."""
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise RunError(
                f"{self.path}: cannot be written or locked ({reason}); choose another ledger"
            ) from None


def _parse(text: bytes) -> Line | None:
    """Returns the object in a line, or None if the line is damaged."""
    try:
        line = json.loads(text.decode())
    except ValueError:
        return None
    return line if isinstance(line, dict) else None
