"""Rows of any number in few shapes, so that similar data share one compiled program.

A program is compiled for the shapes of its arrays. Fits on slightly different numbers of rows
(the folds of a cross-validation, say) would each compile their own. Here the rows lie in an
array of one of few lengths, and epochs draw from a list of row numbers of one of few lengths, in
which each row occurs equally often, up to one occurrence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ladder_jax.data import Split
from ladder_jax.errors import whole

LARGEST = 8192
"""Sets of more rows keep their own shape: compiling is then the smaller part of a fit."""

_LEAST_ROWS = 256  # shapes below that cost no less
_OCCURRENCES = 4  # of each row in a list, at least: they then differ by a quarter at most
_LEAST_STEPS = 32  # that a list is long enough for

Array = npt.NDArray


def padded(x: Array) -> Array:
    """Rows (N, …) with zeros after them, to a power of two. Above ``LARGEST`` as they are."""
    return np.pad(x, [(0, padded_rows(len(x)) - len(x)), *[(0, 0)] * (x.ndim - 1)])


def padded_rows(rows: int) -> int:
    """Length of that many rows after ``padded``."""
    return _power_of_two(rows, _LEAST_ROWS) if rows <= LARGEST else rows


def batch_of(name: str, size: Any, rows: int) -> int:
    """A batch size, cut to what makes sense for that many rows; ConfigError if it is none."""
    return min(whole(name, size, 1), max(rows, LARGEST))


def longest_epoch(rows: int, batch_size: int) -> int:
    """Steps of an epoch that takes the whole list of ``epoch_split``."""
    if rows > LARGEST:
        return rows // min(batch_size, rows)
    return _power_of_two(-(-_OCCURRENCES * rows // batch_size), _LEAST_STEPS)


def epoch_split(
    labelled: Array, rows: int, batch_size: int, labelled_batch_size: int, seed: int
) -> Split:
    """Lists of the rows that epochs draw from: unlabelled rows 0…rows − 1, and labelled ones.

    Args:
      labelled: numbers (N_l,) of the labelled ones among them.
      rows: N.
      batch_size: unlabelled rows in a step; up to ``LARGEST`` rows, what the list's length is a
        multiple of.
      labelled_batch_size: the same for the labelled rows, however many.
      seed: of the choice which rows occur once more than others.
    """
    rng = np.random.default_rng(seed)
    train = np.arange(rows)
    if rows <= LARGEST:
        train = _repeated(train, longest_epoch(rows, batch_size) * batch_size, rng)
    batches = _power_of_two(-(-_OCCURRENCES * len(labelled) // labelled_batch_size), 1)
    return Split(
        train=train,
        validation=np.zeros(0, np.int64),
        labelled=_repeated(labelled, batches * labelled_batch_size, rng),
    )


def in_blocks(function: Callable[[Array], Array], x: Array, rows: int) -> Array:
    """The function's values at the rows (N, …), always called with that many rows.

    So it is compiled once, and what it says of a row does not depend on the rows beside it.
    """
    values = []
    for start in range(0, max(len(x), 1), rows):
        block = x[start : start + rows]
        filled = np.pad(block, [(0, rows - len(block)), *[(0, 0)] * (x.ndim - 1)])
        values.append(function(filled)[: len(block)])
    return np.concatenate(values)


def _repeated(rows: Array, length: int, rng: np.random.Generator) -> Array:
    """Permutations of the rows, one after the other, cut to that length."""
    times = -(-length // len(rows))
    return np.concatenate([rng.permutation(rows) for _ in range(times)])[:length]


def _power_of_two(least: int, smallest: int) -> int:
    return max(smallest, 1 << (least - 1).bit_length())
