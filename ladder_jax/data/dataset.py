"""Arrays in memory: what every later stage takes as "the data".

Images stay as they came (uint8 where possible); the model's units are `x * scale`, applied after
a minibatch has been gathered, so that the data take a quarter of the memory on the device.
"""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import numpy.typing as npt

from ladder_jax.data import arrays
from ladder_jax.data.arrays import Array
from ladder_jax.errors import DataError


@dataclasses.dataclass(frozen=True, eq=False)  # == of arrays has no single truth value
class Dataset:
    """Training and test rows. Build it with `from_arrays` or `load`, which check the contents.

    Attributes:
      name: short name, used for the default work folder.
      x_train: (N, *input_shape), uint8, float32 or float64, C-contiguous.
      y_train: (N,) int32 in 0..num_classes-1, or -1 for a row without a label.
      x_test: (M, *input_shape) as x_train, or None where there is no test set.
      y_test: (M,) int32 in 0..num_classes-1, or None.
      num_classes: K, at least 2.
      scale: inputs in the model's units are x * scale (1/255 for bytes of an image).
      preprocessing: what `ladder_jax.data.prepare` has yet to do to the inputs: "gcn_zca", or
        None where they are ready.
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
        """16 hex digits of a SHA-256 over everything but the name: equal only for equal data."""
        digest = hashlib.sha256(f"{self.num_classes} {self.scale!r}".encode())
        if self.preprocessing is not None:  # unset it adds nothing: old run folders stay valid
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
    """Checks arrays and makes a `Dataset` of them, without copying where dtype and layout fit.

    uint8, float32 and float64 inputs keep their dtype, bool becomes uint8, anything else float32;
    training and test inputs of differing dtype get the common one.

    Args:
      x_train: (N, *input_shape) numbers.
      y_train: (N,) whole numbers 0..K-1; -1 marks a row without a label.
      x_test, y_test: the same for (M,) test rows, all with a label; None if there are none.
      name: short name of the data.
      num_classes: K; by default the largest training label + 1.
      scale: factor that brings x into the model's units.
      preprocessing: "gcn_zca" for inputs that `prepare` is to contrast-normalise and whiten.

    Raises:
      DataError: arrays not numeric, empty, not finite or of differing lengths or shapes; labels
        outside 0..K-1; a scale that is not above 0; an unknown preprocessing, or one beside a
        scale other than 1.
    """
    inputs = arrays.inputs("x_train", x_train)
    labels = arrays.labels("y_train", y_train, len(inputs))
    if labels.max() < 0:
        raise DataError("y_train: every label is below 0; at least some rows need one of 0..K-1")
    classes = arrays.num_classes(num_classes, labels)
    labels = arrays.in_range("y_train", labels, -1, classes)
    if (x_test is None) != (y_test is None):
        raise DataError("x_test, y_test: one of them is None; give both or neither")
    test_inputs = test_labels = None
    if x_test is not None and y_test is not None:
        test_inputs = arrays.inputs("x_test", x_test)
        test_labels = arrays.labels("y_test", y_test, len(test_inputs))
        test_labels = arrays.in_range("y_test", test_labels, 0, classes)
        inputs, test_inputs = arrays.alike(inputs, test_inputs)
    scale = arrays.scale(scale)
    preprocessing = arrays.preprocessing(preprocessing, scale)
    return Dataset(name, inputs, labels, test_inputs, test_labels, classes, scale, preprocessing)
