"""The Flax module that owns parameters and statistics, and the functions around it.

``variables`` is Flax's plain nested dict::

    {"params": {"encoder": {"layer_1": {"kernel", "beta"}, …}, "decoder": {…}},
     "batch_stats": {"layer_1": {"mean", "var", "batches"}, …}}

Nothing here is jitted, knows a device or draws a random number by itself: noise is an
argument, so a notebook, a test and every device can use the same draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn

from ladder_jax.config import LadderConfig, Strengths
from ladder_jax.ladder.costs import Costs, combine
from ladder_jax.ladder.decoder import decode_part, init_decoder
from ladder_jax.ladder.encoder import Activations, Params, Part, encode_parts, init_encoder
from ladder_jax.ops.batchnorm import Moments, RunningMoments, init_running, update_running
from ladder_jax.ops.noise import fold_in_each, standard_normal
from ladder_jax.ops.rows import ALL_ROWS, Rows

Noise = tuple[jax.Array, ...]


class Encoding(NamedTuple):
    """The encoder's output for the two halves of a batch; None for a half not given."""

    labelled: Activations | None
    unlabelled: Activations | None


class Ladder(nn.Module):
    """A ladder network: ``params`` (encoder, decoder) and ``batch_stats`` (running moments).

    Attributes:
      config: the network.
    """

    config: LadderConfig

    def setup(self) -> None:
        """Declares the variables."""
        self.encoder = self.param("encoder", init_encoder, self.config)
        if self.config.decoder_layers:
            self.decoder = self.param("decoder", init_decoder, self.config)
        self.running = [
            self.variable("batch_stats", f"layer_{i}", _fresh_running, shape[-1])
            for i, shape in enumerate(self.config.shapes[1:], start=1)
        ]

    def __call__(
        self,
        x_l: jax.Array,
        y_l: jax.Array,
        x_u: jax.Array,
        noise: Noise,
        rows: tuple[Rows, Rows] = (ALL_ROWS, ALL_ROWS),
        strengths: Strengths | None = None,
    ) -> Costs:
        """The costs of a batch, or of some of its ``rows``, see ``ladder.costs.combine``."""
        config, (rows_l, rows_u) = self.config, rows
        levels, weights = strengths or config.strengths
        noise_l, noise_u = _halves(noise, levels, len(x_l))
        # Nobody reads the unlabelled rows of a baseline, nor the clean pass
        # where only the input has a cost: neither is computed.
        parts = [Part(x_l, noise_l, rows=rows_l)]
        if config.cost_layers:
            parts.append(Part(x_u, noise_u, rows=rows_u))
        if any(i > 0 for i in config.cost_layers):
            parts.append(Part(x_u, rows=rows_u))
        labelled, *others = encode_parts(config, self.encoder, parts)
        z_hat: tuple[jax.Array | None, ...] = ()
        if others:
            z_hat = decode_part(config, self.decoder, others[0], rows_u)
        clean = others[1] if len(others) > 1 else None
        return combine(config, labelled.logits, y_l, x_u, clean, z_hat, rows, weights)

    def track(self, x_l: jax.Array, rows: Rows = ALL_ROWS) -> None:
        """Lets a labelled minibatch's clean moments enter the running average."""
        (clean,) = encode_parts(self.config, self.encoder, [Part(x_l, rows=rows)])
        count = rows.count(len(x_l))
        for running, batch in zip(self.running, clean.statistics(), strict=True):
            average = RunningMoments(**running.value)
            running.value = update_running(average, batch, count)._asdict()

    def restart_tracking(self) -> None:
        """Lets the running average begin anew with the next minibatch."""
        for running in self.running:
            running.value = running.value | {"batches": jnp.zeros_like(running.value["batches"])}

    def declare(self) -> None:
        """Nothing but ``setup``, for ``init``."""


def init(config: LadderConfig, key: jax.Array) -> dict[str, Any]:
    """Fresh variables: parameters as in the paper's code, running moments at 0 and 1.

    Args:
      config: the network.
      key: a ``jax.random.key``.

    Returns:
      ``{"params": …, "batch_stats": …}``; see docs/architecture.md for every name.
    """
    return dict(Ladder(config).init(key, method="declare"))


def parameter_counts(config: LadderConfig) -> tuple[int, ...]:
    """Number of parameters of each layer 0…L, encoder and decoder together."""
    params = jax.eval_shape(lambda key: init(config, key), jax.random.key(0))["params"]
    return tuple(
        sum(leaf.size for part in params.values() for leaf in jax.tree.leaves(part.get(name, {})))
        for name in (f"layer_{i}" for i in range(len(config.shapes)))
    )


def draw_noise(
    config: LadderConfig,
    key: jax.Array,
    rows_l: int,
    rows_u: int,
    levels: Sequence[float | jax.Array] | None = None,
) -> Noise:
    """Standard-normal draws for one step.

    Args:
      config: the network.
      key: a ``jax.random.key``.
      rows_l: number of labelled rows.
      rows_u: number of unlabelled rows.
      levels: of the noise in layers 0…L; the draws for one of 0 may be zeros. None draws all.

    Returns:
      One array (rows_l + rows_u, *shape of layer l) for each layer 0…L, labelled rows first.
    """
    keys = fold_in_each(key, len(config.shapes))
    used = (True,) * len(keys) if levels is None else tuple(level > 0 for level in levels)
    return tuple(
        standard_normal(own, (rows_l + rows_u, *shape), counts)
        for own, shape, counts in zip(keys, config.shapes, used, strict=True)
    )


def encode(
    config: LadderConfig,
    variables: Params,
    x_l: jax.Array | None,
    x_u: jax.Array | None,
    noise: Noise | None = None,
) -> Encoding:
    """Encoder pass over a batch: corrupted with noise, clean without.

    Args:
      config: the network.
      variables: as from ``init``.
      x_l: labelled inputs (B_l, *input_shape), or None.
      x_u: unlabelled inputs (B_u, *input_shape), or None.
      noise: draws for the joint batch as from ``draw_noise``; they are scaled by the
        configuration's noise levels here. None is the clean pass.

    Returns:
      z, h, moments and logits of each half, each normalised by its own moments.
    """
    rows_l = 0 if x_l is None else len(x_l)
    noise_l: list[jax.Array] | None = None
    noise_u: list[jax.Array] | None = None
    if noise is not None:
        noise_l, noise_u = _halves(noise, config.noise_levels, rows_l)
    parts = [Part(x, n) for x, n in ((x_l, noise_l), (x_u, noise_u)) if x is not None]
    encoded = iter(encode_parts(config, variables["params"]["encoder"], parts))
    return Encoding(
        labelled=None if x_l is None else next(encoded),
        unlabelled=None if x_u is None else next(encoded),
    )


def decode(
    config: LadderConfig, variables: Params, corrupted: Encoding | Activations
) -> tuple[jax.Array | None, ...]:
    """Reconstructions ẑ(0)…ẑ(L) of the unlabelled rows, None for layers without one.

    Args:
      config: the network.
      variables: as from ``init``.
      corrupted: what ``encode`` returned with noise, or its unlabelled half.
    """
    part = corrupted.unlabelled if isinstance(corrupted, Encoding) else corrupted
    assert part is not None, "only unlabelled rows are decoded: give encode an x_u"
    return decode_part(config, variables["params"].get("decoder", {}), part)


def costs(
    config: LadderConfig,
    variables: Params,
    x_l: jax.Array,
    y_l: jax.Array,
    x_u: jax.Array,
    noise: Noise,
) -> Costs:
    """Supervised, denoising and total cost of one batch (Algorithm 1).

    Args:
      config: the network.
      variables: as from ``init``.
      x_l: labelled inputs (B_l, *input_shape).
      y_l: their classes, whole numbers (B_l,).
      x_u: unlabelled inputs (B_u, *input_shape).
      noise: draws for the joint batch, as from ``draw_noise``.
    """
    model: Any = Ladder(config)
    return model.apply(variables, x_l, y_l, x_u, noise)


def running_statistics(variables: Params) -> tuple[Moments, ...]:
    """The running moments of layers 1…L, for evaluation."""
    layers = [variables["batch_stats"][f"layer_{i}"] for i in range(1, 1 + _depth(variables))]
    return tuple(Moments(layer["mean"], layer["var"]) for layer in layers)


def _halves(
    noise: Noise, levels: Sequence[float | jax.Array], rows_l: int
) -> tuple[list[jax.Array], list[jax.Array]]:
    """The noise of the labelled and of the unlabelled rows, from draws for both."""
    chex.assert_equal(len(noise), len(levels))
    pairs = list(zip(noise, levels, strict=True))
    return [level * n[:rows_l] for n, level in pairs], [level * n[rows_l:] for n, level in pairs]


def _depth(variables: Params) -> int:
    return len(variables["batch_stats"])


def _fresh_running(units: int) -> dict[str, jax.Array]:
    return init_running(units)._asdict()
