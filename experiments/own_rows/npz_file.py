"""Reads and checks the arrays of an .npz file."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ladder_jax.errors import DataError
from own_rows.cells import Array, some

_DAMAGE = (EOFError, MemoryError, OSError, RuntimeError, ValueError)
_FREE = ("x_unlabeled", "X_unlabeled", "x_unlabelled", "X_unlabelled")


def arrays(
    path: Path, use: str, shape: tuple[int, ...] | None = None
) -> tuple[tuple[Array, Array | None, Array | None], list[str]]:
    """Returns rows, labels and rows without labels for `use`, train or test, and notes."""
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path}: is no .npz file; write it with numpy.savez")
    training, own = use == "train", (f"x_{use}", f"X_{use}")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            key = _pick(path, file.files, (*own, "x", "X"))
            # Where there is x_test, y does not belong to these rows.
            others = ("y", "labels") if training or key not in own else ()
            y_names = (f"y_{use}", *others) if key in own else (*others, f"y_{use}")
            y_key = _pick(path, file.files, y_names, needed=training)
            free_key = _pick(path, file.files, _FREE if training else (), needed=False)
            x = _rows(path, file, key, shape)
            y = _array(path, file, y_key, "biufU") if y_key else None
            free = _rows(path, file, free_key, x.shape[1:]) if free_key else None
    except DataError:
        raise
    except (zipfile.BadZipFile, zlib.error, *_DAMAGE) as error:
        raise DataError(f"{path}: cannot be read ({error}); damaged? write it again") from error
    if y is not None and y.shape != (len(x),):
        raise DataError(f"{path}: {y_key} has shape {y.shape}, give {len(x)} labels for {key}")
    found = {key: x, y_key: y, free_key: free}
    notes = [f"{k}: {v.dtype}, shape {v.shape}" for k, v in found.items() if v is not None]
    if y is None:
        notes.append(f"no array {' or '.join(y_names)}: no labels")
    return (x, y, free), notes


def _pick(path: Path, keys: Sequence[str], names: Sequence[str], needed: bool = True) -> str:
    """Returns the first name that is there, or '' if it is not needed."""
    found = next((name for name in names if name in keys), "")
    if needed and not found:
        raise DataError(f"{path}: no array {' or '.join(names)}; there are: {some(keys) or 'none'}")
    return found


def _array(path: Path, file: Any, key: str, kinds: str) -> Array:
    """Reads an array whose dtype has one of these kinds."""
    try:
        value = file[key]
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: {key}: {reason}; save a plain array of numbers") from error
    if not isinstance(value, np.ndarray) or value.dtype.kind not in kinds:
        what = getattr(value, "dtype", "no array")
        wanted = "numbers or strings" if "U" in kinds else "numbers"
        raise DataError(f"{path}: {key}: {what} cannot be used; save an array of {wanted}")
    return value


def _rows(path: Path, file: Any, key: str, shape: tuple[int, ...] | None) -> Array:
    """Reads an array of finite rows."""
    x = _array(path, file, key, "biuf")
    if x.ndim < 2 or not x.size:
        raise DataError(f"{path}: {key} has shape {x.shape}; give rows of values, (rows, values…)")
    if shape is not None and x.shape[1:] != shape:
        raise DataError(
            f"{path}: {key} has rows of shape {x.shape[1:]}, the rows to train with {shape}; "
            "make them equal"
        )
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        row = int(np.argwhere(~np.isfinite(x))[0, 0])
        raise DataError(f"{path}: {key}: NaN or infinity in row {row}; fill or drop such values")
    return x
