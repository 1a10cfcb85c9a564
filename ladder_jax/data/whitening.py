"""Contrast normalisation and whitening of images, as in the original CIFAR-10 experiments.

The mean of each image is subtracted and the image is scaled to norm 55. Then follows ZCA whitening
with all components, fitted on the training part:

    x ← (x − mean) U (Λ + 0.1)^(−1/2) Uᵀ,    U Λ Uᵀ the covariance of the training part.

The paper says "global contrast normalization and whitening" (section 4.2, following Goodfellow et
al. 2013, Maxout networks); the numbers are those of its authors' published code. Everything is
computed in float64, in blocks of rows, and the result is float32.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
import os
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ladder_jax.data.dataset import Array, Dataset, check_preprocessing
from ladder_jax.errors import DataError

NORM = 55.0
REGULARISATION = 0.1

_BLOCK = 5000  # rows that are float64 at one time: 123 MB for CIFAR-10
_FORMAT = 1  # of the cached numbers: increase it with any change of what is fitted


class Whitening(NamedTuple):
    """An affine map that decorrelates: x_NxD ↦ (x_NxD − mean) @ matrix.

    Attributes:
      mean: (D,) float64.
      matrix: (D, D) float64, symmetric.
    """

    mean: Array
    matrix: Array


class Preparation(NamedTuple):
    """The preprocessing of a data set, as a function of raw rows.

    Attributes:
      whitening: applied after contrast normalisation; None leaves rows unchanged.
      shape: the shape of a row.
    """

    whitening: Whitening | None = None
    shape: tuple[int, ...] = ()

    def __call__(self, x: npt.ArrayLike) -> Array:
        """Returns raw rows (N, *shape), N ≥ 0, as float32 rows for the network.

        Raises:
          DataError: the rows have another shape.
        """
        x = np.asarray(x)
        if self.whitening is None:
            return x
        if x.shape[1:] != self.shape:
            expected = ", ".join(["rows", *map(str, self.shape)])
            raise DataError(f"x: shape {x.shape}, expected raw rows of the data set, ({expected})")
        result = np.empty(x.shape, dtype=np.float32)
        for start in range(0, len(x), _BLOCK):
            block = slice(start, start + _BLOCK)
            x_NxD = contrast_normalize(x[block])
            x_NxD -= self.whitening.mean
            result[block] = (x_NxD @ self.whitening.matrix).reshape(-1, *self.shape)
        return result


def contrast_normalize(x: npt.ArrayLike, norm: float = NORM) -> Array:
    """Subtracts the mean of each row and scales it to Euclidean norm `norm`.

    Args:
      x: (N, …) numbers; N may be 0.
      norm: Euclidean length of each row of the result.

    Returns:
      (N, D) float64, D the product of the other axes. A constant row becomes 0.
    """
    x = np.asarray(x)
    x_NxD = x.reshape(len(x), math.prod(x.shape[1:])).astype(np.float64)
    # Subtracting the first value makes a constant row exactly 0. The mean alone may leave rounding
    # errors, which scaling to `norm` would turn into an image.
    x_NxD -= x_NxD[:, :1].copy()
    x_NxD -= x_NxD.mean(axis=1, keepdims=True)
    length_N = np.sqrt(np.einsum("nd,nd->n", x_NxD, x_NxD))
    length_N[length_N == 0] = 1
    x_NxD *= (norm / length_N)[:, None]
    return x_NxD


def fit_whitening(
    x: Array,
    regularisation: float = REGULARISATION,
    before: Callable[[Array], Array] | None = None,
) -> Whitening:
    """Fits ZCA whitening: biased covariance, all components, `regularisation` on each variance.

    It makes two passes over blocks of rows, so that besides x only a block and a few (D, D)
    matrices are in memory.

    Args:
      x: (N, D) rows, or raw rows of any shape for `before`.
      regularisation: added to each eigenvalue of the covariance; squared units of x.
      before: map of raw rows to (n, D) float64 rows, such as `contrast_normalize`.

    Raises:
      DataError: there are no rows, or the regularisation is not above 0.
    """
    if not len(x):
        raise DataError("whitening: no rows to fit it on; give at least one training row")
    if not 0 < regularisation < math.inf:
        raise DataError(f"regularisation={regularisation}: must be a finite number above 0")

    def blocks() -> Iterator[Array]:
        for start in range(0, len(x), _BLOCK):
            block = x[start : start + _BLOCK]
            yield np.asarray(block if before is None else before(block), dtype=np.float64)

    mean_D = sum(block.sum(axis=0) for block in blocks()) / len(x)
    covariance_DxD = np.zeros((len(mean_D), len(mean_D)))
    for block in blocks():
        centred = block - mean_D
        covariance_DxD += centred.T @ centred
    covariance_DxD /= len(x)
    variance_D, U_DxD = np.linalg.eigh(covariance_DxD)
    # U S Uᵀ as (U √S)(U √S)ᵀ: exactly symmetric
    root_DxD = U_DxD * (variance_D + regularisation) ** -0.25
    return Whitening(mean_D, root_DxD @ root_DxD.T)


def prepare(
    data: Dataset,
    training_rows: npt.ArrayLike,
    cache_dir: str | os.PathLike[str] | None = None,
) -> tuple[Dataset, Preparation]:
    """Applies a data set's preprocessing, fitted on some of its training rows.

    The fit is kept on disk under the hash of the rows it was fitted on. A damaged file is replaced;
    a folder that cannot be written only causes a warning.

    Args:
      data: the data set with raw inputs.
      training_rows: integers, the rows of `x_train` to fit on, in any order: the training part of a
        split, without the validation rows.
      cache_dir: folder for the fit; by default $LADDER_CACHE_DIR, else ladder_jax in
        $XDG_CACHE_HOME or in ~/.cache.

    Returns:
      A data set with all training and test inputs as float32 of their shape, scale 1 and
      `preprocessing=None`; and the `Preparation` that maps further raw rows (N, *input_shape),
      N ≥ 0, to float32 rows of the same shape. Without preprocessing, `data` itself and the
      identity.

    Raises:
      DataError: the preprocessing is unknown, or training rows are missing or out of range.
    """
    if check_preprocessing(data.preprocessing, data.scale) is None:
        return data, Preparation()
    rows = _sorted_rows(training_rows, len(data.x_train))
    raw = data.x_train if len(rows) == len(data.x_train) else data.x_train[rows]
    default = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "ladder_jax"
    folder = Path(cache_dir or os.environ.get("LADDER_CACHE_DIR") or default)
    key = _key(raw)
    whitening = load_whitening(folder, key, math.prod(data.input_shape))
    if whitening is None:
        whitening = fit_whitening(raw, before=contrast_normalize)
        save_whitening(folder, key, *whitening)
    transform = Preparation(whitening, data.input_shape)
    x_test = None if data.x_test is None else transform(data.x_test)
    done = dataclasses.replace(
        data, x_train=transform(data.x_train), x_test=x_test, scale=1.0, preprocessing=None
    )
    return done, transform


def _sorted_rows(training_rows: npt.ArrayLike, available: int) -> Array:
    """Returns the training rows, checked, sorted and without repetitions."""
    rows = np.unique(np.asarray(training_rows))  # one order of summation, so a set has one result
    if rows.size == 0 or rows.dtype.kind not in "iu":
        raise DataError("training_rows: must be whole numbers, at least one row of x_train")
    if rows[0] < 0 or rows[-1] >= available:
        wrong = rows[0] if rows[0] < 0 else rows[-1]
        raise DataError(f"training_rows: row {wrong} is outside 0..{available - 1} of x_train")
    return rows


def _key(raw: Array) -> str:
    """Returns the hash under which the fit on these rows is cached."""
    digest = hashlib.sha256(
        f"whitening {_FORMAT} {NORM} {REGULARISATION} {raw.shape} {raw.dtype.str} ".encode()
    )
    digest.update(np.ascontiguousarray(raw).data)
    return digest.hexdigest()[:16]


def load_whitening(folder: Path, key: str, size: int) -> Whitening | None:
    """Returns the fit under `key` for rows of `size` numbers, or None if absent or damaged."""
    try:
        with _path(folder, key).open("rb") as file, np.load(file, allow_pickle=False) as stored:
            mean, matrix = stored["mean"], stored["matrix"]
    except Exception:  # zip and NumPy raise a dozen kinds for damaged files
        return None
    for array, shape in ((mean, (size,)), (matrix, (size, size))):
        if array.shape != shape or array.dtype != np.float64 or not np.isfinite(array).all():
            return None
    return Whitening(mean, matrix)


def save_whitening(folder: Path, key: str, mean: Array, matrix: Array) -> None:
    """Stores a fit under `key` in one step, or warns if that is not possible."""
    temporary = None
    try:
        path = _path(folder, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own, since several processes may store the same fit.
        temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex}.tmp")
        with temporary.open("xb") as file:
            np.savez(file, mean=mean, matrix=matrix)
        os.replace(temporary, path)
    except (OSError, RuntimeError, ValueError) as error:  # no home, or a zip file cut short
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
    """Returns the file of a fit."""
    return folder.expanduser() / f"whitening-{key}.npz"
