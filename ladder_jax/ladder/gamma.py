"""The Γ-model's cost for a Flax Linen module of the user's own, called backbone.

| symbol | name | source |
|---|---|---|
| f(x) | the backbone's features (B, D), clean or of x + n(0) | h(L−1) of Algorithm 1 |
| z = batchnorm(f(x) W), z̃ = batchnorm(f(x + n(0)) W) + n | the top | Algorithm 1 |
| P = softmax(γ (z̃ + β)), ẑ = g(z̃, batchnorm(P)) | classes, reconstruction | Algorithm 1 |
| C = ‖z − ẑ_BN‖²/K, batch mean | denoising cost, ẑ_BN by the moments of z | section 2 |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import errors
from flax import linen as nn

from ladder_jax.combinators import parse_combinator
from ladder_jax.config import LadderConfig
from ladder_jax.errors import ConfigError, number, whole
from ladder_jax.ladder.costs import Costs, combine
from ladder_jax.ladder.decoder import decode_part, init_decoder
from ladder_jax.ladder.encoder import Params, Part, encode_parts, init_encoder
from ladder_jax.layers import Dense
from ladder_jax.ops.batchnorm import Moments, RunningMoments, init_running, update_running
from ladder_jax.ops.noise import fold_in_each, standard_normal


class Noise(nn.Module):
    """Layer for a backbone: x + N(0, std²) in corrupted passes, else x. (…) -> the same."""

    std: float

    def __call__(self, x: jax.Array) -> jax.Array:
        """Adds noise where there is a random stream "noise"; ConfigError if std is no number."""
        std = number("std", self.std)
        return _noisy(x, std, self.make_rng("noise")) if self.has_rng("noise") else x


@dataclass(frozen=True)
class GammaWrapper:
    """Trains a backbone on labelled and unlabelled rows. Pure functions, none of them jitted.

    Examples:
      >>> class Net(nn.Module):
      ...     @nn.compact
      ...     def __call__(self, x, train=True):
      ...         x = nn.BatchNorm(use_running_average=not train)(nn.Dense(32)(x))
      ...         return nn.relu(Noise(0.3)(x))
      >>> gamma = GammaWrapper(Net(), num_classes=2, evaluation={"train": False})
      >>> state = gamma.init(jax.random.key(0), x_u)
      >>> params, optimizer = state.pop("params"), optax.adam(0.002)
      >>> moments = optimizer.init(params)
      >>> @jax.jit
      ... def step(params, state, moments, key):
      ...     def total(params):
      ...         costs, after = gamma.costs({"params": params, **state}, x_l, y_l, x_u, key)
      ...         return costs.total, after
      ...     gradient, after = jax.grad(total, has_aux=True)(params)
      ...     updates, moments = optimizer.update(gradient, moments)
      ...     return optax.apply_updates(params, updates), after, moments
      >>> for i in range(50):
      ...     params, state, moments = step(params, state, moments, jax.random.key(i))
      >>> probabilities = gamma.predict_proba({"params": params, **state}, x_u)  # (rows, 2)

    A step is three passes: corrupted labelled, corrupted unlabelled (not at λ = 0), clean
    unlabelled. Only the clean one changes the backbone's state (collections but "params", such as
    averages of ``nn.BatchNorm``), as evaluation is clean too. So ``clean`` must normalise by the
    minibatch, without dropout; ``deterministic=not self.has_rng("dropout")`` ensures the latter.

    Attributes:
      backbone: images or vectors -> (B, D), its last non-linearity included.
      num_classes: K, 2 or more.
      denoising_weight: λ. For one that changes in training, add up the costs yourself.
      input_noise: standard deviation of the noise on the corrupted passes' input.
      top_noise: the same after the top's normalisation.
      combinator: g, a name as in ``ladder_jax.combinators`` but "none".
      corrupted: keyword arguments of a backbone given the random streams "dropout" and "noise".
      clean: the same in the clean pass, without random streams, and in ``init``.
      evaluation: the same in ``predict_proba``, without random streams or changes of state.

    Raises:
      ConfigError: a field that cannot be used; in the methods, a backbone that does not fit.
    """

    backbone: nn.Module
    num_classes: int
    denoising_weight: float = 1.0
    input_noise: float = 0.3
    top_noise: float = 0.3
    combinator: str = "gaussian"
    corrupted: Mapping[str, Any] | tuple = ()
    clean: Mapping[str, Any] | tuple = ()
    evaluation: Mapping[str, Any] | tuple = ()

    def __post_init__(self) -> None:
        if not isinstance(self.backbone, nn.Module):
            raise ConfigError("backbone", self.backbone, "give a Linen module: Net(), not Net")
        whole("num_classes", self.num_classes, 2)
        for field in ("denoising_weight", "input_noise", "top_noise"):
            number(field, getattr(self, field))
        if parse_combinator(self.combinator) is None:
            raise ConfigError("combinator", "none", "for no cost set denoising_weight to 0")
        for field in ("corrupted", "clean", "evaluation"):
            given = getattr(self, field)
            try:  # pairs, unlike a dict, can be hashed
                object.__setattr__(self, field, tuple(sorted(dict(given).items())))
            except (TypeError, ValueError):
                raise ConfigError(field, given, 'give keywords, as {"train": True}') from None

    def init(self, key: jax.Array, x: jax.Array) -> dict[str, Any]:
        """Fresh variables from a ``jax.random.key`` and some rows (B, …).

        In each collection "backbone" holds the backbone's. "top" holds in "params" kernel (D, K),
        beta (K,), gamma (K,), combinator (P, K) unless λ or P is 0, and in "batch_stats" mean (K,),
        var (K,), batches.
        """
        keys = fold_in_each(key, 3)
        own = self.backbone.init(keys[0], x, **dict(self.clean))
        config = self._top(self._features(_joined(own), x, "clean")[0].shape[1])
        params = init_encoder(keys[1], config)["layer_1"]
        params |= init_decoder(keys[2], config).get("layer_1", {})
        return _joined(own, params=params, batch_stats=init_running(self.num_classes)._asdict())

    def costs(
        self, variables: Params, x_l: jax.Array, y_l: jax.Array, x_u: jax.Array, key: jax.Array
    ) -> tuple[Costs, dict[str, Any]]:
        """Costs of inputs (B_l, …) of classes (B_l,) and inputs (B_u, …); the state after them.

        A class that is not 0…K − 1, such as -1 for no label, makes the supervised cost NaN.
        C is ``costs.denoising[-1]``, None where λ is 0. The state is all collections but "params".
        ``jax.random.fold_in(key, 0)`` is for the labelled rows, 1 for the unlabelled; from each
        come likewise the keys 0…3 of the noise on the input, at the top, "dropout" and "noise".
        """
        if jnp.shape(y_l) != (len(x_l),) or not jnp.issubdtype(jnp.result_type(y_l), jnp.integer):
            problem = f"give {len(x_l)} class numbers for x_l, whole, not one-hot"
            raise ConfigError("y_l", f"{jnp.result_type(y_l)}{jnp.shape(y_l)}", problem)
        clean, state = self._features(variables, x_u, "clean")
        labelled, after = self._corrupted(variables, x_l, jax.random.fold_in(key, 0))
        if _changed(variables, after) and not _changed(variables, state):
            problem = "leaves the averages alone that the corrupted pass changes: normalise by the "
            raise ConfigError("clean", dict(self.clean), f"{problem}minibatch in both")
        parts = [Part(clean), labelled]
        if self.denoising_weight:
            parts.append(self._corrupted(variables, x_u, jax.random.fold_in(key, 1))[0])
        config, top = self._top(clean.shape[1]), {"layer_1": variables["params"]["top"]}
        target, noisy, *unlabelled = encode_parts(config, top, parts)
        z_hat = decode_part(config, top, unlabelled[0]) if unlabelled else ()
        y_l = jnp.where(y_l < 0, self.num_classes, y_l)  # an index -1 would be the last class
        costs = combine(config, noisy.logits, y_l, clean, target, z_hat)
        running = RunningMoments(**variables["batch_stats"]["top"])
        running = update_running(running, target.moments(1), len(x_u))
        return costs, _joined(state, batch_stats=running._asdict())

    def predict_proba(self, variables: Params, x: jax.Array) -> jax.Array:
        """Class probabilities (N, K) of rows (N, …), the top normalised by its running moments."""
        features, _ = self._features(variables, x, "evaluation")
        top, running = variables["params"]["top"], variables["batch_stats"]["top"]
        part = Part(features, moments=[Moments(running["mean"], running["var"])])
        return encode_parts(self._top(features.shape[1]), {"layer_1": top}, [part])[0].h[1]

    def _top(self, D: int) -> LadderConfig:
        """The top as a ladder on D features, which get neither noise nor a cost there."""
        layers, weights = (Dense(self.num_classes),), (0, self.denoising_weight)
        return LadderConfig(layers, weights, 0, self.top_noise, self.combinator, input_shape=(D,))

    def _corrupted(self, variables: Params, x: jax.Array, key: jax.Array) -> tuple[Part, Params]:
        at_input, at_top, dropout, noise = fold_in_each(key, 4)
        x, streams = _noisy(x, self.input_noise, at_input), {"dropout": dropout, "noise": noise}
        features, state = self._features(variables, x, "corrupted", streams)
        top = self.top_noise * standard_normal(at_top, (len(x), self.num_classes))
        return Part(features, noise=[jnp.zeros_like(features), top]), state

    def _features(
        self, variables: Params, x: jax.Array, mode: str, streams: dict | None = None
    ) -> tuple[jax.Array, Params]:
        """f(x), and the backbone's state after it."""
        own = {name: tree["backbone"] for name, tree in variables.items() if "backbone" in tree}
        # Frozen in evaluation: else a normalisation by the test batch would go unnoticed.
        mutable = [name for name in own if name != "params" and mode != "evaluation"]
        given = dict(getattr(self, mode))
        try:
            features, state = self.backbone.apply(own, x, rngs=streams, mutable=mutable, **given)
        except (errors.InvalidRngError, errors.ModifyScopeVariableError) as error:
            mend = 'mend the keywords; a dropout has deterministic=not self.has_rng("dropout")'
            problem = f"the backbone may not do this in this pass, {mend}: {error}"
            raise ConfigError(mode, given, problem) from error
        shape: tuple[int, ...] = getattr(features, "shape", ())
        if len(shape) != 2 or shape[0] != len(x):
            found = f"gives {type(features).__name__} of shape {shape} for {len(x)} rows"
            problem = f"{found}, not (rows, D); pool or flatten at its end"
            raise ConfigError("backbone", type(self.backbone).__name__, problem)
        return features, state


def _changed(variables: Params, state: Params) -> bool:
    """Whether a pass made new averages: Flax hands on those that it did not touch."""
    if "batch_stats" not in state:
        return False
    before, after = variables["batch_stats"]["backbone"], state["batch_stats"]
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    return any(one is not other for one, other in pairs)


def _noisy(x: jax.Array, std: float, key: jax.Array) -> jax.Array:
    draw = standard_normal(key, x.shape).astype(jnp.result_type(x, float))  # uint8 becomes float
    return x + std * draw if std else x


def _joined(own: Params, **top: Any) -> dict[str, Any]:
    joined: dict[str, Any] = {name: {"backbone": tree} for name, tree in own.items()}
    for name, values in top.items():
        joined.setdefault(name, {})["top"] = values
    return joined
