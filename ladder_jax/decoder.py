"""The decoder of Algorithm 1, from the top down to the lowest layer that has a cost.

| symbol | name | source |
|---|---|---|
| u(L) = batchnorm(h̃(L)) | the probabilities themselves, normalised | Algorithm 1 |
| u(l) = batchnorm(V(l+1) ẑ(l+1)) | signal from above | Algorithm 1 |
| ẑ(l) = g(z̃(l), u(l)) | reconstruction | Algorithm 1 |

What goes down is the un-normalised ẑ(l+1). Only unlabelled rows are decoded.
"""

from __future__ import annotations

from typing import Any

import jax

from ladder_jax.batchnorm import moments, normalize
from ladder_jax.combinators import COMBINATORS
from ladder_jax.config import LadderConfig
from ladder_jax.encoder import Activations, Params


def init_decoder(key: jax.Array, config: LadderConfig) -> dict[str, Any]:
    """Start values of the layers that have a ẑ, ``{}`` for a baseline.

    ``layer_l`` holds ``combinator`` (P, D_l) and, where layer l−1 has a ẑ too, the
    ``kernel`` V(l) that takes ẑ(l) down to it.
    """
    params = {}
    shapes = config.shapes
    combinator = COMBINATORS[config.combinator]
    for i in config.decoder_layers:
        values = {"combinator": combinator.init(shapes[i][-1])}
        if i - 1 in config.decoder_layers:
            layer_key = jax.random.fold_in(key, i)
            values["kernel"] = config.layers[i - 1].init_inverse(layer_key, shapes[i - 1])
        params[f"layer_{i}"] = values
    return params


def decode_part(
    config: LadderConfig, params: Params, corrupted: Activations
) -> tuple[jax.Array | None, ...]:
    """Reconstructions ẑ(0)…ẑ(L) of one corrupted part; None where a layer has none.

    Args:
      config: the network.
      params: the decoder's parameters as ``init_decoder`` builds them.
      corrupted: the corrupted pass over the unlabelled rows.

    Returns:
      L+1 arrays (B, D_l) or None, from the input up.
    """
    z_hat: list[jax.Array | None] = [None] * len(config.shapes)
    apply = COMBINATORS[config.combinator].apply
    signal_BxD = corrupted.h[-1]
    for i in reversed(config.decoder_layers):
        weights = params[f"layer_{i}"]
        u_BxD = normalize(signal_BxD, moments(signal_BxD))
        z_hat_BxD = apply(weights["combinator"], corrupted.z[i], u_BxD)
        z_hat[i] = z_hat_BxD
        if "kernel" in weights:
            signal_BxD = config.layers[i - 1].inverse(weights["kernel"], z_hat_BxD)
    return tuple(z_hat)
