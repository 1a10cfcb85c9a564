"""The encoder of Algorithm 1: one function for the corrupted, clean and evaluation passes.

The rows of a step come in parts that are normalised apart: labelled and unlabelled,
corrupted and clean. All parts share one matrix product per layer.

| symbol | name | source |
|---|---|---|
| z̃(0) = x + n(0) | corrupted input; z(0) = x without noise | Algorithm 1 |
| z̃(l) = batchnorm(W(l) h(l−1)) + n(l) | normalised, then corrupted | Algorithm 1 |
| h(l) = act(γ(l) (z̃(l) + β(l))) | what goes up; ReLU, softmax at the top | Algorithm 1 |
| μ(l), σ²(l) | moments of W(l) h(l−1) over the part | Algorithm 1 |

γ stands only at the top: ReLU is scale-free, so elsewhere it would change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from ladder_jax.batchnorm import Moments, moments, normalize, per_unit
from ladder_jax.config import LadderConfig

Params = Mapping[str, Any]


class Part(NamedTuple):
    """Rows that are normalised together.

    Attributes:
      x: inputs (B, D0).
      noise: standard-normal draws (B, D_l) for each layer 0…L, or None for a clean pass.
      moments: fixed moments for layers 1…L (evaluation), or None for the part's own.
    """

    x: jax.Array
    noise: Sequence[jax.Array] | None = None
    moments: Sequence[Moments] | None = None


class Activations(NamedTuple):
    """What the encoder computed for one part; tuples run over the layers 0…L.

    Attributes:
      z: (B, D_l), normalised and, in a corrupted pass, noisy (z̃).
      h: (B, D_l), after shift, scale and activation; h[0] is z[0], h[L] the probabilities.
      mean: (D_l,), moments that normalised the layer; None at the input.
      var: (D_l,), likewise, biased.
      logits: (B, K), the argument of the softmax.
    """

    z: tuple[jax.Array, ...]
    h: tuple[jax.Array, ...]
    mean: tuple[jax.Array | None, ...]
    var: tuple[jax.Array | None, ...]
    logits: jax.Array

    def moments(self, i: int) -> Moments:
        """Mean and variance that normalised layer i, 1…L."""
        mean, var = self.mean[i], self.var[i]
        assert mean is not None and var is not None, "the input is not normalised"
        return Moments(mean, var)

    def statistics(self) -> tuple[Moments, ...]:
        """Moments of layers 1…L, in the form that ``Part`` takes them."""
        return tuple(self.moments(i) for i in range(1, len(self.mean)))


def init_encoder(key: jax.Array, config: LadderConfig) -> dict[str, Any]:
    """Start values: per layer ``kernel`` W(l), ``beta`` 0 and, at the top, ``gamma`` 1."""
    params = {}
    shapes = config.shapes
    for i, layer in enumerate(config.layers, start=1):
        units = shapes[i][-1]
        values = {
            "kernel": layer.init_forward(jax.random.fold_in(key, i), shapes[i - 1]),
            "beta": jnp.zeros(units),
        }
        if i == len(config.layers) and config.top_scale:
            values["gamma"] = jnp.ones(units)
        params[f"layer_{i}"] = values
    return params


def encode_parts(
    config: LadderConfig, params: Params, parts: Sequence[Part]
) -> tuple[Activations, ...]:
    """Runs the encoder over one or more parts (Algorithm 1, both encoder loops).

    Args:
      config: the network.
      params: the encoder's parameters, ``{"layer_1": {"kernel", "beta"[, "gamma"]}, …}``.
      parts: see ``Part``.

    Returns:
      One ``Activations`` per part, in their order.

    Raises:
      AssertionError: inputs or noise whose shapes do not fit the configuration.
    """
    for part in parts:
        _check_shapes(config, part)
    edges = [int(edge) for edge in np.cumsum([len(part.x) for part in parts])[:-1]]
    z = [_corrupt(config, part, 0, part.x) for part in parts]
    records: list[list[tuple]] = [[(z_part, z_part, None, None)] for z_part in z]
    h_BxD = _join(z)
    for i, layer in enumerate(config.layers, start=1):
        weights = params[f"layer_{i}"]
        pre = _split(layer.forward(weights["kernel"], h_BxD), edges)
        by = [
            moments(x_BxD) if part.moments is None else part.moments[i - 1]
            for part, x_BxD in zip(parts, pre, strict=True)
        ]
        z = [
            _corrupt(config, part, i, normalize(x_BxD, own))
            for part, x_BxD, own in zip(parts, pre, by, strict=True)
        ]
        logits_BxD = _scale_and_shift(weights, _join(z))
        top = i == len(config.layers)
        h_BxD = jax.nn.softmax(logits_BxD) if top else jax.nn.relu(logits_BxD)
        for record, z_part, h_part, own in zip(records, z, _split(h_BxD, edges), by, strict=True):
            record.append((z_part, h_part, own.mean, own.var))
    activations = []
    for record, logits in zip(records, _split(logits_BxD, edges), strict=True):
        zs, hs, means, variances = zip(*record, strict=True)
        activations.append(Activations(zs, hs, means, variances, logits))
    return tuple(activations)


def _scale_and_shift(weights: Params, z_BxD: jax.Array) -> jax.Array:
    """γ (z + β), without γ where the layer has none."""
    shifted_BxD = z_BxD + per_unit(weights["beta"], z_BxD)
    if "gamma" not in weights:
        return shifted_BxD
    return per_unit(weights["gamma"], z_BxD) * shifted_BxD


def _corrupt(config: LadderConfig, part: Part, i: int, z_BxD: jax.Array) -> jax.Array:
    if part.noise is None:
        return z_BxD
    return z_BxD + config.noise_levels[i] * part.noise[i]


def _join(parts: Sequence[jax.Array]) -> jax.Array:
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts)


def _split(joint: jax.Array, edges: Sequence[int]) -> list[jax.Array]:
    return jnp.split(joint, edges) if edges else [joint]


def _check_shapes(config: LadderConfig, part: Part) -> None:
    chex.assert_shape(part.x, (None, *config.shapes[0]))
    if part.noise is not None:
        chex.assert_equal(len(part.noise), len(config.shapes))
        for noise, shape in zip(part.noise, config.shapes, strict=True):
            chex.assert_shape(noise, (part.x.shape[0], *shape))
    if part.moments is not None:
        chex.assert_equal(len(part.moments), len(config.layers))
