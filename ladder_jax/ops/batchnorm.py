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

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ladder_jax.ops.rows import ALL_ROWS, Rows

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


def moments(x_BxD: jax.Array, rows: Rows = ALL_ROWS) -> Moments:
    """Mean and biased variance over all axes but the last. (B, …, D) -> two times (D,)."""
    mean_D = rows.mean(x_BxD)
    return Moments(mean_D, rows.mean(jnp.square(x_BxD - per_unit(mean_D, x_BxD))))


def normalize(x_BxD: jax.Array, by: Moments) -> jax.Array:
    """(x − μ)/√(σ² + ε) with the given moments. Shape and dtype of ``x`` are kept."""
    mean_D, std_D = by.mean, jnp.sqrt(by.var + EPSILON)
    return (x_BxD - per_unit(mean_D, x_BxD)) * per_unit(1 / std_D, x_BxD)


@jax.custom_jvp
def standardize(x_BxD: jax.Array, rows: Rows = ALL_ROWS) -> tuple[jax.Array, Moments]:
    """``x`` normalised by its own moments, and these. (B, …, D) -> the same, two times (D,).

    The derivative is written out: with z = (x − μ)/σ, σ² the variance plus ε, and ⟨…⟩ the mean
    over the batch, dz = (dx − ⟨dx⟩ − z⟨z dx⟩)/σ, dμ = ⟨dx⟩, d var = 2σ⟨z dx⟩. So a gradient takes
    two sums over the batch; that of the separate steps takes three and more passes over x.
    The weights of the rows are constants.
    """
    by = moments(x_BxD, rows)
    return normalize(x_BxD, by), by


@standardize.defjvp
def _standardize_jvp(primals: tuple, tangents: tuple) -> tuple:
    (x, rows), (dx, _) = primals, tangents
    z, by = standardize(x, rows)
    std_D = jnp.sqrt(by.var + EPSILON)
    dmean_D, along_D = rows.mean(dx), rows.mean(z * dx)
    dz = (dx - per_unit(dmean_D, x) - z * per_unit(along_D, x)) * per_unit(1 / std_D, x)
    return (z, by), (dz, Moments(dmean_D, 2 * std_D * along_D))


def per_unit(vector_D: jax.Array, like_BxD: jax.Array) -> jax.Array:
    """The vector with as many axes as ``like``: (D,) -> (1, …, 1, D).

    Broadcasting is spelled out everywhere, so that JAX can be told to refuse it elsewhere.
    """
    return vector_D.reshape((1,) * (like_BxD.ndim - 1) + vector_D.shape)


def unbiased(of: Moments, count: int | jax.Array) -> Moments:
    """The moments with the variance scaled by n/(n − 1), as used at evaluation; n is ``count``.

    A single row has no variance to correct; it is left at zero.
    """
    return Moments(of.mean, of.var * (count / jnp.maximum(count - 1, 1)))


def init_running(units: int) -> RunningMoments:
    """Mean 0, variance 1, nothing seen yet."""
    return RunningMoments(jnp.zeros(units), jnp.ones(units), jnp.zeros((), jnp.int32))


def update_running(
    running: RunningMoments, batch: Moments, count: int | jax.Array
) -> RunningMoments:
    """One more minibatch of ``count`` rows enters the average (the authors' code).

    Weight 1/count up to a count of ``RUNNING_WINDOW``, then 1/``RUNNING_WINDOW``;
    the variance enters times n/(n − 1).
    """
    batches = running.batches + 1
    weight = 1 / jnp.minimum(batches, RUNNING_WINDOW).astype(running.mean.dtype)
    batch = unbiased(batch, count)
    return RunningMoments(
        running.mean + weight * (batch.mean - running.mean),
        running.var + weight * (batch.var - running.var),
        batches,
    )
