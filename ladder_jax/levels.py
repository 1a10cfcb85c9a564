"""Which layers get a reconstruction ẑ, by which combinator and from what.

A layer is decoded if it has a cost, or if the layer below is decoded and takes its u from
it. So a Γ-model has a single level, and nothing is computed that no cost reads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ladder_jax.combinators import NO_U, Combinator, parse_combinator, without_u
from ladder_jax.layers import Layer, Shape


class Level(NamedTuple):
    """How one layer is decoded.

    Attributes:
      name: of the combinator, with ``:no_u`` where it ignores u or gets none.
      combinator: the denoising function, in its form without u where there is no u.
      flat: whether the layer is taken unit by unit: at the top and below a dense layer.
        Below a convolution or a pooling every channel has one set of parameters.
      units: number of parameter sets.
    """

    name: str
    combinator: Combinator
    flat: bool
    units: int


def decoder_levels(
    layers: Sequence[Layer],
    shapes: Sequence[Shape],
    weights: Sequence[float],
    names: Sequence[str],
) -> tuple[Level | None, ...]:
    """The level of each layer 0…L, None for a layer that has no ẑ.

    Args:
      layers: layers 1…L.
      shapes: of the layers 0…L.
      weights: λ(0)…λ(L); one at a layer without combinator has no effect.
      names: combinators of the layers 0…L.

    Raises:
      ConfigError: an unknown combinator, or one that cannot do without u where there is none.
    """
    combinators = [parse_combinator(name) for name in names]
    below_reads = False  # whether the layer below takes its u from this one
    found: list[Level | None] = []
    for i, combinator in enumerate(combinators):
        if combinator is None or not (weights[i] > 0 or below_reads):
            below_reads = False
            found.append(None)
            continue
        name = names[i]
        if combinator.uses_u and i < len(layers) and combinators[i + 1] is None:
            combinator = without_u(f"{name} at layer {i}", combinator)
            name = f"{name}:{NO_U}"
        below_reads = combinator.uses_u
        flat = i == len(layers) or layers[i].flattens
        units = math.prod(shapes[i]) if flat else shapes[i][-1]
        found.append(Level(name, combinator, flat, units))
    return tuple(found)
