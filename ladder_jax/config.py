"""What is trained (LadderConfig) and how (TrainConfig).

Both are frozen, hashable, checked when built, and go to and from plain JSON values.
A field has the name of its command-line flag.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

from ladder_jax.combinators import NO_U, Combinator, normal_name, parse_combinator, without_u
from ladder_jax.errors import ConfigError, choice, number, numbers, sequence, whole, whole_numbers
from ladder_jax.layers import ACTIVATIONS, Layer, Shape, by, parse_layer
from ladder_jax.ops.pooling import TIES


class Level(NamedTuple):
    """How one layer is decoded.

    Attributes:
      name: of the combinator, with ``:no_u`` where it ignores u or gets none.
      combinator: the denoising function, in its form without u where there is no u.
      flat: whether the layer is taken unit by unit: at the top and below a dense layer.
        Below a convolution or a pooling every channel has one set of parameters.
      units: number of parameter sets.
    """

    name: str
    combinator: Combinator
    flat: bool
    units: int


def decoder_levels(
    layers: Sequence[Layer],
    shapes: Sequence[Shape],
    weights: Sequence[float],
    names: Sequence[str],
) -> tuple[Level | None, ...]:
    """The level of each layer 0…L, None for a layer that has no ẑ.

    Args:
      layers: layers 1…L.
      shapes: of the layers 0…L.
      weights: λ(0)…λ(L); one at a layer without combinator has no effect.
      names: combinators of the layers 0…L.

    Raises:
      ConfigError: an unknown combinator, or one that cannot do without u where there is none.
    """
    combinators = [parse_combinator(name) for name in names]
    below_reads = False  # whether the layer below takes its u from this one
    found: list[Level | None] = []
    for i, combinator in enumerate(combinators):
        if combinator is None or not (weights[i] > 0 or below_reads):
            below_reads = False
            found.append(None)
            continue
        name = names[i]
        if combinator.uses_u and i < len(layers) and combinators[i + 1] is None:
            combinator = without_u(f"{name} at layer {i}", combinator)
            name = f"{name}:{NO_U}"
        below_reads = combinator.uses_u
        flat = i == len(layers) or layers[i].flattens
        units = math.prod(shapes[i]) if flat else shapes[i][-1]
        found.append(Level(name, combinator, flat, units))
    return tuple(found)


STATISTICS = ("labelled", "unlabelled", "running")
"""Which rows' moments normalise at evaluation; the first is the paper's code's choice."""

GENERATORS = {"threefry": "threefry2x32", "rbg": "rbg"}
"""Name of a random number generator -> JAX's. The same seed gives other draws with each."""

MATMUL_PRECISIONS = ("float32", "tensorfloat32", "bfloat16")
"""What the operands of matrix products are rounded to; the first is no rounding."""


@dataclass(frozen=True)
class LadderConfig:
    """A ladder network. Layers are counted from 0 (the input) to L = ``len(layers)``.

    Attributes:
      layers: layers 1…L from the bottom up, as objects or in their text form (see
        ``ladder_jax.layers``); numbers stand for dense layers.
      denoising_weights: λ(0)…λ(L), 0 for no cost. The decoder is built from the top down
        to the lowest layer that has a cost: all zeros is the supervised baseline, only the
        last non-zero is the Γ-model.
      input_noise: standard deviation of the noise on the input.
      hidden_noise: the same after the normalisation of layers 1…L, one number or L of them.
      combinator: the denoising function, one for all layers or one for each layer 0…L; see
        ``ladder_jax.combinators`` for the names. A layer with "none" has no ẑ and no cost,
        whatever its λ, and the layer below it gets no u.
      top_scale: whether the top layer has the scale γ.
      input_shape: shape of one input, (D,) or (height, width, channels).
      activation: the non-linearity below the top, a key of ``ACTIVATIONS``.
      pool_ties: which of equal maxima gets a max-pooling's gradient, one of ``TIES``.

    Raises:
      ConfigError: a field that cannot be used, or fields that do not fit each other.
    """

    layers: tuple[Layer, ...]
    denoising_weights: tuple[float, ...]
    input_noise: float = 0.3
    hidden_noise: float | tuple[float, ...] = 0.3
    combinator: str | tuple[str, ...] = "gaussian"
    top_scale: bool = True
    input_shape: Shape = (784,)
    activation: str = "relu"
    pool_ties: str = "all"

    def __post_init__(self) -> None:
        layers = tuple(parse_layer(layer) for layer in sequence("layers", self.layers))
        if not layers:
            raise ConfigError("layers", "()", "needs at least one layer")
        _set(self, "layers", layers)
        _set(self, "input_shape", whole_numbers("input_shape", self.input_shape))
        weights = numbers("denoising_weights", self.denoising_weights)
        if len(weights) != len(layers) + 1:
            raise ConfigError(
                "denoising_weights",
                weights,
                f"has {len(weights)} numbers; give {len(layers) + 1}, one per layer from the input",
            )
        _set(self, "denoising_weights", weights)
        _set(self, "input_noise", number("input_noise", self.input_noise))
        _set(self, "hidden_noise", _hidden_noise(self.hidden_noise, len(layers)))
        _set(self, "combinator", _combinator(self.combinator, len(layers) + 1))
        if not isinstance(self.top_scale, bool):
            raise ConfigError("top_scale", self.top_scale, "give true or false")
        choice("activation", self.activation, ACTIVATIONS)
        choice("pool_ties", self.pool_ties, TIES)
        top = self.shapes[-1]  # a layer that does not fit the one below raises here
        if len(top) != 1 or top[0] < 2:
            problem = f"the last layer has one unit per class, 2 or more, not {by(top)}"
            raise ConfigError("layers", layers[-1], problem)
        _ = self.levels  # a combinator that cannot be used raises here

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Shape of one row at each layer 0…L."""
        shapes = [self.input_shape]
        for i, layer in enumerate(self.layers, start=1):
            try:
                shapes.append(layer.output_shape(shapes[-1]))
            except ConfigError as error:
                raise ConfigError("layers", layer, f"layer {i} {error.problem}") from None
        return tuple(shapes)

    @property
    def num_classes(self) -> int:
        """Units of the top layer."""
        return self.shapes[-1][-1]

    @property
    def noise_levels(self) -> tuple[float, ...]:
        """Standard deviation of the noise at each layer 0…L."""
        hidden = self.hidden_noise
        if not isinstance(hidden, tuple):
            hidden = (hidden,) * len(self.layers)
        return (self.input_noise, *hidden)

    @property
    def combinators(self) -> tuple[str, ...]:
        """Name of the combinator of each layer 0…L."""
        names = self.combinator
        return names if isinstance(names, tuple) else (names,) * (len(self.layers) + 1)

    @property
    def levels(self) -> tuple[Level | None, ...]:
        """How each layer 0…L is decoded; None where it has no ẑ."""
        return decoder_levels(self.layers, self.shapes, self.denoising_weights, self.combinators)

    @property
    def cost_layers(self) -> tuple[int, ...]:
        """Layers with a denoising cost, from the bottom up."""
        return tuple(
            i
            for i, (weight, level) in enumerate(
                zip(self.denoising_weights, self.levels, strict=True)
            )
            if weight > 0 and level is not None
        )

    @property
    def decoder_layers(self) -> tuple[int, ...]:
        """Layers that have a reconstruction ẑ, from the bottom up."""
        return tuple(i for i, level in enumerate(self.levels) if level is not None)

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``; ``from_json`` turns them back."""
        values = dataclasses.asdict(self)
        values["layers"] = [str(layer) for layer in self.layers]
        return {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> LadderConfig:
        """The configuration that ``to_json`` described.

        Raises:
          ConfigError: an unknown field or a value that cannot be used.
        """
        return cls(**_known(cls, values))


@dataclass(frozen=True)
class TrainConfig:
    """How a ladder network is trained and evaluated.

    Attributes:
      labels: number of labelled rows, balanced over the classes, or "all".
      seed: of the weights, the noise and the order of the rows.
      data_seed: of the validation split and the labelled subset; None takes ``seed``.
      epochs: passes over the unlabelled set.
      decay_start: fraction of the epochs after which the learning rate falls linearly.
      batch_size: unlabelled rows per step.
      labelled_batch_size: labelled rows per step (all of them where there are fewer).
      learning_rate: of Adam, before the decay.
      statistics: which statistics the reported error uses, one of ``STATISTICS``.
      validation: rows held out of the training set; if any, the test set is not touched.
      labelled_order: with all labels, "same" puts the same rows in both halves of a batch
        (the authors' code), "independent" draws a second order.
      prng: random number generator, a key of ``GENERATORS``; "rbg" is for TPUs.
      steps_per_epoch: steps in an epoch, at most so many as the unlabelled set gives; a shorter
        epoch takes other rows each time. None is a whole pass.
      matmul_precision: of the matrix products on accelerators, one of ``MATMUL_PRECISIONS``;
        CPUs always take the first.

    Raises:
      ConfigError: a field that cannot be used.
    """

    labels: int | str = 100
    seed: int = 1
    data_seed: int | None = None
    epochs: int = 150
    decay_start: float = 0.67
    batch_size: int = 100
    labelled_batch_size: int = 100
    learning_rate: float = 0.002
    statistics: str = "labelled"
    validation: int = 0
    labelled_order: str = "same"
    prng: str = "threefry"
    matmul_precision: str = "float32"
    steps_per_epoch: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.labels, str) or self.labels != "all":  # an array is neither
            _set(self, "labels", whole("labels", self.labels, 1, 'or "all"'))
        for field, least in (
            ("seed", 0),
            ("epochs", 1),
            ("batch_size", 2),
            ("labelled_batch_size", 2),
            ("validation", 0),
        ):
            _set(self, field, whole(field, getattr(self, field), least))
        for field, least in (("data_seed", 0), ("steps_per_epoch", 1)):
            if getattr(self, field) is not None:
                _set(self, field, whole(field, getattr(self, field), least))
        _set(self, "decay_start", number("decay_start", self.decay_start))
        if self.decay_start > 1:
            raise ConfigError("decay_start", self.decay_start, "a fraction from 0 to 1 is needed")
        _set(self, "learning_rate", number("learning_rate", self.learning_rate))
        if self.learning_rate == 0:
            raise ConfigError("learning_rate", self.learning_rate, "must be above 0")
        for field, choices in (
            ("statistics", STATISTICS),
            ("labelled_order", ("same", "independent")),
            ("prng", GENERATORS),
            ("matmul_precision", MATMUL_PRECISIONS),
        ):
            choice(field, getattr(self, field), choices)

    @property
    def split_seed(self) -> int:
        """Seed of the validation split and the labelled subset."""
        return self.seed if self.data_seed is None else self.data_seed

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``; ``from_json`` turns them back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TrainConfig:
        """The configuration that ``to_json`` described.

        Raises:
          ConfigError: an unknown field or a value that cannot be used.
        """
        return cls(**_known(cls, values))


def _set(config: Any, field: str, value: Any) -> None:
    object.__setattr__(config, field, value)  # the one way to normalise a frozen field


def _known(cls: type, values: dict[str, Any]) -> dict[str, Any]:
    fields = {field.name: field for field in dataclasses.fields(cls)}
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ConfigError(cls.__name__, values, "is made of named fields")
    for name, value in values.items():
        if name not in fields:
            raise ConfigError(name, value, f"{cls.__name__} has no such field")
    for name, field in fields.items():
        if field.default is dataclasses.MISSING and name not in values:
            raise ConfigError(name, "", f"{cls.__name__} cannot do without it")
    return values


def _combinator(value: Any, layers: int) -> str | tuple[str, ...]:
    if isinstance(value, str):
        return normal_name(value)
    names = sequence("combinator", value)
    if len(names) != layers:
        problem = f"has {len(names)} names; give one, or one per layer from the input ({layers})"
        raise ConfigError("combinator", names, problem)
    names = tuple(normal_name(name) for name in names)
    return names[0] if len(set(names)) == 1 else names


def _hidden_noise(value: Any, layers: int) -> float | tuple[float, ...]:
    if isinstance(value, Real):
        return number("hidden_noise", value)
    values = numbers("hidden_noise", value)
    if len(values) != layers:
        raise ConfigError(
            "hidden_noise",
            values,
            f"has {len(values)} numbers; give one, or one per layer ({layers})",
        )
    return values[0] if len(set(values)) == 1 else values
