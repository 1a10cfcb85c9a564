"""Reader for IDX, the format of the original MNIST files (http://yann.lecun.com/exdb/mnist/).

Layout: two zero bytes, type code, number of dimensions, one big-endian uint32 per dimension,
then the values, last axis fastest.
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from ladder_jax.errors import DataError

_GZIP_MAGIC = b"\x1f\x8b"
_UNSIGNED_BYTE = 0x08
_MAX_DIMENSIONS = 4
_DEFLATE_LIMIT = 1032  # deflate never packs more than this many bytes into one
_MAX_BYTES = 2**30  # ten times the largest set of the MNIST family would still be a mistake
_CHUNK = 2**20


def read_idx(path: str | os.PathLike[str]) -> npt.NDArray[np.uint8]:
    """Reads one IDX file of unsigned bytes, gzipped or not.

    Memory is bounded by what the file really holds: neither the sizes in the header nor a
    gzip stream that unpacks endlessly are taken at their word. Whether a file is gzipped is
    decided by its first bytes, since browsers unpack .gz files without renaming them.

    Args:
      path: the file.

    Returns:
      Array of 1 to 4 dimensions, as the header says, writable.

    Raises:
      DataError: the file cannot be read, is not IDX, or is shorter or longer than it says.
    """
    path = Path(path)
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            capacity = os.fstat(raw.fileno()).st_size * (_DEFLATE_LIMIT if zipped else 1)
            stream = gzip.GzipFile(fileobj=raw) if zipped else raw
            shape = _read_header(stream, path)
            size = math.prod(shape)
            if size > min(capacity, _MAX_BYTES):
                raise DataError(
                    f"{path}: header announces {_by(shape)} = {size} bytes, more than the file "
                    "holds or than is sensible; truncated or damaged, fetch it again"
                )
            content = _read_at_most(stream, size + 1)  # one more shows trailing bytes
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}: damaged or truncated gzip file ({error}); delete it and fetch it again"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    if len(content) != size:
        problem = "truncated" if len(content) < size else "there are trailing bytes"
        found = len(content) if len(content) < size else f"more than {size}"
        raise DataError(
            f"{path}: {problem}: {_by(shape)} = {size} bytes announced, {found} found; "
            "delete it and fetch it again"
        )
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _read_header(stream: BinaryIO | gzip.GzipFile, path: Path) -> tuple[int, ...]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise DataError(f"{path}: not an IDX file (starts with {magic!r}); fetch the original file")
    if magic[2] != _UNSIGNED_BYTE:
        raise DataError(
            f"{path}: IDX type 0x{magic[2]:02x} is not supported; only unsigned bytes (0x08) are"
        )
    if not 1 <= magic[3] <= _MAX_DIMENSIONS:
        raise DataError(
            f"{path}: {magic[3]} dimensions; an IDX file of images or labels has 1 to 4"
        )
    header = stream.read(4 * magic[3])
    if len(header) < 4 * magic[3]:
        raise DataError(f"{path}: truncated inside the header; fetch it again")
    shape = tuple(int(size) for size in np.frombuffer(header, dtype=">u4"))
    if 0 in shape:
        raise DataError(f"{path}: shape {_by(shape)} holds no values; fetch the original file")
    return shape


def _read_at_most(stream: BinaryIO | gzip.GzipFile, limit: int) -> bytearray:
    # In pieces, because one read(limit) reserves all of `limit` before it has seen any data.
    content = bytearray()
    while len(content) < limit:
        piece = stream.read(min(_CHUNK, limit - len(content)))
        if not piece:
            break
        content += piece
    return content


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape)
