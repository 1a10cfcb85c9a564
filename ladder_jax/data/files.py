"""Reads the original files of the data sets: IDX (MNIST), CIFAR-10's binary version, and tar."""

# An IDX file has a magic number, its dimensions as big-endian words, and unsigned bytes.
#
# CIFAR-10's binary version (https://www.cs.toronto.edu/~kriz/cifar.html) has records of 3073 bytes:
# one label, then the 32x32 planes red, green and blue, row by row. There are five files of training
# records and one of test records, in a folder or in a .tar.gz. Only known members of the archive
# are read, in memory and within bounds.
#
# Memory is bounded by what a file really holds: neither the sizes in a header nor a gzip stream
# that unpacks endlessly are trusted. The first bytes decide whether a file is gzipped, since
# browsers unpack .gz files without renaming them.

from __future__ import annotations

import gzip
import math
import os
import zlib
from collections.abc import Collection, Container, Iterator
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np
import numpy.typing as npt

from ladder_jax.data.dataset import Array
from ladder_jax.errors import DataError
from ladder_jax.layers import by

_GZIP_MAGIC = b"\x1f\x8b"
_UNSIGNED_BYTE = 0x08
_MAX_DIMENSIONS = 4
_DEFLATE_LIMIT = 1032  # deflate never packs more than this many bytes into one
_MAX_IDX_BYTES = 2**30  # ten times the largest set of the MNIST family would still be a mistake
_CHUNK = 2**20


def read_idx(path: str | os.PathLike[str]) -> npt.NDArray[np.uint8]:
    """Reads an IDX file of unsigned bytes, gzipped or not, as an array of 1 to 4 dimensions."""
    path = Path(path)
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            capacity = os.fstat(raw.fileno()).st_size * (_DEFLATE_LIMIT if zipped else 1)
            stream = gzip.GzipFile(fileobj=raw) if zipped else raw
            shape = _read_header(stream, path)
            size = math.prod(shape)
            if size > min(capacity, _MAX_IDX_BYTES):
                raise DataError(
                    f"{path}: header announces {by(shape)} = {size} bytes, more than the "
                    "file holds or than is sensible; truncated or damaged, fetch it again"
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
            f"{path}: {problem}: {by(shape)} = {size} bytes announced, {found} found; "
            "delete it and fetch it again"
        )
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _read_header(stream: BinaryIO | gzip.GzipFile, path: Path) -> tuple[int, ...]:
    """Returns the shape in the header of an IDX file."""
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
        raise DataError(f"{path}: shape {by(shape)} holds no values; fetch the original file")
    return shape


def _read_at_most(stream: BinaryIO | gzip.GzipFile, limit: int) -> bytearray:
    """Returns up to ``limit`` bytes of a stream."""
    # In pieces, because one read(limit) reserves all of `limit` before it has seen any data.
    content = bytearray()
    while len(content) < limit:
        piece = stream.read(min(_CHUNK, limit - len(content)))
        if not piece:
            break
        content += piece
    return content


CIFAR10_ARCHIVE = "cifar-10-binary.tar.gz"
CIFAR10_FOLDER = "cifar-10-batches-bin"

_CIFAR_TRAIN_NAMES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_CIFAR_NAMES = (*_CIFAR_TRAIN_NAMES, "test_batch.bin")
_CIFAR_CLASSES = 10
_CIFAR_RECORD = 1 + 3 * 32 * 32
_MAX_CIFAR_BYTES = 60_000 * _CIFAR_RECORD  # no file holds more than the whole set
_MAX_CIFAR_UNPACKED = (
    _MAX_CIFAR_BYTES + 2**26
)  # nor does the archive; the rest is for text files and padding


def find_cifar10(data_dir: Path) -> Path:
    """Returns the folder of CIFAR-10's binary files in `data_dir`, or else the archive."""
    if not data_dir.is_dir():
        raise DataError(
            f"data_dir={data_dir}: no such folder; give one that holds {CIFAR10_FOLDER}/"
        )
    for folder in (data_dir / CIFAR10_FOLDER, data_dir):
        if any((folder / name).is_file() for name in _CIFAR_NAMES):
            return folder
    if (data_dir / CIFAR10_ARCHIVE).is_file():
        return data_dir / CIFAR10_ARCHIVE
    raise DataError(
        f"data_dir={data_dir}: neither {CIFAR10_FOLDER}/ with its .bin files nor "
        f"{CIFAR10_ARCHIVE} in it; put one of them there (the binary version, "
        "not the one for Python)"
    )


def read_cifar10(path: str | os.PathLike[str]) -> tuple[Array, Array, Array, Array]:
    """Reads x_train (N, 32, 32, 3), y_train, x_test and y_test from a folder or the archive."""
    path = Path(path)
    parts = _read_folder(path) if path.is_dir() else _read_archive(path)
    x_train, y_train = zip(*(parts[name] for name in _CIFAR_TRAIN_NAMES), strict=True)
    return np.concatenate(x_train), np.concatenate(y_train), *parts[_CIFAR_NAMES[-1]]


def _read_folder(folder: Path) -> dict[str, tuple[Array, Array]]:
    """Reads the images and labels of the six files in a folder."""
    _check_complete(folder, [name for name in _CIFAR_NAMES if (folder / name).is_file()])
    parts = {}
    for name in _CIFAR_NAMES:
        path = folder / name
        try:
            _check_size(str(path), path.stat().st_size)
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
        parts[name] = _parse_cifar(str(path), content)
    return parts


def _read_archive(path: Path) -> dict[str, tuple[Array, Array]]:
    """Reads the images and labels of the six files in an archive."""
    names = {f"{CIFAR10_FOLDER}/{name}": name for name in _CIFAR_NAMES}
    parts = {}
    for member, content in read_members(path, names, _MAX_CIFAR_BYTES, _MAX_CIFAR_UNPACKED):
        parts[names[member]] = _parse_cifar(f"{path}: {member}", content)
    _check_complete(path, parts)
    return parts


def _check_complete(where: Path, found: Collection[str]) -> None:
    """Raises a DataError if one of the six files is missing."""
    missing = [name for name in _CIFAR_NAMES if name not in found]
    if missing:
        raise DataError(
            f"{where}: no {', '.join(missing)} in it; fetch the original {CIFAR10_ARCHIVE} "
            "(the binary version, not the one for Python)"
        )


def _check_size(where: str, size: int) -> None:
    """Raises a DataError for a size that no file of CIFAR-10 can have."""
    if size > _MAX_CIFAR_BYTES:
        raise DataError(
            f"{where}: {size} bytes, more than all of CIFAR-10; "
            f"fetch the original {CIFAR10_ARCHIVE}"
        )
    if size == 0 or size % _CIFAR_RECORD:
        problem = (
            "empty" if size == 0 else f"{size} bytes, not a multiple of {_CIFAR_RECORD}: truncated"
        )
        raise DataError(f"{where}: {problem}; fetch the original {CIFAR10_ARCHIVE} again")


def _parse_cifar(where: str, content: bytes) -> tuple[Array, Array]:
    """Returns the images (N, 32, 32, 3) and labels (N,) of a file's records."""
    _check_size(where, len(content))
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, _CIFAR_RECORD)
    labels = records[:, 0].astype(np.int32)
    if labels.max() >= _CIFAR_CLASSES:
        row = int(labels.argmax())
        raise DataError(
            f"{where}: label {labels[row]} in record {row}, expected classes 0..9; not the binary "
            f"version of CIFAR-10 or damaged, fetch the original {CIFAR10_ARCHIVE}"
        )
    planes = records[:, 1:].reshape(-1, 3, 32, 32)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels


_BLOCK = 512
_REGULAR = (b"0", b"\0")
_WITHOUT_CONTENT = tuple(b"%d" % kind for kind in range(1, 7))  # links, devices, folders, pipes


def read_members(
    path: Path, names: Container[str], max_bytes: int, max_unpacked: int
) -> Iterator[tuple[str, bytes]]:
    """Yields name and content of the wanted regular files in a tar archive, in its order."""
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            stream = _Bounded(gzip.GzipFile(fileobj=raw) if zipped else raw, path, max_unpacked)
            while (header := stream.read(_BLOCK)).strip(b"\0"):
                name, size, kind = _parse_header(header)
                padding = -size % _BLOCK
                # Links and devices are skipped, whatever their name.
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
            # gzip compares its checksum at the end only, so the whole iterator has to be consumed.
            while stream.read(_CHUNK):
                pass
    except (EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
        raise DataError(
            f"{path}: damaged or truncated archive ({error}); delete it and fetch it again"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


class _Bounded:
    """A stream that refuses to return more than `limit` bytes."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile, path: Path, limit: int):
        self._stream = stream
        self._path = path
        self._limit = self._left = limit

    def read(self, size: int) -> bytes:
        """Reads up to ``size`` bytes, or raises a DataError beyond the limit."""
        content = self._stream.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise DataError(
                f"{self._path}: holds more than the {self._limit} bytes that are sensible; "
                "fetch the original archive"
            )
        return content

    def pieces(self, size: int) -> Iterator[bytes]:
        """Yields exactly ``size`` bytes in pieces."""
        # One read of everything would reserve the memory for it before it has seen any data.
        while size > 0:
            piece = self.read(min(size, _CHUNK))
            if not piece:
                raise EOFError("the file ends inside a member")
            size -= len(piece)
            yield piece


def _parse_header(header: bytes) -> tuple[str, int, bytes]:
    """Returns the name, size and type of a member, or raises a ValueError."""
    try:
        checksum = int(header[148:156].strip(b" \0"), 8)
        size = int(header[124:136].strip(b" \0") or b"0", 8)
    except ValueError:
        raise ValueError("not a tar header") from None
    if size < 0 or sum(header) - sum(header[148:156]) + 8 * ord(" ") != checksum:
        raise ValueError("not a tar header")
    # Longer names and sizes are in members of their own, which known names do not need.
    name = header[:100].split(b"\0")[0].decode("ascii", "replace")
    return name.removeprefix("./"), size, header[156:157]
