"""Which rows of a batch an array holds, and how to average over the whole batch."""

from __future__ import annotations

import math
from typing import TypeVar

import jax
import jax.numpy as jnp
from flax import struct

T = TypeVar("T")


class Rows(struct.PyTreeNode):
    """The rows of a batch that are on this device.

    Whoever averages over rows asks this class, so only it knows that a batch can lie on several
    devices. Under ``jax.jit`` no device is visible and ``ALL_ROWS`` is right, also where the
    compiler spreads the rows.

    Attributes:
      weight: (B,) weight of each row; 0 for a row that only fills the batch up. None: all alike.
      axis_name: name of the surrounding ``jax.pmap`` whose devices each have a part of the batch;
        None: this device has the whole batch.
    """

    weight: jax.Array | None = None
    axis_name: str | None = struct.field(pytree_node=False, default=None)

    def mean(self, x_BxD: jax.Array) -> jax.Array:
        """Mean over all axes but the last, over the whole batch. (B, …, D) -> (D,)."""
        axes = tuple(range(x_BxD.ndim - 1))
        if self.weight is None:
            return self.mean_over_devices(x_BxD.mean(axes))
        weight = self.weight.reshape(self.weight.shape + (1,) * (x_BxD.ndim - 1))
        total_D = (x_BxD * weight).sum(axes)
        count = self.weight.sum() * math.prod(x_BxD.shape[1:-1])
        if self.axis_name is not None:
            total_D, count = jax.lax.psum((total_D, count), self.axis_name)
        return total_D / count

    def cost_mean(self, cost_B: jax.Array) -> jax.Array:
        """This device's share of the mean over the whole batch. (B,) -> ().

        The mean of the devices' shares is the weighted mean over all rows, also where the devices'
        weights differ in sum. It is left to the caller, who takes it of the gradient too.
        """
        if self.weight is None:
            return cost_B.mean()
        return (cost_B * self.weight).sum() / self.mean_over_devices(self.weight.sum())

    def count(self, rows_here: int) -> int | jax.Array:
        """Number of rows of the whole batch, rows of weight 0 left out."""
        rows = rows_here if self.weight is None else self.weight.sum()
        return rows if self.axis_name is None else jax.lax.psum(rows, self.axis_name)

    def mean_over_devices(self, tree: T) -> T:
        """Mean over the devices of each array of a tree."""
        return tree if self.axis_name is None else jax.lax.pmean(tree, self.axis_name)


ALL_ROWS = Rows()
"""All rows on one device, all alike."""


def share_of_device(count: int, devices: int, axis_name: str) -> tuple[jax.Array, Rows]:
    """Which of ``count`` rows are this device's under ``jax.pmap``: their indices, and weights.

    All devices need equally many rows. A batch that they do not divide is filled up with rows of
    weight 0, which take no part in moments and costs.
    """
    own = -(-count // devices)
    at = jax.lax.axis_index(axis_name) * own + jnp.arange(own)
    return jnp.minimum(at, count - 1), Rows((at < count).astype(jnp.zeros(()).dtype), axis_name)
