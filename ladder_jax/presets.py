"""Every row of the paper's tables as data, with the error it should reach.

The MLP has three layers of 250 units. The paper's text prints 784-1000-500-250-250-10, but
the authors' code and its seven denoising costs have 784-1000-500-250-250-250-10.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

from ladder_jax.config import LadderConfig, TrainConfig
from ladder_jax.errors import ConfigError
from ladder_jax.layers import Dense, Shape, parse_layer

MODELS = ("ladder", "bottom", "gamma", "baseline")
"""Denoising costs at all layers, at the input only, at the top only (Γ), and none."""


class DatasetFacts(NamedTuple):
    """Facts about a data set that are known before it is loaded."""

    shape: Shape  # height, width and channels of a row
    classes: int
    rows: int  # in the training set; a user's files may have fewer


DATASETS = {
    "cifar10": DatasetFacts((32, 32, 3), 10, 50_000),
    "digits": DatasetFacts((8, 8, 1), 10, 1297),
    "mnist": DatasetFacts((28, 28, 1), 10, 60_000),
}
"""Facts about every named data set."""

PaperError = tuple[float, float | None]
"""Mean and standard deviation in per cent; None for the deviation of a single run."""


@dataclass(frozen=True)
class Preset:
    """A row of the paper's tables, or of the project's own.

    Attributes:
      dataset: name for ``data.load``.
      model: one of ``models(dataset)``.
      labels: number of labels or "all".
      config: the network.
      train_config: how it is trained.
      paper_error: the paper's test error, or None if it has none.
    """

    dataset: str
    model: str
    labels: int | str
    config: LadderConfig
    train_config: TrainConfig
    paper_error: PaperError | None = None

    @property
    def name(self) -> str:
        """For example ``mnist-ladder-100``."""
        return f"{self.dataset}-{self.model}-{self.labels}"


_MLP = tuple(Dense(units) for units in (1000, 500, 250, 250, 250, 10))
_TOP = (0, 0, 0, 0, 0, 0)

# Table 1. (model, labels): (λ(0)…λ(6), hidden noise, the paper's error).
_MNIST: dict[tuple[str, int | str], tuple[tuple[float, ...], float, PaperError]] = {
    ("ladder", 50): ((2000, 20, 0.1, 0.1, 0.1, 0.1, 0.1), 0.3, (1.62, 0.65)),
    ("ladder", 100): ((1000, 10, 0.1, 0.1, 0.1, 0.1, 0.1), 0.3, (1.06, 0.37)),
    ("ladder", 1000): ((2000, 20, 0.1, 0.1, 0.1, 0.1, 0.1), 0.2, (0.84, 0.08)),
    ("ladder", "all"): ((1000, 1, 0.01, 0.01, 0.01, 0.01, 0.01), 0.3, (0.57, 0.02)),
    ("bottom", 100): ((5000, *_TOP), 0.3, (1.09, 0.32)),
    ("bottom", 1000): ((2000, *_TOP), 0.3, (0.90, 0.05)),
    ("bottom", "all"): ((2000, *_TOP), 0.3, (0.59, 0.03)),
    ("gamma", 100): ((*_TOP, 0.5), 0.3, (3.06, 1.44)),
    ("gamma", 1000): ((*_TOP, 10), 0.3, (1.53, 0.10)),
    ("gamma", "all"): ((*_TOP, 2), 0.3, (0.78, 0.03)),
    ("baseline", 100): ((0, *_TOP), 0.5, (21.74, 1.77)),
    ("baseline", 1000): ((0, *_TOP), 0.5, (5.70, 0.20)),
    ("baseline", "all"): ((0, *_TOP), 0.5, (0.80, 0.03)),
}


def _mnist(model: str, labels: int | str) -> Preset:
    """Returns a row of Table 1."""
    weights, hidden_noise, paper_error = _MNIST[model, labels]
    config = LadderConfig(_MLP, weights, input_noise=0.3, hidden_noise=hidden_noise)
    return Preset("mnist", model, labels, config, TrainConfig(labels=labels), paper_error)


_CONV_FC = "conv:1000:26 conv:500:1 conv:250:1 conv:250:1 conv:250:1 conv:10:1 globalmean"
_CONV_SMALL = (
    "conv:32:5:full maxpool:2 conv:64:3 conv:64:3:full maxpool:2 conv:128:3 conv:10:1 "
    "globalmean dense:10"
)
_CONV_LARGE = (
    "conv:96:3 conv:96:3:full conv:96:3:full maxpool:2 "
    "conv:192:3 conv:192:3:full conv:192:3 maxpool:2 "
    "conv:192:3 conv:192:1 conv:10:1 globalmean"
)

# A supervised baseline of a convolutional net is trained for fewer epochs.
_SHORT = {"epochs": 20, "decay_start": 0.5}


def _conv_mnist(
    model: str,
    labels: int | str,
    layers: str,
    weights: tuple[float, ...],
    paper_error: PaperError,
    hidden_noise: float = 0.3,
    **training: float,
) -> Preset:
    """Returns a row of Table 2."""
    config = LadderConfig(
        tuple(map(parse_layer, layers.split())),
        weights,
        hidden_noise=hidden_noise,
        input_shape=DATASETS["mnist"].shape,
    )
    train_config = TrainConfig(labels=labels, **training)  # type: ignore[arg-type]
    return Preset("mnist", model, labels, config, train_config, paper_error)


# Table 2.
_CONV_MNIST = (
    _conv_mnist("conv_fc", 100, _CONV_FC, (1000, 10, *[0.1] * 6), (0.99, 0.15)),
    _conv_mnist("conv_small_gamma", 100, _CONV_SMALL, (*[0] * 9, 1), (0.89, 0.50)),
    _conv_mnist("conv_small_baseline", 100, _CONV_SMALL, (0,) * 10, (6.43, 0.84), 0.45, **_SHORT),
    _conv_mnist("conv_small_baseline", "all", _CONV_SMALL, (0,) * 10, (0.36, None), 0.45, **_SHORT),
)


def _cifar10(
    model: str, labels: int | str, weight: float, paper_error: PaperError, **training: float
) -> Preset:
    """Returns a row of Table 3."""
    config = LadderConfig(
        tuple(map(parse_layer, _CONV_LARGE.split())),
        (*[0] * 12, weight),
        top_scale=False,
        input_shape=DATASETS["cifar10"].shape,
        activation="leaky_relu",
    )
    train_config = TrainConfig(labels=labels, **training)  # type: ignore[arg-type]
    return Preset("cifar10", model, labels, config, train_config, paper_error)


# Table 3.
_CIFAR10 = (
    _cifar10("gamma", 4000, 4, (20.40, 0.47), epochs=70, decay_start=0.86),
    _cifar10("baseline", 4000, 0, (23.33, 0.61), **_SHORT),
    _cifar10("baseline", "all", 0, (9.27, None), **_SHORT),
)

# Chosen on validation rows of the training part, see docs/results.md.
_DIGITS = {
    "ladder": ((1000, 10, 0.1, 0.1), 0.3),
    "bottom": ((1000, 0, 0, 0), 0.3),
    "gamma": ((0, 0, 0, 2), 0.3),
    "baseline": ((0, 0, 0, 0), 0.3),
}


def _digits(model: str) -> Preset:
    """Returns a preset of the digits, which the paper does not have."""
    weights, noise = _DIGITS[model]
    config = LadderConfig(
        layers=(Dense(250), Dense(100), Dense(10)),
        denoising_weights=weights,
        input_noise=noise,
        hidden_noise=noise,
        input_shape=(64,),
    )
    return Preset("digits", model, 50, config, TrainConfig(labels=50, epochs=200))


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        *(_mnist(*key) for key in _MNIST),
        *_CONV_MNIST,
        *_CIFAR10,
        *(_digits(model) for model in MODELS),
    )
}


def names() -> tuple[str, ...]:
    """Returns the names of all presets."""
    return tuple(PRESETS)


def models(dataset: str) -> tuple[str, ...]:
    """Returns the names of the models that a data set has presets for."""
    return tuple(dict.fromkeys(p.model for p in PRESETS.values() if p.dataset == dataset))


def get(name: str) -> Preset:
    """Returns the preset of that name.

    Raises:
      ConfigError: there is no such preset.
    """
    if name not in PRESETS:
        raise ConfigError("preset", name, f"not known; choose one of: {', '.join(PRESETS)}")
    return PRESETS[name]


def for_labels(dataset: str, model: str, labels: int | str) -> Preset:
    """Returns the preset for that many labels, or for the nearest smaller number.

    Below the smallest number it is the preset for the smallest. ``labels`` of the returned preset
    is its own number; its ``train_config`` has the requested one.

    Raises:
      ConfigError: the data set has no such model.
    """
    rows = {p.labels: p for p in PRESETS.values() if (p.dataset, p.model) == (dataset, model)}
    if not rows:
        known = ", ".join(models(dataset))
        raise ConfigError("model", model, f"not known; choose one of: {known}")
    if labels in rows:
        return rows[labels]
    counts = sorted(count for count in rows if isinstance(count, int))
    if labels == "all":
        row = rows[counts[-1]]
    else:
        row = rows[max((count for count in counts if count <= int(labels)), default=counts[0])]
    train_config = dataclasses.replace(row.train_config, labels=labels)
    return dataclasses.replace(row, train_config=train_config)
