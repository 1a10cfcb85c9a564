"""Pads rows to a few standard shapes, so that similar data sets share one compiled program."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ladder_jax.data import Split
from ladder_jax.data.dataset import Array

# A program is compiled for the shapes of its arrays, so fits on slightly different numbers of rows
# (the folds of a cross-validation, say) would each compile their own. Therefore the rows are padded
# to one of a few lengths, and epochs draw from a list of row indices of one of a few lengths, in
# which each row occurs equally often, up to one occurrence.

LARGEST = 8192
"""Larger sets keep their own shape, because compiling is then the smaller part of a fit."""

_LEAST_ROWS = 256  # smaller shapes are not faster
_OCCURRENCES = 4  # of each row in a list, at least, so that they differ by a quarter at most
_LEAST_STEPS = 32  # of an epoch that takes the whole list


def padded(x: Array) -> Array:
    """Pads rows (N, …) with zeros to a power of two, or returns them if N > ``LARGEST``."""
    return np.pad(x, [(0, padded_rows(len(x)) - len(x)), *[(0, 0)] * (x.ndim - 1)])


def padded_rows(rows: int) -> int:
    """Returns the length that ``padded`` gives to that many rows."""
    return _power_of_two(rows, _LEAST_ROWS) if rows <= LARGEST else rows


def longest_epoch(rows: int, batch_size: int) -> int:
    """Returns the steps of an epoch that takes the whole list of ``epoch_split``."""
    if rows > LARGEST:
        return rows // min(batch_size, rows)
    return _power_of_two(-(-_OCCURRENCES * rows // batch_size), _LEAST_STEPS)


def epoch_split(
    labelled: Array, rows: int, batch_size: int, labelled_batch_size: int, seed: int
) -> Split:
    """Returns the lists of row indices that epochs draw from; ``labelled`` are indices (N_l,)."""
    rng = np.random.default_rng(seed)  # chooses which rows occur once more than others
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
    """Applies a function to rows (N, …) in blocks that all have ``rows`` rows."""
    # One shape is compiled once, and a row's value does not depend on the rows beside it.
    values = []
    for start in range(0, max(len(x), 1), rows):
        block = x[start : start + rows]
        filled = np.pad(block, [(0, rows - len(block)), *[(0, 0)] * (x.ndim - 1)])
        values.append(function(filled)[: len(block)])
    return np.concatenate(values)


def _repeated(rows: Array, length: int, rng: np.random.Generator) -> Array:
    """Concatenates permutations of the rows and cuts them to that length."""
    times = -(-length // len(rows))
    return np.concatenate([rng.permutation(rows) for _ in range(times)])[:length]


def _power_of_two(least: int, smallest: int) -> int:
    """Returns the smallest power of two ≥ ``least``, but not less than ``smallest``."""
    return max(smallest, 1 << (least - 1).bit_length())
