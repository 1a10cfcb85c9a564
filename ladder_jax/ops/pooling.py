"""Pooling and its inverses over the two spatial axes of images (B, H, W, C).

The authors' code ran on a framework whose max-pooling sends the gradient to every position
that equals the maximum; JAX sends it to the first one. Ties are common in the clean pass over
constant backgrounds, so the rule is a setting: ``TIES``. Values that differ by less than some
roundings of values around 1 count as equal.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax

TIES = ("all", "first")
"""Who gets the gradient of equal maxima; the first rule is the authors' code's."""


def max_pool(x_BHWC: jax.Array, size: int, ties: str = "all") -> jax.Array:
    """Maximum over windows of ``size`` × ``size`` without overlap.

    Windows at the lower and right border hold what there is: (B, ⌈H/size⌉, ⌈W/size⌉, C).

    Args:
      x_BHWC: images.
      size: window and stride.
      ties: one of ``TIES``.
    """
    if ties == "all":
        return _max_pool(x_BHWC, size)
    window = (1, size, size, 1)
    rest = [(0, -n % s) for n, s in zip(x_BHWC.shape, window, strict=True)]
    return lax.reduce_window(x_BHWC, -jnp.inf, lax.max, window, window, rest)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _max_pool(x_BHWC: jax.Array, size: int) -> jax.Array:
    rest = [(0, 0), *((0, -n % size) for n in x_BHWC.shape[1:3]), (0, 0)]
    x = jnp.pad(x_BHWC, rest, constant_values=-jnp.inf)
    positions = [x[:, i::size, j::size] for i in range(size) for j in range(size)]
    return functools.reduce(jnp.maximum, positions)


def _forward(x_BHWC: jax.Array, size: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    top = _max_pool(x_BHWC, size)
    return top, (x_BHWC, top)


def _backward(
    size: int, saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array]:
    x, top = saved
    shape = x.shape[1:]
    # Not x == top: XLA may work out x once for the maximum and again here, where it fuses
    # products and sums into one rounding, and then nothing is equal and no gradient flows.
    rounding = 16 * jnp.finfo(x.dtype).eps * (1 + jnp.abs(top))
    is_top = x >= unpool(top - rounding, size, shape)
    return (jnp.where(is_top, unpool(gradient, size, shape), 0),)


_max_pool.defvjp(_forward, _backward)


def unpool(z_BHWC: jax.Array, size: int, shape: tuple[int, ...]) -> jax.Array:
    """Copies each value to its block of ``size`` × ``size``; keeps the top left (H, W) of it."""
    z = jnp.repeat(jnp.repeat(z_BHWC, size, axis=1), size, axis=2)
    return z[:, : shape[0], : shape[1]]


def global_mean(x_BHWC: jax.Array) -> jax.Array:
    """W·√3 times the mean over both spatial axes: (B, C).

    The factor is the authors' code's. It cancels in the normalised value but not in the
    denoising cost, whose ẑ is normalised with the moments of the scaled one.
    """
    return x_BHWC.mean((1, 2)) * (x_BHWC.shape[2] * 3**0.5)


def broadcast(z_BxC: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """The same values at each position: (B, C) -> (B, *shape). The factor is not undone."""
    return jnp.broadcast_to(z_BxC[:, None, None], (len(z_BxC), *shape))
