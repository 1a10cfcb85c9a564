"""Finds the rows that have a label."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from ladder_jax.data.dataset import Array
from ladder_jax.errors import DataError

_ONE = ({"1"}, {"1.0"}, {"+1"})  # the other class, if the classes are -1 and 1


def as_array(y: Any) -> Array:
    """Converts labels to an array that keeps None and NaN in a list of strings as they are."""
    if isinstance(y, list | tuple):
        objects = np.asarray(y, dtype=object)
        if any(value is None or isinstance(value, str) for value in objects.flat):
            return objects
    return np.asarray(y)


def known_labels(y: Array, mask: npt.NDArray[np.bool_]) -> Array:
    """Returns the labels of the rows in the mask, (n,), as numbers or strings."""
    known = y[mask]
    if known.dtype.kind in "mM":
        raise DataError("y: labels are dates or times; give numbers or strings")
    if known.dtype.kind != "O":
        return known
    kinds = {isinstance(value, str) for value in known}
    if len(kinds) > 1:
        raise DataError("y: some labels are strings and some are not; make them alike")
    return np.array(known.tolist())


def has_label(y: Array, unlabeled_label: Any) -> npt.NDArray[np.bool_]:
    """Returns a mask (N,) of the rows with a label; None, NaN and "" are never labels."""
    if type(unlabeled_label).__name__ == "NAType":  # pandas' own, never a label
        unlabeled_label = None
    if y.dtype.kind == "O":
        mask = np.array([not _is_empty(value, unlabeled_label) for value in y], dtype=bool)
    elif y.dtype.kind in "US":
        mask = y != y.dtype.type()
        if unlabeled_label is not None:
            mask &= y.astype(str) != str(unlabeled_label)
    else:
        mask = ~np.isnan(y) if y.dtype.kind == "f" else np.ones(len(y), dtype=bool)
        if isinstance(unlabeled_label, str | bytes):
            try:
                unlabeled_label = float(unlabeled_label)
            except ValueError:
                unlabeled_label = None
        if unlabeled_label is not None:
            mask &= y != unlabeled_label
    if not mask.any():
        raise DataError(f"y: none of its {len(y)} rows has a label; label some rows of each class")
    return mask


def _is_empty(value: Any, unlabeled_label: Any) -> bool:
    """Returns whether a single value is no label."""
    if value is None or (isinstance(value, str) and value == ""):
        return True
    if type(value).__name__ == "NAType":  # pandas' own
        return True
    if isinstance(value, float) and np.isnan(value):
        return True
    if unlabeled_label is None:
        return False
    return bool(value == unlabeled_label) or value == str(unlabeled_label)


def warn_of_signs(y: Array, mask: npt.NDArray[np.bool_], unlabeled_label: Any) -> None:
    """Warns if -1 may be one of two classes rather than the mark of unlabelled rows."""
    if mask.all() or unlabeled_label != -1 or set(map(str, y[mask].tolist())) not in _ONE:
        return
    warnings.warn(
        "y holds only -1 and 1, and -1 is taken for 'no label' (unlabeled_label=-1): if -1 is one "
        "of two classes, set unlabeled_label=None",
        UserWarning,
        stacklevel=4,
    )
