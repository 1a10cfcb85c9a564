"""Defines the defaults of ``LadderClassifier`` that differ from those of the configurations."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ladder_jax import presets
from ladder_jax.config import LadderConfig, TrainConfig
from ladder_jax.errors import ConfigError, choice, sequence, whole
from ladder_jax.estimator import padding as buckets
from ladder_jax.estimator.scaling import SCALINGS
from ladder_jax.layers import Shape

# These numbers were chosen on data sets and seeds that are reported nowhere; docs/results.md names
# them and shows what else was tried.
HIDDEN = (100, 50)
"""Units of the hidden layers for rows of features."""

WEIGHTS = (10.0, 1.0, 0.1)
"""λ(0), λ(1) and the λ of each layer above."""

INPUT_NOISE, HIDDEN_NOISE = 0.1, 0.3
"""Standard deviation on inputs of variance 1, and after each normalisation in higher layers."""

STEPS, LABELLED_BATCH_SIZE = 1600, 64
"""``TrainConfig`` counts epochs instead, and has 100 labelled rows in a step."""

IMAGE_NETWORK = "conv_small"

# At most 50 epochs of at least 32 steps, because the learning rate is annealed by epochs.
_EPOCHS, _EPOCH_STEPS = 50, 32

NETWORKS = {
    "conv_small": "mnist-conv_small_gamma-100",
    "conv_large": "cifar10-gamma-4000",
    "conv_fc": "mnist-conv_fc-100",
}
"""Maps the name of a network for images to the preset that it is taken from."""


def network(
    layers: Any, denoising_weights: Any, input_shape: Shape, num_classes: int, **settings: Any
) -> LadderConfig:
    """Builds the network for rows of that shape, from a list of layers or one of ``NETWORKS``."""
    if layers is None:
        layers = HIDDEN if len(input_shape) == 1 else IMAGE_NETWORK
    # A noise of None takes the default below, or that of the named network.
    settings = {name: value for name, value in settings.items() if value is not None}
    if isinstance(layers, str) and layers in NETWORKS:
        row = presets.get(NETWORKS[layers]).config
        stack: tuple[Any, ...] = tuple(
            _with_classes(str(layer), num_classes) for layer in row.layers
        )
        fields = ("activation", "top_scale", "input_noise", "hidden_noise")
        settings = {name: getattr(row, name) for name in fields} | settings
        weights = row.denoising_weights
    else:
        if isinstance(layers, str):
            layers = [word for word in layers.replace(",", " ").split() if word]
        stack = (*sequence("layers", layers), num_classes)
        if len(stack) == 1:
            raise ConfigError("layers", "()", "needs at least one hidden layer")
        settings = {"input_noise": INPUT_NOISE, "hidden_noise": HIDDEN_NOISE} | settings
        weights = (*WEIGHTS[:2], *[WEIGHTS[2]] * (len(stack) - 1))
    return LadderConfig(
        layers=stack,
        denoising_weights=weights if denoising_weights is None else denoising_weights,
        input_shape=input_shape,
        **settings,
    )


def configs(
    parameters: Mapping[str, Any], input_shape: Shape, num_classes: int, rows: int, seed: int = 0
) -> tuple[LadderConfig, TrainConfig]:
    """Builds the network and the training settings of a fit on ``rows`` rows, labelled or not."""
    choice("scaling", parameters["scaling"], SCALINGS)
    own = _fields(LadderConfig, parameters)
    config = network(**own, input_shape=input_shape, num_classes=num_classes)
    training = _fields(TrainConfig, parameters)
    for name in ("batch_size", "labelled_batch_size"):
        training[name] = min(whole(name, training[name], 1), max(rows, buckets.LARGEST))
    settings = TrainConfig(labels="all", labelled_order="independent", seed=seed, **training)
    steps = whole("steps", parameters["steps"], 1)
    longest = buckets.longest_epoch(rows, settings.batch_size)
    epochs = max(min(_EPOCHS, max(1, round(steps / _EPOCH_STEPS))), -(-steps // longest))
    steps_per_epoch = max(1, round(steps / epochs))
    return config, dataclasses.replace(settings, epochs=epochs, steps_per_epoch=steps_per_epoch)


def _fields(config: type[LadderConfig | TrainConfig], own: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those parameters that are fields of a configuration."""
    names = {field.name for field in dataclasses.fields(config)}
    return {name: value for name, value in own.items() if name in names}


def _with_classes(layer: str, num_classes: int) -> str:
    """Returns a layer of the paper in text form, with ten units replaced by ``num_classes``."""
    kind, _, rest = layer.partition(":")
    units, *further = rest.split(":") if rest else [""]
    return ":".join([kind, str(num_classes), *further]) if units == "10" else layer
