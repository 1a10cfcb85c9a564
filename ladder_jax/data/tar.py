"""Reader for a few known files in a .tar or .tar.gz, in memory and within bounds.

Layout (POSIX ustar): a header of 512 bytes for each member, then its content, filled up to a
multiple of 512; a header of zeros ends the archive. Python's own `tarfile` would do for a sound
archive, but takes the sizes in a damaged one at their word: as a stream it may step on after the
end of the file for ever.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Container, Iterator
from pathlib import Path
from typing import IO

from ladder_jax.errors import DataError

_BLOCK = 512
_CHUNK = 2**20
_GZIP_MAGIC = b"\x1f\x8b"
_REGULAR = (b"0", b"\0")
_WITHOUT_CONTENT = tuple(b"%d" % kind for kind in range(1, 7))  # links, devices, folders, pipes


def read_members(
    path: Path, names: Container[str], max_bytes: int, max_unpacked: int
) -> Iterator[tuple[str, bytes]]:
    """Reads regular files out of an archive, in its order; nothing is written to disk.

    Links and devices are passed over, whatever their name. Read the iterator to its end: only
    there gzip's checksum is compared.

    Args:
      path: the archive; whether it is gzipped is decided by its first bytes, since browsers
        unpack .gz files without renaming them.
      names: members wanted, with their folder.
      max_bytes: most that one of them may hold.
      max_unpacked: most that the whole archive may hold. No more than this is ever unpacked.

    Yields:
      Name and content of each member wanted; the last of several with one name counts in tar.

    Raises:
      DataError: the archive cannot be read, is damaged or truncated, or exceeds a limit.
    """
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            stream = _Bounded(gzip.GzipFile(fileobj=raw) if zipped else raw, path, max_unpacked)
            while (header := stream.read(_BLOCK)).strip(b"\0"):
                name, size, kind = _parse_header(header)
                padding = -size % _BLOCK
                if kind in _WITHOUT_CONTENT:
                    continue
                if kind in _REGULAR and name in names:
                    if size > max_bytes:
                        raise DataError(
                            f"{path}: {name}: {size} bytes, more than the {max_bytes} that are "
                            "sensible; fetch the original archive"
                        )
                    yield name, b"".join(stream.pieces(size))
                    size = 0
                for _ in stream.pieces(size + padding):
                    pass
            while stream.read(_CHUNK):
                pass
    except (EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
        raise DataError(
            f"{path}: damaged or truncated archive ({error}); delete it and fetch it again"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


class _Bounded:
    """A stream that refuses to give more than `limit` bytes."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile, path: Path, limit: int):
        self._stream = stream
        self._path = path
        self._limit = self._left = limit

    def read(self, size: int) -> bytes:
        content = self._stream.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise DataError(
                f"{self._path}: holds more than the {self._limit} bytes that are sensible; "
                "fetch the original archive"
            )
        return content

    def pieces(self, size: int) -> Iterator[bytes]:
        # One read of all would reserve the memory for it before it has seen any data.
        while size > 0:
            piece = self.read(min(size, _CHUNK))
            if not piece:
                raise EOFError("the file ends inside a member")
            size -= len(piece)
            yield piece


def _parse_header(header: bytes) -> tuple[str, int, bytes]:
    """Name, size and type of a member; ValueError where it is no header.

    Longer names and sizes than fit here are in members of their own, of no use for known names.
    """
    try:
        checksum = int(header[148:156].strip(b" \0"), 8)
        size = int(header[124:136].strip(b" \0") or b"0", 8)
    except ValueError:
        raise ValueError("not a tar header") from None
    if size < 0 or sum(header) - sum(header[148:156]) + 8 * ord(" ") != checksum:
        raise ValueError("not a tar header")
    name = header[:100].split(b"\0")[0].decode("ascii", "replace")
    return name.removeprefix("./"), size, header[156:157]
