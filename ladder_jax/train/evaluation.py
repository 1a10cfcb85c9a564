"""Population statistics, predictions and error rates.

The clean encoder runs with fixed statistics, never those of the test batch. Three kinds
are always reported. The first one is the default and the one in the authors' code:

- ``labelled``: one pass over the labelled training rows after training,
- ``unlabelled``: one pass over all training rows after training,
- ``running``: averaged during training, see ``batchnorm.update_running``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ladder_jax.config import LadderConfig
from ladder_jax.errors import DataError
from ladder_jax.ladder.encoder import Params, Part, encode_parts
from ladder_jax.ladder.network import running_statistics
from ladder_jax.ops.batchnorm import Moments, unbiased

Statistics = tuple[Moments, ...]
"""Moments of layers 1…L."""

PREDICTION_ROWS = 1000
"""Most rows that one call classifies; it bounds the memory and does not change the result."""

_PREDICTION_ELEMENTS = 2**25  # of the largest layer in one call: 134 MB in float32


def population_statistics(
    config: LadderConfig,
    variables: Params,
    x: jax.Array,
    scale: jax.Array,
    batch_size: int,
    rows: jax.Array | None = None,
) -> Statistics:
    """Averages the means, and the variances × n/(n − 1), of minibatches (authors' code).

    Each minibatch is normalised by its own moments on the way up. The rows are cut, in the given
    order, into ⌈N/batch_size⌉ minibatches of nearly equal size, or fewer, so that each has at least
    two rows. No row is left out.

    Args:
      config: the network.
      variables: parameters and running statistics, from ``init`` or a finished run.
      x: rows (N, *input_shape) as stored.
      scale: scalar; x·scale is the network's input.
      batch_size: largest number of rows in a minibatch.
      rows: indices (M,) into x of the rows to use, in this order; None uses all.

    Returns:
      The moments of layers 1…L.
    """
    rows = jnp.arange(len(x)) if rows is None else rows
    batches = max(1, min(-(-len(rows) // batch_size), len(rows) // 2))
    sums = None
    for part in _equal_parts(len(rows), batches):
        found = _sum_of_batch_moments(config.structure, part, variables["params"], x, scale, rows)
        sums = found if sums is None else jax.tree.map(jnp.add, sums, found)
    return jax.tree.map(lambda total: total / batches, sums)


def _equal_parts(rows: int, batches: int) -> list[range]:
    """Returns one or two ranges of minibatches as range(start, stop, rows per minibatch)."""
    small, longer = divmod(rows, batches)
    cut = longer * (small + 1)
    parts = (range(0, cut, small + 1), range(cut, rows, small))
    return [part for part in parts if len(part)]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _sum_of_batch_moments(
    config: LadderConfig,
    part: range,
    params: Params,
    x: jax.Array,
    scale: jax.Array,
    rows: jax.Array,
) -> Statistics:
    """Returns the sum of the moments of the minibatches in one range of rows."""
    at_NxB = rows[part.start : part.stop].reshape(-1, part.step)

    def batch_moments(total: Statistics, at_B: jax.Array) -> tuple[Statistics, None]:
        # Gathered here, one minibatch at a time: outside, the whole set would be copied.
        x_BxD = x[at_B].astype(scale.dtype) * scale
        (clean,) = encode_parts(config, params["encoder"], [Part(x_BxD)])
        found = tuple(unbiased(batch, len(at_B)) for batch in clean.statistics())
        return jax.tree.map(jnp.add, total, found), None

    zeros = tuple(Moments(jnp.zeros(s[-1:]), jnp.zeros(s[-1:])) for s in config.shapes[1:])
    return jax.lax.scan(batch_moments, zeros, at_NxB)[0]


def predict_proba(
    config: LadderConfig,
    variables: Params,
    x: jax.Array | np.ndarray,
    statistics: Statistics | None = None,
    scale: float | jax.Array = 1.0,
) -> np.ndarray:
    """Returns the class probabilities of each row: a clean pass with fixed statistics.

    Args:
      config: the network.
      variables: parameters and running statistics, from ``init`` or a finished run.
      x: rows (N, …) with as many values as the network's input_shape.
      statistics: from ``population_statistics``; None uses the running ones.
      scale: x·scale is the network's input.

    Returns:
      (N, K); each row sums to 1.

    Raises:
      DataError: the rows do not fit the network.
    """
    if math.prod(x.shape[1:]) != math.prod(config.input_shape):
        raise DataError(
            f"x: shape {x.shape}; the network takes (rows, …) with rows of {config.input_shape}; "
            "a single row is x[None]"
        )
    x = x.reshape(-1, *config.input_shape)
    if statistics is None:
        statistics = running_statistics(variables)
    chunks = [np.zeros((0, config.num_classes), jnp.zeros(()).dtype)]
    largest = max(math.prod(shape) for shape in config.shapes)
    at_once = max(1, min(PREDICTION_ROWS, _PREDICTION_ELEMENTS // largest))
    params = variables["params"]
    for start in range(0, len(x), at_once):
        chunk = np.asarray(x[start : start + at_once])
        rows = len(chunk)
        if len(x) > at_once:  # one compiled shape for all chunks
            chunk = np.pad(chunk, [(0, at_once - rows)] + [(0, 0)] * (chunk.ndim - 1))
        scale = jnp.asarray(scale, jnp.zeros(()).dtype)
        chunks.append(_probabilities(config.structure, params, chunk, scale, statistics)[:rows])
    return np.concatenate([np.asarray(chunk) for chunk in chunks])


@functools.partial(jax.jit, static_argnums=0)
def _probabilities(
    config: LadderConfig, params: Params, x: jax.Array, scale: jax.Array, statistics: Statistics
) -> jax.Array:
    """Returns the class probabilities of a chunk of rows."""
    part = Part(x.astype(scale.dtype) * scale, moments=statistics)
    (clean,) = encode_parts(config, params["encoder"], [part])
    return clean.h[-1]


def predict(
    config: LadderConfig,
    variables: Params,
    x: jax.Array | np.ndarray,
    statistics: Statistics | None = None,
    scale: float | jax.Array = 1.0,
) -> np.ndarray:
    """Returns the most probable class of each row, (N,), with arguments as in ``predict_proba``."""
    return predict_proba(config, variables, x, statistics, scale).argmax(-1)


def error_percent(predicted: Sequence[int] | np.ndarray, labels: np.ndarray) -> float:
    """Returns the percentage of wrong predictions, given predictions (N,) and labels (N,)."""
    wrong = np.asarray(predicted) != np.asarray(labels)
    return 100 * int(wrong.sum()) / len(wrong)
