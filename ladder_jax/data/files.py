"""Reader for the binary version of CIFAR-10 (https://www.cs.toronto.edu/~kriz/cifar.html).

Layout: records of 3073 bytes, one label and then the 32x32 planes red, green and blue, row by
row. Five files of training records and one of test records, in a folder or in the archive.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ladder_jax.data.tar import read_members
from ladder_jax.errors import DataError

ARCHIVE = "cifar-10-binary.tar.gz"
FOLDER = "cifar-10-batches-bin"

_TRAIN_NAMES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_NAMES = (*_TRAIN_NAMES, "test_batch.bin")
_CLASSES = 10
_RECORD = 1 + 3 * 32 * 32
_MAX_BYTES = 60_000 * _RECORD  # one file never holds more than the whole set
_MAX_UNPACKED = _MAX_BYTES + 2**26  # nor does the archive; the rest is for texts and padding

Array = npt.NDArray[Any]


def find_cifar10(data_dir: Path) -> Path:
    """Folder of the binary files, or the archive.

    Args:
      data_dir: folder that holds `cifar-10-batches-bin/` or `cifar-10-binary.tar.gz`, or the six
        binary files themselves. Where there is a folder and an archive, the folder is taken.

    Raises:
      DataError: neither is there.
    """
    if not data_dir.is_dir():
        raise DataError(f"data_dir={data_dir}: no such folder; give one that holds {FOLDER}/")
    for folder in (data_dir / FOLDER, data_dir):
        if any((folder / name).is_file() for name in _NAMES):
            return folder
    if (data_dir / ARCHIVE).is_file():
        return data_dir / ARCHIVE
    raise DataError(
        f"data_dir={data_dir}: neither {FOLDER}/ with its .bin files nor {ARCHIVE} in it; put one "
        "of them there (the binary version, not the one for Python)"
    )


def read_cifar10(path: str | os.PathLike[str]) -> tuple[Array, Array, Array, Array]:
    """Reads the six files from a folder or from the archive, which is not unpacked to disk.

    Memory is bounded by the size of the genuine set: neither sizes in the archive nor a gzip
    stream that unpacks endlessly are taken at their word. Files may hold fewer records than the
    10 000 of the original ones.

    Args:
      path: folder of the files, or the archive, gzipped or (as browsers leave it) not.

    Returns:
      x_train (N, 32, 32, 3) uint8 with channels red, green, blue; y_train (N,) int32 in 0..9;
      x_test (M, 32, 32, 3) and y_test (M,) alike. Training records in the order of the files.

    Raises:
      DataError: a file is missing, empty, damaged, far too large, or has a label above 9.
    """
    path = Path(path)
    parts = _read_folder(path) if path.is_dir() else _read_archive(path)
    x_train, y_train = zip(*(parts[name] for name in _TRAIN_NAMES), strict=True)
    return np.concatenate(x_train), np.concatenate(y_train), *parts[_NAMES[-1]]


def _read_folder(folder: Path) -> dict[str, tuple[Array, Array]]:
    _check_complete(folder, [name for name in _NAMES if (folder / name).is_file()])
    parts = {}
    for name in _NAMES:
        path = folder / name
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                _check_size(str(path), size)
                content = file.read(size)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
        parts[name] = _parse(str(path), content)
    return parts


def _read_archive(path: Path) -> dict[str, tuple[Array, Array]]:
    names = {f"{FOLDER}/{name}": name for name in _NAMES}
    parts = {}
    for member, content in read_members(path, names, _MAX_BYTES, _MAX_UNPACKED):
        parts[names[member]] = _parse(f"{path}: {member}", content)
    _check_complete(path, parts)
    return parts


def _check_complete(where: Path, found: Collection[str]) -> None:
    missing = [name for name in _NAMES if name not in found]
    if missing:
        raise DataError(
            f"{where}: no {', '.join(missing)} in it; fetch the original {ARCHIVE} "
            "(the binary version, not the one for Python)"
        )


def _check_size(where: str, size: int) -> None:
    if size > _MAX_BYTES:
        raise DataError(
            f"{where}: {size} bytes, more than all of CIFAR-10; fetch the original {ARCHIVE}"
        )
    if size == 0 or size % _RECORD:
        problem = "empty" if size == 0 else f"{size} bytes, not a multiple of {_RECORD}: truncated"
        raise DataError(f"{where}: {problem}; fetch the original {ARCHIVE} again")


def _parse(where: str, content: bytes) -> tuple[Array, Array]:
    _check_size(where, len(content))
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, _RECORD)
    labels = records[:, 0].astype(np.int32)
    if labels.max() >= _CLASSES:
        row = int(labels.argmax())
        raise DataError(
            f"{where}: label {labels[row]} in record {row}, expected classes 0..9; not the binary "
            f"version of CIFAR-10 or damaged, fetch the original {ARCHIVE}"
        )
    planes = records[:, 1:].reshape(-1, 3, 32, 32)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels
