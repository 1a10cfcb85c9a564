"""Standard-normal draws: the numbers of ``jax.random.normal``, sooner on a CPU.

``ladder.network.draw_noise`` draws the noise of a step with it.

For CPUs JAX writes the threefry generator as a loop over whole arrays, which is short to compile
and slow to run: the noise took a fifth of an MNIST step. Here its 20 rounds stand one after the
other and become one pass over the memory (docs/performance.md has the times). The random bits are
the same and so are the numbers, but for a rounding where a compiler fuses differently.

| symbol | name | source |
|---|---|---|
| x0, x1 | the two words that are mixed; a counter at first | Salmon et al. 2011, threefry2x32 |
| k0, k1, k2 | key words, k2 = k0 ⊕ k1 ⊕ 0x1BD11BDA | likewise |
| erf⁻¹(x), w = −log(1 − x²) | turns a uniform x into a normal one | Giles 2010, single precision |
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_THREEFRY = "threefry2x32"
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA

# Giles' polynomials of erf⁻¹, highest power first: for w < 5 in w − 2.5, else in √w − 3.
# (at the centre, in the tail) for each power.
_COEFFICIENTS = (
    (2.81022636e-08, -0.000200214257),
    (3.43273939e-07, 0.000100950558),
    (-3.5233877e-06, 0.00134934322),
    (-4.39150654e-06, -0.00367342844),
    (0.00021858087, 0.00573950773),
    (-0.00125372503, -0.0076224613),
    (-0.00417768164, 0.00943887047),
    (0.246640727, 1.00167406),
    (1.50140941, 2.83297682),
)


def standard_normal(
    key: jax.Array, shape: tuple[int, ...], used: bool | jax.Array = True
) -> jax.Array:
    """Independent draws from N(0, 1), those of ``jax.random.normal(key, shape)``.

    Args:
      key: a ``jax.random.key``.
      shape: of the result, whose dtype is JAX's default floating type.
      used: whether the draws are needed; if it is a False array, zeros may be returned.
    """
    if not _is_threefry32(key) or math.prod(shape) >= 2**32:  # the counter has one word
        return jax.random.normal(key, shape)
    return lax.platform_dependent(
        jax.random.key_data(key),
        cpu=functools.partial(_draw_if, used, shape=shape),
        default=lambda words: jax.random.normal(_key(words), shape),
    )


def fold_in_each(key: jax.Array, count: int) -> jax.Array:
    """The independent keys ``jax.random.fold_in(key, i)`` for i = 0…count − 1.

    Derived together they are one loop in a compiled program instead of one for each, which
    compiles and runs faster.
    """
    return jax.vmap(functools.partial(jax.random.fold_in, key))(jnp.arange(count))


def _key(words: jax.Array) -> jax.Array:
    return jax.random.wrap_key_data(words, impl=_THREEFRY)


def _is_threefry32(key: jax.Array) -> bool:
    """Whether the draws are float32 ones of JAX's default generator in its default mode."""
    default = jnp.zeros(()).dtype == jnp.float32 and jax.config.jax_threefry_partitionable  # type: ignore[attr-defined]
    return bool(default and jax.random.key_impl(key) == _THREEFRY)


def _draw_if(used: bool | jax.Array, key_words: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draws if ``used``, which may be known only when the compiled program runs."""
    if isinstance(used, bool):
        return _draw(key_words, shape)
    # The branch also saves time where noise is drawn: without it XLA repeats the draw in each
    # operation that reads it.
    return lax.cond(used, lambda: _draw(key_words, shape), lambda: jnp.zeros(shape))


@functools.partial(jax.jit, static_argnames="shape")  # as jax.random.normal is
def _draw(key_words: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return _normal(_bits(key_words, shape))


def _bits(key_words: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """32 random bits for each element: threefry of its position, both words joined."""
    position = jnp.zeros(shape, jnp.uint32)
    for axis in range(len(shape)):
        stride = np.uint32(math.prod(shape[axis + 1 :]))
        position = position + lax.broadcasted_iota(jnp.uint32, shape, axis) * stride
    k0, k1 = key_words
    keys = (k0, k1, k0 ^ k1 ^ np.uint32(_PARITY))
    x0, x1 = jnp.full(shape, k0), position + k1
    for group in range(5):
        for distance in _ROTATIONS[group % 2]:
            x0 = x0 + x1
            rotated = (x1 << np.uint32(distance)) | (x1 >> np.uint32(32 - distance))
            x1 = x0 ^ rotated
        x0 = x0 + keys[(group + 1) % 3]
        x1 = x1 + keys[(group + 2) % 3] + np.uint32(group + 1)
    return x0 ^ x1


def _normal(bits: jax.Array) -> jax.Array:
    """√2 erf⁻¹(x) with x uniform in (−1, 1) from the upper 23 bits."""
    least = np.nextafter(np.float32(-1), np.float32(0))
    mantissa = (bits >> np.uint32(9)) | np.uint32(0x3F800000)
    uniform = lax.bitcast_convert_type(mantissa, jnp.float32) - np.float32(1)
    x = jnp.maximum(least, uniform * (np.float32(1) - least) + least)
    w = -jnp.log1p(x * -x)
    central = w < 5
    y = jnp.where(central, w - np.float32(2.5), jnp.sqrt(w) - np.float32(3))
    power_series = jnp.zeros_like(x)
    for at_centre, in_tail in _COEFFICIENTS:
        coefficient = jnp.where(central, np.float32(at_centre), np.float32(in_tail))
        power_series = coefficient + power_series * y
    return np.float32(np.sqrt(2)) * (power_series * x)
