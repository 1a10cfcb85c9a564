"""A device's share of a batch under ``jax.pmap``.

All devices run the same program and need equally many rows. A batch that they do not divide is
filled up with rows of weight 0, which take no part in moments and costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

Batch = tuple[jax.Array, jax.Array, jax.Array]
"""x_l (B_l, *input_shape), y_l (B_l,), x_u (B_u, *input_shape)."""


class Share(NamedTuple):
    """How the rows of a step are shared among the devices of a ``jax.pmap``.

    Attributes:
      axis_name: of the pmap.
      devices: how many.
    """

    axis_name: str
    devices: int

    def of_rows(self, rows: int) -> tuple[jax.Array, jax.Array]:
        """Which of that many rows are this device's, as indices, and their weights, 1 or 0."""
        count = -(-rows // self.devices)
        at = jax.lax.axis_index(self.axis_name) * count + jnp.arange(count)
        return jnp.minimum(at, rows - 1), (at < rows).astype(jnp.zeros(()).dtype)

    def of_batch(
        self, batch: Batch, noise: Sequence[jax.Array]
    ) -> tuple[Batch, tuple[jax.Array, ...], tuple[jax.Array, jax.Array]]:
        """This device's rows of a whole batch, of the noise of the joint batch, and weights."""
        x_l, y_l, x_u = batch
        at_l, weight_l = self.of_rows(len(x_l))
        at_u, weight_u = self.of_rows(len(x_u))
        with_u = len(noise[0]) > len(x_l)  # a baseline draws none for the unlabelled rows
        joint = jnp.concatenate([at_l, len(x_l) + at_u]) if with_u else at_l
        own = (x_l[at_l], y_l[at_l], x_u[at_u])
        return own, tuple(draw[joint] for draw in noise), (weight_l, weight_u)
