"""Every row of the paper's tables as data, with the error it should reach.

The MLP has three layers of 250 units. The paper's text prints 784-1000-500-250-250-10, but
the authors' code and its seven denoising costs have 784-1000-500-250-250-250-10.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ladder_jax.config import LadderConfig, TrainConfig
from ladder_jax.errors import ConfigError
from ladder_jax.layers import Dense

MODELS = ("ladder", "bottom", "gamma", "baseline")
"""Full ladder, denoising cost at the input only, at the top only (Γ), none."""


@dataclass(frozen=True)
class Preset:
    """A row of a table.

    Attributes:
      dataset: name for ``data.load``.
      model: one of ``MODELS``.
      labels: number of labels or "all".
      config: the network.
      train_config: how it is trained.
      paper_error: mean and standard deviation of the paper's test error in per cent,
        None where the paper has none.
    """

    dataset: str
    model: str
    labels: int | str
    config: LadderConfig
    train_config: TrainConfig
    paper_error: tuple[float, float] | None = None

    @property
    def name(self) -> str:
        """For example ``mnist-ladder-100``."""
        return f"{self.dataset}-{self.model}-{self.labels}"


_MLP = tuple(Dense(units) for units in (1000, 500, 250, 250, 250, 10))
_TOP = (0, 0, 0, 0, 0, 0)

# (model, labels): (λ(0)…λ(6), hidden noise, the paper's error).
_MNIST: dict[tuple[str, int | str], tuple[tuple[float, ...], float, tuple[float, float] | None]] = {
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
    weights, hidden_noise, paper_error = _MNIST[model, labels]
    config = LadderConfig(_MLP, weights, input_noise=0.3, hidden_noise=hidden_noise)
    return Preset("mnist", model, labels, config, TrainConfig(labels=labels), paper_error)


# Chosen on validation rows of the training part, see docs/results.md.
_DIGITS = {
    "ladder": ((1000, 10, 0.1, 0.1), 0.3),
    "bottom": ((1000, 0, 0, 0), 0.3),
    "gamma": ((0, 0, 0, 2), 0.3),
    "baseline": ((0, 0, 0, 0), 0.3),
}


def _digits(model: str) -> Preset:
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
    for preset in (*(_mnist(*key) for key in _MNIST), *(_digits(model) for model in MODELS))
}


def names() -> tuple[str, ...]:
    """Names of all presets."""
    return tuple(PRESETS)


def get(name: str) -> Preset:
    """The preset of that name.

    Raises:
      ConfigError: there is none.
    """
    if name not in PRESETS:
        raise ConfigError("preset", name, f"not known; choose one of: {', '.join(PRESETS)}")
    return PRESETS[name]


def for_labels(dataset: str, model: str, labels: int | str) -> Preset:
    """The row for that many labels, or that of the nearest smaller number.

    Below the smallest row, the smallest. ``labels`` of the returned preset is the row's own;
    its ``train_config`` has the number asked for.

    Raises:
      ConfigError: no such model for this data set.
    """
    rows = {p.labels: p for p in PRESETS.values() if (p.dataset, p.model) == (dataset, model)}
    if not rows:
        models = dict.fromkeys(p.model for p in PRESETS.values() if p.dataset == dataset)
        raise ConfigError("model", model, f"not known; choose one of: {', '.join(models)}")
    if labels in rows:
        return rows[labels]
    counts = sorted(count for count in rows if isinstance(count, int))
    if labels == "all":
        row = rows[counts[-1]]
    else:
        row = rows[max((count for count in counts if count <= int(labels)), default=counts[0])]
    train_config = dataclasses.replace(row.train_config, labels=labels)
    return dataclasses.replace(row, train_config=train_config)
