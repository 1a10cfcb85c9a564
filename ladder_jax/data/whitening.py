"""Contrast normalisation and whitening of images, as the original CIFAR-10 experiments did it.

Each image loses its mean and is scaled to norm 55; then ZCA whitening with all components,
fitted on the training part:

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
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ladder_jax.data.dataset import Dataset, check_preprocessing
from ladder_jax.errors import DataError

NORM = 55.0
REGULARISATION = 0.1

_BLOCK = 5000  # rows that are float64 at one time: 123 MB for CIFAR-10
_FORMAT = 1  # of the cached numbers: raise it with any change of what is fitted

Array = npt.NDArray[Any]


class Whitening(NamedTuple):
    """An affine map that decorrelates: x_NxD ↦ (x_NxD − mean) @ matrix.

    Attributes:
      mean: (D,) float64.
      matrix: (D, D) float64, symmetric.
    """

    mean: Array
    matrix: Array


class Preparation(NamedTuple):
    """What a data set's preprocessing does to raw rows: a function of them, and its numbers.

    Attributes:
      whitening: after contrast normalisation; None leaves rows as they are.
      shape: of a row.
    """

    whitening: Whitening | None = None
    shape: tuple[int, ...] = ()

    def __call__(self, x: npt.ArrayLike) -> Array:
        """Raw rows (N, *shape), N ≥ 0, as float32 rows for the network.

        Raises:
          DataError: rows of another shape.
        """
        return np.asarray(x) if self.whitening is None else _apply(self.whitening, self.shape, x)


def contrast_normalize(x: npt.ArrayLike, norm: float = NORM) -> Array:
    """Global contrast normalisation: each row without its mean, with Euclidean norm `norm`.

    Args:
      x: (N, …) numbers; N may be 0.
      norm: Euclidean length of each row of the result.

    Returns:
      (N, D) float64, D the product of the other axes. A constant row becomes 0.
    """
    x = np.asarray(x)
    x_NxD = x.reshape(len(x), math.prod(x.shape[1:])).astype(np.float64)
    # Without its first value a constant row is exactly 0, which the rounding of a mean need not
    # leave it; scaled to `norm` that rounding would become an image.
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

    Two passes over blocks of rows, so that besides x only a block and a few (D, D) matrices are in
    memory.

    Args:
      x: (N, D) rows, or raw rows of any shape for `before`.
      regularisation: added to each eigenvalue of the covariance; squared units of x.
      before: map of raw rows to (n, D) float64 rows, such as `contrast_normalize`.

    Raises:
      DataError: no rows, or a regularisation that is not above 0.
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
    """Applies the preprocessing that a data set asks for, fitted on some of its training rows.

    The fit is kept on disk under the hash of the rows it was fitted on. A damaged file is replaced;
    of a folder that cannot be written there is only a warning.

    Args:
      data: the data set, inputs still raw.
      training_rows: whole numbers, rows of `x_train` to fit on, in any order: the training part
        of a split, without the rows held out.
      cache_dir: folder for the fit; by default $LADDER_CACHE_DIR, else ladder_jax in
        $XDG_CACHE_HOME or in ~/.cache.

    Returns:
      A data set with all training and test inputs as float32 of their shape, scale 1 and
      `preprocessing=None`; and the map of further raw rows (N, *input_shape), N ≥ 0, to float32
      rows of the same shape, which raises DataError for rows of another shape. Where nothing is
      to be done, `data` itself and the identity.

    Raises:
      DataError: unknown preprocessing; training rows that are none or not there.
    """
    if check_preprocessing(data.preprocessing, data.scale) is None:
        return data, Preparation()
    rows = _sorted_rows(training_rows, len(data.x_train))
    raw = data.x_train if len(rows) == len(data.x_train) else data.x_train[rows]
    folder = cache_folder(cache_dir)
    key = _key(raw)
    size = math.prod(data.input_shape)
    stored = load_whitening(folder, key, size)
    if stored is not None:
        whitening = Whitening(*stored)
    else:
        whitening = fit_whitening(raw, before=contrast_normalize)
        save_whitening(folder, key, *whitening)
    transform = Preparation(whitening, data.input_shape)
    x_test = None if data.x_test is None else transform(data.x_test)
    done = dataclasses.replace(
        data, x_train=transform(data.x_train), x_test=x_test, scale=1.0, preprocessing=None
    )
    return done, transform


def _apply(whitening: Whitening, shape: tuple[int, ...], x: npt.ArrayLike) -> Array:
    x = np.asarray(x)
    if x.shape[1:] != shape:
        expected = ", ".join(["rows", *map(str, shape)])
        raise DataError(f"x: shape {x.shape}, expected raw rows of the data set, ({expected})")
    result = np.empty(x.shape, dtype=np.float32)
    for start in range(0, len(x), _BLOCK):
        block = slice(start, start + _BLOCK)
        x_NxD = contrast_normalize(x[block])
        x_NxD -= whitening.mean
        result[block] = (x_NxD @ whitening.matrix).reshape(-1, *shape)
    return result


def _sorted_rows(training_rows: npt.ArrayLike, available: int) -> Array:
    rows = np.unique(np.asarray(training_rows))  # sums in one order, so one result for one set
    if rows.size == 0 or rows.dtype.kind not in "iu":
        raise DataError("training_rows: must be whole numbers, at least one row of x_train")
    if rows[0] < 0 or rows[-1] >= available:
        wrong = rows[0] if rows[0] < 0 else rows[-1]
        raise DataError(f"training_rows: row {wrong} is outside 0..{available - 1} of x_train")
    return rows


def _key(raw: Array) -> str:
    digest = hashlib.sha256(
        f"whitening {_FORMAT} {NORM} {REGULARISATION} {raw.shape} {raw.dtype.str} ".encode()
    )
    digest.update(np.ascontiguousarray(raw).data)
    return digest.hexdigest()[:16]


def cache_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """The folder given, else $LADDER_CACHE_DIR, else ladder_jax in $XDG_CACHE_HOME or ~/.cache."""
    own = given or os.environ.get("LADDER_CACHE_DIR")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "ladder_jax"


def load_whitening(folder: Path, key: str, size: int) -> tuple[Array, Array] | None:
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


def save_whitening(folder: Path, key: str, mean: Array, matrix: Array) -> None:
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
