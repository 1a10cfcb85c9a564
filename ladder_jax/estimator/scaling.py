"""Scales inputs with statistics of the training rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ladder_jax.data.dataset import Array
from ladder_jax.errors import DataError, choice

SCALINGS = ("standard", "range", "none")
"""Mean 0 and variance 1; smallest value 0 and largest 1; unchanged."""


_LARGEST = 1e150  # the squares of larger values are not finite


class Scaling(NamedTuple):
    """The affine map x ↦ (x − shift) · factor, one of each per column or image channel."""

    shift: Array  # (D,) for rows, (C,) for images
    # 0 for a feature that is constant in the training rows: it carries no information, and a new
    # row in which it differs must not get a huge value.
    factor: Array

    def __call__(self, x: Array) -> Array:
        """Returns the scaled rows (N, …) as float32, or raises ``DataError`` if one overflows."""
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = ((x - self.shift) * self.factor).astype(np.float32)
        if not np.isfinite(scaled).all():
            row = int(np.argwhere(~np.isfinite(scaled))[0, 0])
            raise DataError(f"X: row {row} has a value too far from the training rows; correct it")
        return scaled


def fit_scaling(x: Array, kind: str) -> Scaling:
    """Fits the map to training rows in float64, per column (N, D) or channel (N, H, W, C)."""
    choice("scaling", kind, SCALINGS)
    x = np.asarray(x, np.float64)
    axes = tuple(range(x.ndim - 1))
    if kind == "none":
        return Scaling(np.zeros(x.shape[-1]), np.ones(x.shape[-1]))
    low, high = x.min(axes), x.max(axes)
    if (huge := np.maximum(-low, high) > _LARGEST).any():
        column = np.flatnonzero(huge)[0]
        raise DataError(f"X: column {column} has values too large to scale; above {_LARGEST:g}")
    # Differences of values rounded alike are exact, so a constant feature has no spread at all.
    centre = x - low
    if kind == "range":
        return Scaling(low, _inverse(high - low))
    return Scaling(low + centre.mean(axes), _inverse(centre.std(axes)))


def _inverse(spread: Array) -> Array:
    """Returns 1 / spread, and 0 where the spread is 0."""
    return np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
