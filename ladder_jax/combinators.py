"""The denoising functions ẑ = g(z̃, u), one set of parameters per unit or per channel.

A combinator is data: the start value of each of its P parameters and a function of the
stacked parameters (P, D), the corrupted value z̃ (B, …, D) and the signal from above u of the
same shape. The P vectors live in one array because many small arrays are slow to update.

| symbol | name | source |
|---|---|---|
| z̃ | corrupted, normalised activation (lateral input) | Algorithm 1 |
| u | normalised projection of ẑ from the layer above | Algorithm 1 |
| a1…a10 | rows 0…9 of the gaussian combinator's parameters | section 3 |

In configurations a combinator is a name, for the MLPs with its hidden sizes, and may be told
to ignore u: ``gaussian``, ``augmented_mlp:2:2:2``, ``vanilla:no_u``. ``none`` is a layer
without reconstruction.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from ladder_jax.errors import ConfigError
from ladder_jax.ops.batchnorm import per_unit

Apply = Callable[..., jax.Array]

NO_U = "no_u"


@dataclass(frozen=True)
class Combinator:
    """A denoising function.

    Attributes:
      start: start value of each parameter, the same for all units.
      apply: (parameters (P, D), z̃ (B, …, D), u (B, …, D)) -> ẑ (B, …, D); the form without u
        is handed None for it.
      uses_u: whether ẑ depends on u.
      without_u: the form that ignores u, None where there is none.
      spread: standard deviation of the start value of each parameter over the units; empty
        if all are 0.
    """

    start: tuple[float, ...]
    apply: Apply
    uses_u: bool = True
    without_u: Combinator | None = None
    spread: tuple[float, ...] = ()

    def init(self, key: jax.Array, units: int) -> jax.Array:
        """Start values for ``units`` units or channels, shape (P, units)."""
        dtype = jnp.zeros(()).dtype
        start = jnp.array(self.start, dtype=dtype)[:, None]
        if not self.spread:
            return jnp.broadcast_to(start, (len(self.start), units))
        noise = jax.random.normal(key, (len(self.start), units))
        return start + jnp.array(self.spread, dtype=dtype)[:, None] * noise


def _rows(a_PxD: jax.Array, like: jax.Array) -> list[jax.Array]:
    return [per_unit(a_D, like) for a_D in a_PxD]


def _ignoring_u(start: tuple[float, ...], apply: Apply) -> Combinator:
    return Combinator(start, apply, uses_u=False)


def gaussian(a_PxD: jax.Array, z: jax.Array, u: jax.Array) -> jax.Array:
    """ẑ = (z̃ − μ(u)) v(u) + μ(u), optimal for Gaussian z given u (section 3).

    μ(u) = a1 σ(a2 u + a3) + a4 u + a5 and v(u) = a6 σ(a7 u + a8) + a9 u + a10.
    """
    mu, v = _gaussian_moments(a_PxD, u)
    return (z - mu) * v + mu


def gaussian_stable_v(a_PxD: jax.Array, z: jax.Array, u: jax.Array) -> jax.Array:
    """The gaussian with σ(v(u)) in the place of v(u) (the authors' code)."""
    mu, v = _gaussian_moments(a_PxD, u)
    return (z - mu) * jax.nn.sigmoid(v) + mu


def _gaussian_moments(a_PxD: jax.Array, u: jax.Array) -> tuple[jax.Array, jax.Array]:
    a1, a2, a3, a4, a5, a6, a7, a8, a9, a10 = _rows(a_PxD, u)
    mu = a1 * jax.nn.sigmoid(a2 * u + a3) + a4 * u + a5
    return mu, a6 * jax.nn.sigmoid(a7 * u + a8) + a9 * u + a10


def linear(a_PxD: jax.Array, z: jax.Array, u: jax.Array) -> jax.Array:
    """ẑ = a1 z̃ + b."""
    a1, b = _rows(a_PxD, z)
    return a1 * z + b


def vanilla(a_PxD: jax.Array, z: jax.Array, u: jax.Array) -> jax.Array:
    """ẑ = a1 + a2 z̃ + a3 u + a4 z̃u + b1 σ(c1 + c2 z̃ + c3 u + c4 z̃u)."""
    a1, a2, a3, a4, b1, c1, c2, c3, c4 = _rows(a_PxD, z)
    inside = c1 + c2 * z + c3 * u + c4 * z * u
    return a1 + a2 * z + a3 * u + a4 * z * u + b1 * jax.nn.sigmoid(inside)


def vanilla_without_u(a_PxD: jax.Array, z: jax.Array, u: jax.Array) -> jax.Array:
    """ẑ = a1 + a2 z̃ + b1 σ(c1 + c2 z̃)."""
    a1, a2, b1, c1, c2 = _rows(a_PxD, z)
    return a1 + a2 * z + b1 * jax.nn.sigmoid(c1 + c2 * z)


def no_cross(a_PxD: jax.Array, z: jax.Array, u: jax.Array) -> jax.Array:
    """ẑ = a1 + a2 z̃ + a3 u + b1 σ(c1 + c2 z̃ + c3 u)."""
    a1, a2, a3, b1, c1, c2, c3 = _rows(a_PxD, z)
    return a1 + a2 * z + a3 * u + b1 * jax.nn.sigmoid(c1 + c2 * z + c3 * u)


def no_sigmoid(a_PxD: jax.Array, z: jax.Array, u: jax.Array) -> jax.Array:
    """ẑ = a1 + a2 z̃ + a3 u + a4 z̃u."""
    a1, a2, a3, a4 = _rows(a_PxD, z)
    return a1 + a2 * z + a3 * u + a4 * z * u


def no_sigmoid_without_u(a_PxD: jax.Array, z: jax.Array, u: jax.Array) -> jax.Array:
    """ẑ = a1 + a2 z̃."""
    a1, a2 = _rows(a_PxD, z)
    return a1 + a2 * z


def additive(a_PxD: jax.Array, z: jax.Array, u: jax.Array) -> jax.Array:
    """ẑ = n(z̃) + n(u) with n(x) = w2 σ(b1 + w1 x) + w3 x + b2; rows as in ``_ADDITIVE``.

    The w are z̃'s and u's own, b1 is shared and b2 occurs once.
    """
    w1z, w2z, w3z, w1u, w2u, w3u, b1, b2 = _rows(a_PxD, z)
    from_z = w2z * jax.nn.sigmoid(b1 + w1z * z) + w3z * z + b2
    return from_z + w2u * jax.nn.sigmoid(b1 + w1u * u) + w3u * u


def additive_without_u(a_PxD: jax.Array, z: jax.Array, u: jax.Array) -> jax.Array:
    """ẑ = n(z̃): w2 σ(b1 + w1 z̃) + w3 z̃ + b2."""
    w1, w2, w3, b1, b2 = _rows(a_PxD, z)
    return w2 * jax.nn.sigmoid(b1 + w1 * z) + w3 * z + b2


def relu(a_PxD: jax.Array, z: jax.Array, u: jax.Array) -> jax.Array:
    """ẑ = max(u + b, 0): no lateral input."""
    (b,) = _rows(a_PxD, u)
    return jax.nn.relu(u + b)


def sigmoid(a_PxD: jax.Array, z: jax.Array, u: jax.Array) -> jax.Array:
    """ẑ = σ(c (u + b)): no lateral input."""
    c, b = _rows(a_PxD, u)
    return jax.nn.sigmoid(c * (u + b))


def identity(a_PxD: jax.Array, z: jax.Array, u: jax.Array) -> jax.Array:
    """ẑ = z̃."""
    return z


_LINEAR = _ignoring_u((1, 0), linear)
_VANILLA = _ignoring_u((0, 1, 1, 0, 1), vanilla_without_u)

COMBINATORS: dict[str, Combinator] = {
    "gaussian": Combinator((0, 1, 0, 0, 0, 0, 1, 0, 0, 0), gaussian, without_u=_LINEAR),
    "gaussian_stable_v": Combinator(
        (0, 1, 0, 0, 0, 0, 1, 0, 0, 0), gaussian_stable_v, without_u=_LINEAR
    ),
    "vanilla": Combinator((0, 1, 0, 0, 1, 0, 1, 0, 0), vanilla, without_u=_VANILLA),
    "no_cross": Combinator((0, 1, 0, 1, 0, 1, 0), no_cross, without_u=_VANILLA),
    "no_sigmoid": Combinator(
        (0, 1, 0, 0), no_sigmoid, without_u=_ignoring_u((0, 1), no_sigmoid_without_u)
    ),
    "additive": Combinator(
        (1, 1, 0, 1, 1, 0, 0, 0),
        additive,
        without_u=_ignoring_u((1, 1, 0, 0, 0), additive_without_u),
    ),
    "linear": _LINEAR,
    "relu": Combinator((0,), relu),
    "sigmoid": Combinator((1, 0), sigmoid),
    "identity": _ignoring_u((), identity),
}
"""Every denoising function of fixed shape by the name used in configurations."""


DEFAULT_HIDDEN = {"mlp": (4,), "augmented_mlp": (2, 2, 2)}
"""Hidden sizes where the configuration names none; the second is the best of Pezeshki et al."""

START_SCALE = 0.1
"""Start weights are N(0, START_SCALE²/fan in), biases 0: chosen on validation rows of the
digits, see docs/results.md. From 1 upwards training suffers."""

_SLOPE = 0.1


def mlp_combinator(hidden: tuple[int, ...], augmented: bool, uses_u: bool = True) -> Combinator:
    """The combinator with these hidden sizes.

    Args:
      hidden: units of each hidden layer.
      augmented: whether the product z̃u is an input too.
      uses_u: whether u is an input; without it the only one is z̃.
    """
    inputs = 1 if not uses_u else 3 if augmented else 2
    sizes = (inputs, *hidden, 1)
    spread: list[float] = []
    for fan_in, units in itertools.pairwise(sizes):
        spread += [START_SCALE / fan_in**0.5] * (fan_in * units) + [0.0] * units
    return Combinator(
        start=(0.0,) * len(spread),
        apply=functools.partial(_apply, sizes),
        uses_u=uses_u,
        without_u=mlp_combinator(hidden, augmented, uses_u=False) if uses_u else None,
        spread=tuple(spread),
    )


def _apply(sizes: Sequence[int], a_PxD: jax.Array, z: jax.Array, u: jax.Array | None) -> jax.Array:
    rows = iter([per_unit(a_D, z) for a_D in a_PxD])
    values = [z]
    if u is not None:
        values += [u, z * u][: sizes[0] - 1]
    for depth, units in enumerate(sizes[1:], start=1):
        weights = [[next(rows) for _ in values] for _ in range(units)]
        biases = [next(rows) for _ in range(units)]
        values = [
            sum((w * x for w, x in zip(own, values, strict=True)), start=bias)
            for own, bias in zip(weights, biases, strict=True)
        ]
        if depth < len(sizes) - 1:
            values = [jax.nn.leaky_relu(x, _SLOPE) for x in values]
    return values[0]


def normal_name(text: str) -> str:
    """The one name of a combinator that can be written in several ways: ``mlp`` is ``mlp:4``."""
    name, *words = str(text).strip().split(":")
    if name in DEFAULT_HIDDEN and words in ([], [NO_U]):
        words = [*map(str, DEFAULT_HIDDEN[name]), *words]
    if name in COMBINATORS and words == [NO_U] and not COMBINATORS[name].uses_u:
        words = []
    return ":".join([name, *(word.lstrip("0") or word for word in words)])


def parse_combinator(text: str) -> Combinator | None:
    """The combinator that a configuration names; None for ``none``.

    Raises:
      ConfigError: there is none of that name, or it has no form without u.
    """
    name, *words = str(text).strip().split(":")
    if name == "none" and not words:
        return None
    no_u = bool(words) and words[-1] == NO_U
    hidden = words[:-1] if no_u else words
    names = (*COMBINATORS, *DEFAULT_HIDDEN, "none")
    if name not in names[:-1]:
        raise ConfigError("combinator", text, f"not known; choose one of: {', '.join(names)}")
    if not all(word.isdecimal() and len(word) < 4 and int(word) > 0 for word in hidden):
        raise ConfigError("combinator", text, "hidden sizes are whole numbers from 1 to 999")
    if name in DEFAULT_HIDDEN:
        sizes = tuple(map(int, hidden)) or DEFAULT_HIDDEN[name]
        found = mlp_combinator(sizes, augmented=name == "augmented_mlp")
    elif hidden:
        raise ConfigError("combinator", text, "only the MLPs have hidden sizes")
    else:
        found = COMBINATORS[name]
    return without_u(text, found) if no_u else found


def without_u(text: str, combinator: Combinator) -> Combinator:
    """The form that ignores u.

    Raises:
      ConfigError: it has none.
    """
    if not combinator.uses_u:
        return combinator
    if combinator.without_u is None:
        raise ConfigError("combinator", text, "is a function of u alone, and there is no u here")
    return combinator.without_u
