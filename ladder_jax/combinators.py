"""The denoising functions ẑ = g(z̃, u), one set of parameters per unit.

A combinator is data: the start value of each of its P parameters and a function of
the stacked parameters (P, D), the corrupted value z̃ (B, D) and the signal from above
u (B, D). The P vectors live in one array because many small arrays are slow to update.

| symbol | name | source |
|---|---|---|
| z̃ | corrupted, normalised activation (lateral input) | Algorithm 1 |
| u | normalised projection of ẑ from the layer above | Algorithm 1 |
| a1…a10 | rows 0…9 of the gaussian combinator's parameters | section 3 |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class Combinator:
    """A denoising function.

    Attributes:
      start: start value of each parameter, the same for all units.
      apply: (parameters (P, D), z̃ (B, D), u (B, D)) -> ẑ (B, D).
    """

    start: tuple[float, ...]
    apply: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]

    def init(self, units: int) -> jax.Array:
        """Start values for ``units`` units, shape (P, units)."""
        start = jnp.array(self.start, dtype=jnp.zeros(()).dtype)
        return jnp.broadcast_to(start[:, None], (len(self.start), units))


def gaussian(a_PxD: jax.Array, z_BxD: jax.Array, u_BxD: jax.Array) -> jax.Array:
    """ẑ = (z̃ − μ(u)) v(u) + μ(u), optimal for Gaussian z given u (section 3).

    μ(u) = a1 σ(a2 u + a3) + a4 u + a5 and v(u) = a6 σ(a7 u + a8) + a9 u + a10.
    """
    a1, a2, a3, a4, a5, a6, a7, a8, a9, a10 = (a_PxD[i : i + 1] for i in range(10))
    mu_BxD = a1 * jax.nn.sigmoid(a2 * u_BxD + a3) + a4 * u_BxD + a5
    v_BxD = a6 * jax.nn.sigmoid(a7 * u_BxD + a8) + a9 * u_BxD + a10
    return (z_BxD - mu_BxD) * v_BxD + mu_BxD


COMBINATORS: dict[str, Combinator] = {
    "gaussian": Combinator(start=(0, 1, 0, 0, 0, 0, 1, 0, 0, 0), apply=gaussian),
}
"""Every denoising function by the name used in configurations."""
