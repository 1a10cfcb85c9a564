"""One file for the results of many runs, written by any number of processes at once.

The file has a JSON object per line and only grows. Who appends holds a lock, so that no line
is lost or torn by another process. A claim on a run is a lock too: the operating system frees
it when its process ends, however it ends.
"""

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
    """Finished runs, one JSON object per line.

    Args:
      path: made with its folder when first written to. Beside it lie ``<path>.lock`` and
        ``.claims/``; both may be deleted while no process is at work.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)

    def lines(self) -> list[Line]:
        """All whole lines. What a kill left of a last line is not one.

        Raises:
          RunError: a line is damaged, or the file cannot be read.
        """
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
        """Adds a line; it is on the disk when this returns.

        Raises:
          RunError: the file cannot be written.
        """
        text = json.dumps(line, allow_nan=False).encode() + b"\n"
        with self.locked(), self._writing(), open(self.path, "a+b") as file:
            file.seek(0)
            content = file.read()
            torn = content[content.rfind(b"\n") + 1 :]
            if _parse(torn) is not None:  # whole but for its end
                text = b"\n" + text
            elif torn:
                file.truncate(len(content) - len(torn))
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from appending; waits for one that does.

        Raises:
          RunError: the lock cannot be made.
        """
        with self._open(self.path.with_name(self.path.name + ".lock")) as file:
            with self._writing():
                lock(file, wait=True)
            yield

    def claim(self, key: str) -> AbstractContextManager[object] | None:
        """The right to make the run that ``key`` names, until the returned context ends.

        None if another process has it. Read the ledger again before starting: the run may
        have been finished since.

        Raises:
          RunError: the lock cannot be made.
        """
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
        with self._writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            return open(path, "ab")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise RunError(
                f"{self.path}: cannot be written or locked ({reason}); choose another ledger"
            ) from None


def _parse(text: bytes) -> Line | None:
    try:
        line = json.loads(text.decode())
    except ValueError:
        return None
    return line if isinstance(line, dict) else None
