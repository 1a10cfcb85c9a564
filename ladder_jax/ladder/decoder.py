"""The decoder of Algorithm 1, from the top down to the lowest layer that has a cost.

| symbol | name | source |
|---|---|---|
| u(L) = batchnorm(h̃(L)) | the probabilities themselves, normalised | Algorithm 1 |
| u(l) = batchnorm(V(l+1) ẑ(l+1)) | signal from above | Algorithm 1 |
| ẑ(l) = g(z̃(l), u(l)) | reconstruction | Algorithm 1 |

What goes down is the un-normalised ẑ(l+1). Only unlabelled rows are decoded. Below a
convolution or a pooling, u is normalised and g has parameters per channel; at the top and
below a dense layer, per unit (the authors' code).
"""

from __future__ import annotations

from typing import Any

import jax

from ladder_jax.config import LadderConfig
from ladder_jax.ladder.encoder import Activations, Params
from ladder_jax.layers import Conv, Dense
from ladder_jax.ops.batchnorm import standardize
from ladder_jax.ops.noise import fold_in_each
from ladder_jax.ops.rows import ALL_ROWS, Rows


def init_decoder(key: jax.Array, config: LadderConfig) -> dict[str, Any]:
    """Start values of the layers that have a ẑ, ``{}`` for a baseline.

    ``layer_l`` holds ``combinator`` (P, D_l), if it has parameters, and, where layer l−1
    takes its u from this one through weights, the ``kernel`` V(l) that leads down to it.
    """
    params = {}
    shapes, levels = config.shapes, config.levels
    keys = fold_in_each(key, len(levels))
    for i, level in enumerate(levels):
        if level is None:
            continue
        values = {}
        if level.combinator.start:
            values["combinator"] = level.combinator.init(
                jax.random.fold_in(keys[i], 0), level.units
            )
        below, layer = levels[i - 1] if i else None, config.layers[i - 1]
        if below and below.combinator.uses_u and isinstance(layer, Dense | Conv):
            values["kernel"] = layer.init_inverse(keys[i], shapes[i - 1])
        if values:
            params[f"layer_{i}"] = values
    return params


def decode_part(
    config: LadderConfig,
    params: Params,
    corrupted: Activations,
    rows: Rows = ALL_ROWS,
) -> tuple[jax.Array | None, ...]:
    """Reconstructions ẑ(0)…ẑ(L) of one corrupted part; None where a layer has none.

    Args:
      config: the network.
      params: the decoder's parameters as ``init_decoder`` builds them.
      corrupted: the corrupted pass over the unlabelled rows.
      rows: which rows of the batch these are.

    Returns:
      L+1 arrays of the layers' shapes or None, from the input up.
    """
    shapes, top = config.shapes, len(config.layers)
    z_hat: list[jax.Array | None] = [None] * (top + 1)
    for i, level in reversed(list(enumerate(config.levels))):
        if level is None:
            continue
        z = corrupted.z[i]
        B, u = len(z), None
        if level.combinator.uses_u and i == top:
            u = corrupted.h[top]
        elif level.combinator.uses_u:
            above = z_hat[i + 1]
            assert above is not None, f"layer {i} takes its u from a layer without ẑ"
            kernel = params.get(f"layer_{i + 1}", {}).get("kernel")
            u = config.layers[i].inverse(kernel, above, shapes[i])
        if u is not None:
            u, _ = standardize(u, rows)
        a_PxD = params.get(f"layer_{i}", {}).get("combinator", ())
        z = z.reshape(B, -1) if level.flat else z
        z_hat[i] = level.combinator.apply(a_PxD, z, u).reshape(B, *shapes[i])
    return tuple(z_hat)
