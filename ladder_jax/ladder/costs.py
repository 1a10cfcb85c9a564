"""The costs of Algorithm 1.

| symbol | name | source |
|---|---|---|
| −log P(ỹ = t) | supervised cost, corrupted labelled rows | Algorithm 1 |
| ẑ_BN(l) = (ẑ(l) − μ(l))/√(σ²(l) + ε) | with the clean moments; at l = 0 just ẑ(0) | Algorithm 1 |
| C(l) = ‖z(l) − ẑ_BN(l)‖²/D_l, batch mean | denoising cost | section 2, the authors' code |
| C = supervised + Σ λ(l) C(l) | total | Algorithm 1 |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from ladder_jax.config import LadderConfig
from ladder_jax.ladder.encoder import Activations
from ladder_jax.ops.batchnorm import Moments, normalize
from ladder_jax.ops.rows import ALL_ROWS, Rows


class Costs(NamedTuple):
    """Scalar costs of one step.

    Attributes:
      supervised: mean cross-entropy of the corrupted labelled rows, in nats.
      denoising: C(0)…C(L), unweighted; None where λ(l) is 0 or there is no ẑ.
      total: supervised + Σ λ(l) C(l).
    """

    supervised: jax.Array
    denoising: tuple[jax.Array | None, ...]
    total: jax.Array


def cross_entropy(logits_BxK: jax.Array, labels_B: jax.Array) -> jax.Array:
    """−log P(t) of each row, in nats. (B, K), whole numbers (B,) -> (B,).

    A class of K or more gives NaN, which ``ladder.gamma`` relies on.
    """
    chex.assert_rank([logits_BxK, labels_B], [2, 1])
    return optax.softmax_cross_entropy_with_integer_labels(logits_BxK, labels_B)


def denoising_cost(z_BxD: jax.Array, z_hat_BxD: jax.Array, clean: Moments | None) -> jax.Array:
    """‖z − ẑ_BN‖² of each row, divided by the number of its elements. -> (B,).

    Args:
      z_BxD: clean target.
      z_hat_BxD: reconstruction.
      clean: moments of the clean pass at this layer, or None at the input.
    """
    chex.assert_equal_shape([z_BxD, z_hat_BxD])
    if clean is not None:
        z_hat_BxD = normalize(z_hat_BxD, clean)
    return jnp.square(z_BxD - z_hat_BxD).mean(tuple(range(1, z_BxD.ndim)))


def combine(
    config: LadderConfig,
    logits_BxK: jax.Array,
    labels_B: jax.Array,
    x_BxD: jax.Array,
    clean: Activations | None,
    z_hat: Sequence[jax.Array | None],
    rows: tuple[Rows, Rows] = (ALL_ROWS, ALL_ROWS),
    weights: Sequence[float | jax.Array] | None = None,
) -> Costs:
    """All costs of a step; the one place where they are reduced over rows.

    Args:
      config: the network.
      logits_BxK: corrupted labelled rows' logits.
      labels_B: their classes.
      x_BxD: unlabelled inputs, the target at the input layer.
      clean: clean pass over the unlabelled rows; None if only the input has a cost.
      z_hat: reconstructions of the unlabelled rows.
      rows: which labelled and which unlabelled rows of the batch these are. Of some of them the
        costs are this device's share; the mean of the devices' shares is that of the whole batch.
      weights: λ(0)…λ(L), numbers or arrays; None is those of ``config``.
    """
    rows_l, rows_u = rows
    weights = config.denoising_weights if weights is None else weights
    supervised = rows_l.cost_mean(cross_entropy(logits_BxK, labels_B))
    denoising: list[jax.Array | None] = [None] * len(config.shapes)
    total = supervised
    for i in config.cost_layers:
        reconstruction = z_hat[i]
        assert reconstruction is not None, f"layer {i} has a cost but no reconstruction"
        if i == 0:
            cost_B = denoising_cost(x_BxD, reconstruction, None)
        else:
            assert clean is not None, "a cost above the input needs the clean pass"
            cost_B = denoising_cost(clean.z[i], reconstruction, clean.moments(i))
        denoising[i] = cost = rows_u.cost_mean(cost_B)
        total = total + weights[i] * cost
    return Costs(supervised, tuple(denoising), total)
