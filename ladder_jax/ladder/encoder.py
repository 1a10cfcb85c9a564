"""The encoder of Algorithm 1: one function for the corrupted, clean and evaluation passes.

The rows of a step come in parts that are normalised apart: labelled and unlabelled,
corrupted and clean. All parts share one matrix product per dense layer; images are so many
rows of a product that joining them would only copy.

| symbol | name | source |
|---|---|---|
| z̃(0) = x + n(0) | corrupted input; z(0) = x without noise | Algorithm 1 |
| z̃(l) = batchnorm(W(l) h(l−1)) + n(l) | normalised, then corrupted | Algorithm 1 |
| h(l) = act(γ(l) (z̃(l) + β(l))) | what goes up; softmax at the top | Algorithm 1 |
| μ(l), σ²(l) | moments of W(l) h(l−1) over the part | Algorithm 1 |

γ stands only at the top: the activations below are scale-free, so there it would change
nothing. Of images the moments run over rows and positions, and β is one per channel. Poolings
are normalised and get noise like any layer, but h = z̃ there, unless they are the top.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from ladder_jax.config import LadderConfig
from ladder_jax.layers import ACTIVATIONS, Conv, Dense, Layer
from ladder_jax.ops.batchnorm import Moments, normalize, per_unit, standardize
from ladder_jax.ops.noise import fold_in_each
from ladder_jax.ops.rows import ALL_ROWS, Rows

Params = Mapping[str, Any]


class Part(NamedTuple):
    """Rows that are normalised together.

    Attributes:
      x: inputs (B, *shape of layer 0).
      noise: n(l), (B, *shape of layer l), for each layer 0…L, or None for a clean pass.
      moments: fixed moments for layers 1…L (evaluation), or None for the part's own.
      rows: which rows of the batch these are, and so what the moments run over.
    """

    x: jax.Array
    noise: Sequence[jax.Array] | None = None
    moments: Sequence[Moments] | None = None
    rows: Rows = ALL_ROWS


class Activations(NamedTuple):
    """What the encoder computed for one part; tuples run over the layers 0…L.

    D_l is the number of units, of an image (H, W, C) that of its channels.

    Attributes:
      z: (B, …, D_l), normalised and, in a corrupted pass, noisy (z̃).
      h: (B, …, D_l), after shift, scale and activation; h[0] is z[0], h[L] the probabilities.
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
    """Start values: ``kernel`` W(l), ``beta`` 0 and, at the top, ``gamma`` 1.

    A pooling has none of them, but ``beta`` and ``gamma`` where it is the top.
    """
    params = {}
    shapes, keys = config.shapes, fold_in_each(key, len(config.shapes))
    for i, layer in enumerate(config.layers, start=1):
        units, top = shapes[i][-1], i == len(config.layers)
        values = {}
        if isinstance(layer, Dense | Conv):
            values["kernel"] = layer.init_forward(keys[i], shapes[i - 1])
        if layer.has_weights or top:
            values["beta"] = jnp.zeros(units)
        if top and config.top_scale:
            values["gamma"] = jnp.ones(units)
        if values:
            params[f"layer_{i}"] = values
    return params


def encode_parts(
    config: LadderConfig, params: Params, parts: Sequence[Part]
) -> tuple[Activations, ...]:
    """Runs the encoder over one or more parts (Algorithm 1, both encoder loops).

    Args:
      config: the network.
      params: the encoder's parameters as ``init_encoder`` builds them.
      parts: see ``Part``.

    Returns:
      One ``Activations`` per part, in their order.

    Raises:
      AssertionError: inputs or noise whose shapes do not fit the configuration.
    """
    for part in parts:
        _check_shapes(config, part)
    activation = ACTIVATIONS[config.activation]
    h = [_corrupt(part, 0, part.x) for part in parts]
    records: list[list[tuple]] = [[(z_part, z_part, None, None)] for z_part in h]
    for i, layer in enumerate(config.layers, start=1):
        weights = params.get(f"layer_{i}", {})
        pre = _forward(layer, weights.get("kernel"), h, config.pool_ties)
        normalized = [_normalize(part, i, x) for part, x in zip(parts, pre, strict=True)]
        by = [own for _, own in normalized]
        z = [_corrupt(part, i, x) for part, (x, _) in zip(parts, normalized, strict=True)]
        shifted = [_scale_and_shift(weights, z_part) for z_part in z]
        if i == len(config.layers):
            h = [jax.nn.softmax(logits) for logits in shifted]
        else:
            h = [activation(x) for x in shifted] if layer.has_weights else z
        for record, z_part, h_part, own in zip(records, z, h, by, strict=True):
            record.append((z_part, h_part, own.mean, own.var))
    activations = []
    for record, logits in zip(records, shifted, strict=True):
        zs, hs, means, variances = zip(*record, strict=True)
        activations.append(Activations(zs, hs, means, variances, logits))
    return tuple(activations)


def _forward(layer: Layer, kernel: Any, h: Sequence[jax.Array], ties: str) -> list[jax.Array]:
    """The pre-activations of each part."""
    if not isinstance(layer, Dense) or len(h) == 1:
        return [layer.forward(kernel, part, ties) for part in h]
    edges = [int(edge) for edge in np.cumsum([len(part) for part in h])[:-1]]
    return jnp.split(layer.forward(kernel, jnp.concatenate(h), ties), edges)


def _normalize(part: Part, i: int, x: jax.Array) -> tuple[jax.Array, Moments]:
    """By the part's own moments or by the fixed ones of layer i, and these."""
    if part.moments is None:
        return standardize(x, part.rows)
    return normalize(x, part.moments[i - 1]), part.moments[i - 1]


def _scale_and_shift(weights: Params, z: jax.Array) -> jax.Array:
    """γ (z + β), without γ or β where the layer has none."""
    if "beta" in weights:
        z = z + per_unit(weights["beta"], z)
    return per_unit(weights["gamma"], z) * z if "gamma" in weights else z


def _corrupt(part: Part, i: int, z_BxD: jax.Array) -> jax.Array:
    if part.noise is None:
        return z_BxD
    return z_BxD + part.noise[i]


def _check_shapes(config: LadderConfig, part: Part) -> None:
    chex.assert_shape(part.x, (None, *config.shapes[0]))
    if part.noise is not None:
        chex.assert_equal(len(part.noise), len(config.shapes))
        for noise, shape in zip(part.noise, config.shapes, strict=True):
            chex.assert_shape(noise, (part.x.shape[0], *shape))
    if part.moments is not None:
        chex.assert_equal(len(part.moments), len(config.layers))
