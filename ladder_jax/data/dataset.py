"""Holds the data as arrays in memory and checks them."""

# Images keep their type (uint8 if possible), which takes a quarter of the memory on the device.
# After a minibatch has been gathered, ``x * scale`` brings it into the model's units.

from __future__ import annotations

import dataclasses
import hashlib
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ladder_jax.errors import DataError

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True, eq=False)  # == of arrays has no single truth value
class Dataset:
    """Training and test rows; `from_arrays` and `load` build one and check its contents.

    Attributes:
      name: short name, used for the default work folder.
      x_train: (N, *input_shape), uint8, float32 or float64, C-contiguous.
      y_train: (N,) int32 in 0..num_classes-1, or -1 for a row without a label.
      x_test: (M, *input_shape), like x_train, or None if there is no test set.
      y_test: (M,) int32 in 0..num_classes-1, or None.
      num_classes: K, at least 2.
      scale: inputs in the model's units are x * scale (1/255 for bytes of an image).
      preprocessing: what `ladder_jax.data.prepare` still has to do to the inputs: "gcn_zca", or
        None if they are ready.
    """

    name: str
    x_train: Array
    y_train: Array
    x_test: Array | None
    y_test: Array | None
    num_classes: int
    scale: float
    preprocessing: str | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one row, without the batch axis."""
        return tuple(self.x_train.shape[1:])

    @property
    def num_train(self) -> int:
        """Number of training rows, with and without label."""
        return len(self.x_train)

    def fingerprint(self) -> str:
        """Returns 16 hex digits of a SHA-256 over everything but the name."""
        digest = hashlib.sha256(f"{self.num_classes} {self.scale!r}".encode())
        if self.preprocessing is not None:  # without it nothing is added: old folders stay valid
            digest.update(f"preprocessing {self.preprocessing}".encode())
        for array in (self.x_train, self.y_train, self.x_test, self.y_test):
            if array is not None:
                digest.update(f"{array.shape} {array.dtype.str}".encode())
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]


def from_arrays(
    x_train: npt.ArrayLike,
    y_train: npt.ArrayLike,
    x_test: npt.ArrayLike | None = None,
    y_test: npt.ArrayLike | None = None,
    *,
    name: str = "arrays",
    num_classes: int | None = None,
    scale: float = 1.0,
    preprocessing: str | None = None,
) -> Dataset:
    """Checks arrays and builds a `Dataset`, without a copy if dtype and layout fit.

    uint8, float32 and float64 inputs keep their dtype, bool becomes uint8, and all others float32.
    Training and test inputs of different dtypes get the common one.

    Args:
      x_train: (N, *input_shape) numbers.
      y_train: (N,) integers 0..K-1; -1 marks a row without a label.
      x_test, y_test: the same for (M,) test rows, all with a label; None if there are none.
      name: short name of the data.
      num_classes: K; by default the largest training label + 1.
      scale: factor that brings x into the model's units.
      preprocessing: "gcn_zca" for inputs that `prepare` will contrast-normalise and whiten.

    Raises:
      DataError: arrays are not numeric, empty, not finite, or differ in length or shape; labels
        are outside 0..K-1; the scale is not above 0; the preprocessing is unknown, or there is
        one and a scale other than 1.
    """
    inputs = check_inputs("x_train", x_train)
    labels = check_labels("y_train", y_train, len(inputs))
    if labels.max() < 0:
        raise DataError("y_train: every label is below 0; at least some rows need one of 0..K-1")
    classes = check_num_classes(num_classes, labels)
    labels = check_range("y_train", labels, -1, classes)
    if (x_test is None) != (y_test is None):
        raise DataError("x_test, y_test: one of them is None; give both or neither")
    test_inputs = test_labels = None
    if x_test is not None and y_test is not None:
        test_inputs = check_inputs("x_test", x_test)
        test_labels = check_labels("y_test", y_test, len(test_inputs))
        test_labels = check_range("y_test", test_labels, 0, classes)
        inputs, test_inputs = to_one_dtype(inputs, test_inputs)
    scale = check_scale(scale)
    preprocessing = check_preprocessing(preprocessing, scale)
    return Dataset(name, inputs, labels, test_inputs, test_labels, classes, scale, preprocessing)


PREPROCESSINGS = ("gcn_zca",)  # what ladder_jax.data.whitening can do

_MAX_CLASSES = 1_000_000  # a stray label of a billion must not become a layer of that width


def _numbers(field: str, value: npt.ArrayLike) -> Array:
    """Returns a numeric array that is not empty, or raises a DataError."""
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
    """Raises a DataError that names the first row with a NaN or an infinity."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row = int(np.argwhere(~np.isfinite(array))[0, 0])
        raise DataError(f"{field}: NaN or infinity in row {row}; replace or drop such values")


def check_inputs(field: str, value: npt.ArrayLike) -> Array:
    """Returns checked rows of features as uint8, float32 or float64, C-contiguous."""
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


def check_labels(field: str, value: npt.ArrayLike, rows: int) -> Array:
    """Returns one checked integer label per row, in its original dtype."""
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


def check_num_classes(given: int | None, labels: Array) -> int:
    """Returns the checked number of classes, by default the largest label + 1."""
    classes = int(labels.max()) + 1 if given is None else given
    if isinstance(classes, bool) or not isinstance(classes, (int, np.integer)):
        raise DataError(f"num_classes={given}: must be a whole number")
    if not 2 <= classes <= _MAX_CLASSES:
        raise DataError(
            f"num_classes={classes}: must be from 2 to {_MAX_CLASSES}; "
            "number the classes 0..K-1 without gaps, or pass num_classes"
        )
    return int(classes)


def check_range(field: str, labels: Array, lowest: int, classes: int) -> Array:
    """Returns the labels as int32 if all are from ``lowest`` to ``classes`` - 1."""
    wrong = labels[(labels < lowest) | (labels >= classes)]
    if wrong.size:
        hint = "-1 marks rows without label" if lowest < 0 else "every test row needs its label"
        raise DataError(
            f"{field}: label {int(wrong[0])} is outside 0..{classes - 1} ({hint}); "
            "correct it or pass num_classes"
        )
    return labels.astype(np.int32)


def to_one_dtype(train: Array, test: Array) -> tuple[Array, Array]:
    """Returns both arrays in their common dtype if their rows have the same shape."""
    if train.shape[1:] != test.shape[1:]:
        raise DataError(
            f"x_test: rows of shape {test.shape[1:]}, but x_train has rows of shape "
            f"{train.shape[1:]}; make them equal"
        )
    dtype = np.result_type(train, test)  # one scale serves both, so they get one dtype
    return train.astype(dtype, copy=False), test.astype(dtype, copy=False)


def check_scale(value: float) -> float:
    """Returns the scale as a float if it is finite and above 0."""
    if not isinstance(value, (int, float, np.number)) or not (0 < value < math.inf):
        raise DataError(f"scale={value}: must be a finite number above 0")
    return float(value)


def check_preprocessing(name: str | None, scale: float) -> str | None:
    """Returns the name of a preprocessing if it is known and the scale is 1."""
    if name is not None and name not in PREPROCESSINGS:
        choices = ", ".join(PREPROCESSINGS)
        raise DataError(f"preprocessing={name}: unknown; choose one of {choices}, or None")
    if name is not None and scale != 1.0:
        raise DataError(
            f"scale={scale}: has no meaning beside preprocessing={name}, which sets the scale "
            "itself; leave it at 1.0"
        )
    return name
