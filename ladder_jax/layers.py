"""Layers as data: each knows its shape rule, its forward map and its inverse map.

The forward map takes h(l−1) to the pre-activation of layer l with the weights W(l);
the inverse map takes ẑ(l) down to the size of layer l−1 with the weights V(l).
Neither has a bias: the encoder's shift β comes after the normalisation.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from ladder_jax.errors import ConfigError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Dense:
    """A fully connected layer of ``units`` units. Text form: ``dense:1000`` or ``1000``.

    Raises:
      ConfigError: ``units`` is not a whole number of at least 1.
    """

    units: int

    def __post_init__(self) -> None:
        if isinstance(self.units, bool) or not isinstance(self.units, int) or self.units < 1:
            raise ConfigError("layers", self.units, "a dense layer needs at least 1 unit")

    def __str__(self) -> str:
        return f"dense:{self.units}"

    def output_shape(self, input_shape: Shape) -> Shape:
        """(D_in,) -> (units,).

        Raises:
          ConfigError: the layer below is not flat.
        """
        if len(input_shape) != 1:
            raise ConfigError("layers", str(self), f"needs a flat input, not {input_shape}")
        return (self.units,)

    def init_forward(self, key: jax.Array, input_shape: Shape) -> jax.Array:
        """W ~ N(0, 1)/√(fan in), shape (D_in, units)."""
        return jax.random.normal(key, (input_shape[0], self.units)) / jnp.sqrt(input_shape[0])

    def init_inverse(self, key: jax.Array, input_shape: Shape) -> jax.Array:
        """V ~ N(0, 1)/√(fan in), shape (units, D_in); its fan in is the layer above."""
        return jax.random.normal(key, (self.units, input_shape[0])) / jnp.sqrt(self.units)

    def forward(self, kernel: jax.Array, h_BxD: jax.Array) -> jax.Array:
        """h W. (B, D_in) -> (B, units)."""
        return h_BxD @ kernel

    def inverse(self, kernel: jax.Array, z_hat_BxD: jax.Array) -> jax.Array:
        """ẑ V. (B, units) -> (B, D_in)."""
        return z_hat_BxD @ kernel


def parse_layer(text: str | int | Dense) -> Dense:
    """A layer from its text form, or from the bare number of units.

    Raises:
      ConfigError: the text is no layer.
    """
    if isinstance(text, Dense):
        return text
    name, _, size = str(text).strip().rpartition(":")
    if name not in ("", "dense") or not size.isdecimal():
        raise ConfigError("layers", text, "not a layer; write dense:UNITS, for example dense:1000")
    return Dense(int(size))
