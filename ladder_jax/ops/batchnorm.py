"""Batch moments, normalisation by them, and the running average of them.

| symbol | name | source |
|---|---|---|
| μ, σ² | mean and biased variance over the batch | Algorithm 1, clean encoder |
| z = (z_pre − μ)/√(σ² + ε) | normalised pre-activation | Algorithm 1, ``batchnorm`` |

The variance is two-pass, mean((x − μ)²): with ε as small as 1e-10 the one-pass
E[x²] − E[x]² loses most of a small variance to cancellation.

Shapes are written as suffixes: ``x_BxD`` has B rows and D units.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

EPSILON = 1e-10
"""Added to every variance before the square root (the authors' code)."""

RUNNING_WINDOW = 10
"""The running average weighs by 1/count up to this count, then by 1/RUNNING_WINDOW."""


class Moments(NamedTuple):
    """Mean and biased variance per unit, each of shape (D,)."""

    mean: jax.Array
    var: jax.Array


class RunningMoments(NamedTuple):
    """A running average of moments and how many minibatches it has seen (scalar)."""

    mean: jax.Array
    var: jax.Array
    batches: jax.Array


def batch_mean(
    x_BxD: jax.Array, weight_B: jax.Array | None = None, axis_name: str | None = None
) -> jax.Array:
    """Mean over all axes but the last, and over the devices of ``axis_name``. (..., D) -> (D,).

    Args:
      x_BxD: rows of this device.
      weight_B: weight of each row; 0 for a row that only fills the batch up. None: all alike.
      axis_name: of a surrounding ``jax.pmap``, if each device has a part of the batch.
    """
    axes = tuple(range(x_BxD.ndim - 1))
    if weight_B is None:
        mean_D = x_BxD.mean(axes)
        return mean_D if axis_name is None else jax.lax.pmean(mean_D, axis_name)
    weight = weight_B.reshape(weight_B.shape + (1,) * (x_BxD.ndim - 1))
    total_D = (x_BxD * weight).sum(axes)
    count = weight_B.sum() * math.prod(x_BxD.shape[1:-1])
    if axis_name is not None:
        total_D, count = jax.lax.psum((total_D, count), axis_name)
    return total_D / count


def moments(
    x_BxD: jax.Array, weight_B: jax.Array | None = None, axis_name: str | None = None
) -> Moments:
    """Mean and biased variance over all axes but the last. (..., D) -> two times (D,).

    Arguments as of ``batch_mean``.
    """
    mean_D = batch_mean(x_BxD, weight_B, axis_name)
    square_BxD = jnp.square(x_BxD - per_unit(mean_D, x_BxD))
    return Moments(mean_D, batch_mean(square_BxD, weight_B, axis_name))


def normalize(x_BxD: jax.Array, by: Moments) -> jax.Array:
    """(x − μ)/√(σ² + ε) with the given moments. Shape and dtype of ``x`` are kept."""
    mean_D, std_D = by.mean, jnp.sqrt(by.var + EPSILON)
    return (x_BxD - per_unit(mean_D, x_BxD)) * per_unit(1 / std_D, x_BxD)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def standardize(
    x_BxD: jax.Array, weight_B: jax.Array | None = None, axis_name: str | None = None
) -> tuple[jax.Array, Moments]:
    """``x`` normalised by its own moments, and these. (..., D) -> the same, two times (D,).

    The derivative is written out: with z = (x − μ)/σ, σ² the variance plus ε, and ⟨…⟩ the mean
    over the batch, dz = (dx − ⟨dx⟩ − z⟨z dx⟩)/σ, dμ = ⟨dx⟩, d var = 2σ⟨z dx⟩. So a gradient takes
    two sums over the batch; that of the separate steps takes three and more passes over x.
    Weights are constants. Arguments as of ``batch_mean``.
    """
    by = moments(x_BxD, weight_B, axis_name)
    return normalize(x_BxD, by), by


@standardize.defjvp
def _standardize_jvp(axis_name: str | None, primals: tuple, tangents: tuple) -> tuple:
    (x, weight), (dx, _) = primals, tangents
    z, by = standardize(x, weight, axis_name)
    std_D = jnp.sqrt(by.var + EPSILON)
    dmean_D = batch_mean(dx, weight, axis_name)
    along_D = batch_mean(z * dx, weight, axis_name)
    dz = (dx - per_unit(dmean_D, x) - z * per_unit(along_D, x)) * per_unit(1 / std_D, x)
    return (z, by), (dz, Moments(dmean_D, 2 * std_D * along_D))


def per_unit(vector_D: jax.Array, like_BxD: jax.Array) -> jax.Array:
    """The vector with as many axes as ``like``: (D,) -> (1, …, 1, D).

    Broadcasting is spelled out everywhere, so that JAX can be told to refuse it elsewhere.
    """
    return vector_D.reshape((1,) * (like_BxD.ndim - 1) + vector_D.shape)


def unbiased(of: Moments, rows: int | jax.Array) -> Moments:
    """The moments with the variance scaled by n/(n − 1), as used at evaluation.

    A single row has no variance to correct; it is left at zero.
    """
    return Moments(of.mean, of.var * (rows / jnp.maximum(rows - 1, 1)))


def init_running(units: int) -> RunningMoments:
    """Mean 0, variance 1, nothing seen yet."""
    return RunningMoments(jnp.zeros(units), jnp.ones(units), jnp.zeros((), jnp.int32))


def update_running(
    running: RunningMoments, batch: Moments, rows: int | jax.Array
) -> RunningMoments:
    """One more minibatch of ``rows`` rows enters the average (the authors' code).

    Weight 1/count up to a count of ``RUNNING_WINDOW``, then 1/``RUNNING_WINDOW``;
    the variance enters times n/(n − 1).
    """
    batches = running.batches + 1
    weight = 1 / jnp.minimum(batches, RUNNING_WINDOW).astype(running.mean.dtype)
    batch = unbiased(batch, rows)
    return RunningMoments(
        running.mean + weight * (batch.mean - running.mean),
        running.var + weight * (batch.var - running.var),
        batches,
    )
