"""Checks of arrays given by the caller: usable values in few dtypes, or one line that helps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ladder_jax.errors import DataError

Array = npt.NDArray[Any]

PREPROCESSINGS = ("gcn_zca",)  # what ladder_jax.data.whitening can do

_MAX_CLASSES = 1_000_000  # a stray label of a billion must not become a layer of that width


def _numbers(field: str, value: npt.ArrayLike) -> Array:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise DataError(f"{field}: not an array; all rows must have the same shape") from error
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"{field}: dtype {array.dtype} is not numeric; convert it to numbers first "
            "(labels: np.unique(y, return_inverse=True)[1])"
        )
    if array.size == 0:
        raise DataError(f"{field}: shape {array.shape} holds no values; give at least one row")
    return array


def _check_finite(field: str, array: Array) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row = int(np.argwhere(~np.isfinite(array))[0, 0])
        raise DataError(f"{field}: NaN or infinity in row {row}; replace or drop such values")


def inputs(field: str, value: npt.ArrayLike) -> Array:
    """Rows of features as uint8, float32 or float64, C-contiguous.

    Raises:
      DataError: not numeric, empty, not finite, or without a feature axis.
    """
    array = _numbers(field, value)
    if array.ndim < 2:
        raise DataError(
            f"{field}: shape {array.shape} has no feature axis; expected (rows, features…), "
            "for one feature use x[:, None]"
        )
    _check_finite(field, array)
    if array.dtype.kind == "b" or array.dtype == np.uint8:
        return np.ascontiguousarray(array, dtype=np.uint8)
    wide = array.dtype.kind == "f" and array.dtype.itemsize >= 8
    return np.ascontiguousarray(array, dtype=np.float64 if wide else np.float32)


def labels(field: str, value: npt.ArrayLike, rows: int) -> Array:
    """One whole number per row, in the dtype they came in.

    Raises:
      DataError: not numeric, not whole, or not (rows,).
    """
    array = _numbers(field, value)
    if array.ndim != 1:
        raise DataError(
            f"{field}: shape {array.shape}, expected one class number per row, ({rows},)"
        )
    if len(array) != rows:
        of = field.replace("y", "x")
        raise DataError(f"{field}: {len(array)} labels for {rows} rows of {of}; make them equal")
    _check_finite(field, array)
    if array.dtype.kind == "f" and (array != np.floor(array)).any():
        raise DataError(
            f"{field}: {array[array != np.floor(array)][0]} is not a whole number 0..K-1"
        )
    return array


def num_classes(given: int | None, labels: Array) -> int:
    """K as given, else the largest label + 1.

    Raises:
      DataError: not a whole number, or fewer than 2 or absurdly many classes.
    """
    classes = int(labels.max()) + 1 if given is None else given
    if isinstance(classes, bool) or not isinstance(classes, (int, np.integer)):
        raise DataError(f"num_classes={given}: must be a whole number")
    if not 2 <= classes <= _MAX_CLASSES:
        raise DataError(
            f"num_classes={classes}: must be from 2 to {_MAX_CLASSES}; "
            "number the classes 0..K-1 without gaps, or pass num_classes"
        )
    return int(classes)


def in_range(field: str, labels: Array, lowest: int, classes: int) -> Array:
    """The labels as int32.

    Raises:
      DataError: one is below `lowest` or not below `classes`.
    """
    wrong = labels[(labels < lowest) | (labels >= classes)]
    if wrong.size:
        hint = "-1 marks rows without label" if lowest < 0 else "every test row needs its label"
        raise DataError(
            f"{field}: label {int(wrong[0])} is outside 0..{classes - 1} ({hint}); "
            "correct it or pass num_classes"
        )
    return labels.astype(np.int32)


def alike(train: Array, test: Array) -> tuple[Array, Array]:
    """Both arrays in their common dtype.

    Raises:
      DataError: their rows differ in shape.
    """
    if train.shape[1:] != test.shape[1:]:
        raise DataError(
            f"x_test: rows of shape {test.shape[1:]}, but x_train has rows of shape "
            f"{train.shape[1:]}; make them equal"
        )
    dtype = np.result_type(train, test)  # one scale serves both, so they get one dtype
    return train.astype(dtype, copy=False), test.astype(dtype, copy=False)


def scale(value: float) -> float:
    """The factor as a float.

    Raises:
      DataError: it is not a finite number above 0.
    """
    if not isinstance(value, (int, float, np.number)) or not (0 < value < math.inf):
        raise DataError(f"scale={value}: must be a finite number above 0")
    return float(value)


def preprocessing(name: str | None, scale: float) -> str | None:
    """The name of a preprocessing as given.

    Raises:
      DataError: unknown, or beside a scale, which would be lost in the normalisation.
    """
    if name is not None and name not in PREPROCESSINGS:
        choices = ", ".join(PREPROCESSINGS)
        raise DataError(f"preprocessing={name}: unknown; choose one of {choices}, or None")
    if name is not None and scale != 1.0:
        raise DataError(
            f"scale={scale}: has no meaning beside preprocessing={name}, which sets the scale "
            "itself; leave it at 1.0"
        )
    return name
