"""Fitted whitenings on disk: whatever is wrong with the cache, a run goes on without it."""

from __future__ import annotations

import contextlib
import os
import uuid
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def folder(given: str | os.PathLike[str] | None = None) -> Path:
    """The folder given, else $LADDER_CACHE_DIR, else ladder_jax in $XDG_CACHE_HOME or ~/.cache."""
    own = given or os.environ.get("LADDER_CACHE_DIR")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "ladder_jax"


def load(folder: Path, key: str, size: int) -> tuple[Array, Array] | None:
    """Mean (size,) and matrix (size, size) stored under `key`; None if not there or damaged."""
    try:
        with _path(folder, key).open("rb") as file, np.load(file, allow_pickle=False) as stored:
            mean, matrix = stored["mean"], stored["matrix"]
    except Exception:  # zip and NumPy raise a dozen kinds for damaged files; all mean the same
        return None
    for array, shape in ((mean, (size,)), (matrix, (size, size))):
        if array.shape != shape or array.dtype != np.float64 or not np.isfinite(array).all():
            return None
    return mean, matrix


def save(folder: Path, key: str, mean: Array, matrix: Array) -> None:
    """Stores under `key`, whole or not at all, also with several processes at it.

    Warns:
      UserWarning: it cannot be stored; nothing else is wrong.
    """
    temporary = None
    try:
        path = _path(folder, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex}.tmp")
        with temporary.open("xb") as file:
            np.savez(file, mean=mean, matrix=matrix)
        os.replace(temporary, path)
    except (OSError, RuntimeError, ValueError) as error:  # no home; a zip file cut short
        warnings.warn(
            f"cache folder {folder} cannot be written ({error}): the whitening will be fitted "
            "again next time; set LADDER_CACHE_DIR to a folder with room that you can write to",
            stacklevel=3,
        )
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _path(folder: Path, key: str) -> Path:
    return folder.expanduser() / f"whitening-{key}.npz"
