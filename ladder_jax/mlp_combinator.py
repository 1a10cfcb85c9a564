"""Denoising functions that are small MLPs, one per unit (Pezeshki et al. 2016).

Every unit has an MLP of its own, all of one shape, on [z̃, u] (``mlp``) or [z̃, u, z̃u]
(``augmented_mlp``): leaky ReLU of slope 0.1 inside, a linear output. Their weights are rows of
the stacked parameters, layer by layer: weights output by output, then the biases.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import jax

from ladder_jax.combinators import COMBINATORS, NO_U, Combinator
from ladder_jax.errors import ConfigError
from ladder_jax.ops.batchnorm import per_unit

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
