"""Defines what is trained (LadderConfig) and how (TrainConfig)."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

from ladder_jax.combinators import (
    COMBINATORS,
    DEFAULT_HIDDEN,
    NO_U,
    Combinator,
    normal_name,
    parse_combinator,
    without_u,
)
from ladder_jax.errors import (
    ConfigError,
    at_least,
    fraction,
    number,
    numbers,
    one_of,
    positive,
    sequence,
    true_or_false,
    whole,
    whole_numbers,
)
from ladder_jax.layers import ACTIVATIONS, FORMS, Layer, Shape, by, parse_layer
from ladder_jax.ops.pooling import TIES
from ladder_jax.settings import CheckedConfig, setting, with_attributes


class Level(NamedTuple):
    """How one layer is decoded."""

    name: str  # of the combinator, with ":no_u" where it ignores u or gets none
    combinator: Combinator  # in its form without u where there is no u
    # Whether each unit has its own parameters, as at the top and below a dense layer; below a
    # convolution or a pooling each channel has.
    flat: bool
    units: int  # number of parameter sets


def decoder_levels(
    layers: Sequence[Layer],
    shapes: Sequence[Shape],
    weights: Sequence[float],
    names: Sequence[str],
) -> tuple[Level | None, ...]:
    """Returns the level of each layer 0…L, None for a layer that has no ẑ."""
    # All arguments but ``layers`` (1…L) are of the layers 0…L.
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


class Strengths(NamedTuple):
    """The numbers of a network, for the layers 0…L, that its compiled programs take as arguments.

    Attributes:
      noise: standard deviation of the noise.
      denoising: λ, the weight of the denoising cost.
    """

    noise: tuple[float, ...]
    denoising: tuple[float, ...]


STATISTICS = ("labelled", "unlabelled", "running")
"""The rows whose moments normalise at evaluation; the authors' code uses the first choice."""

GENERATORS = {"threefry": "threefry2x32", "rbg": "rbg"}
"""Maps our names of random number generators to JAX's; each draws differently from a seed."""

MATMUL_PRECISIONS = ("float32", "tensorfloat32", "bfloat16")
"""Formats that operands of matrix products are rounded to; the first means no rounding."""


def _layers(field: str, value: Any) -> tuple[Layer, ...]:
    """Checks a list of at least one layer."""
    layers = tuple(parse_layer(layer) for layer in sequence(field, value))
    if not layers:
        raise ConfigError(field, "()", "needs at least one layer")
    return layers


def _number_or_numbers(field: str, value: Any) -> float | tuple[float, ...]:
    """Checks one number, or one per layer."""
    return number(field, value) if isinstance(value, Real) else numbers(field, value)


def _combinator_or_several(field: str, value: Any) -> str | tuple[str, ...]:
    """Checks one combinator, or one per layer."""
    if isinstance(value, str):
        return normal_name(value)
    return tuple(normal_name(name) for name in sequence(field, value))


def _count_or_all(field: str, value: Any) -> int | str:
    """Checks an integer of at least 1, or "all"."""
    if isinstance(value, str) and value == "all":  # an array compares element by element
        return value
    return whole(field, value, 1, 'or "all"')


_COMBINATOR_NAMES = ", ".join(
    (*COMBINATORS, *(f"{name}[:HIDDEN…]" for name in DEFAULT_HIDDEN), "none; :no_u ignores u")
)


# Both configurations are hashable and checked when built. Each field says everything about a
# setting: flags, --help, reports, README's table and the lists of attributes are generated from it.
@with_attributes
@dataclass(frozen=True)
class LadderConfig(CheckedConfig):
    """A ladder network. Layers are counted from 0 (the input) to L = ``len(layers)``.

    ``layers`` are those from 1 to L, as objects or in their text form, see ``ladder_jax.layers``;
    numbers stand for dense layers. ``denoising_weights`` are λ(0)…λ(L), 0 for no cost. The decoder
    is built from the top down to the lowest layer that has a cost: if all weights are zero, the
    network is the supervised baseline; if only the last is non-zero, it is the Γ-model. Noise is
    added after the normalisation. A layer with the combinator "none", see
    ``ladder_jax.combinators``, has no ẑ and no cost, whatever its λ, and the layer below it gets no
    u.

    Raises:
      ConfigError: a field cannot be used, or fields do not fit each other.
    """

    layers: tuple[Layer, ...] = setting(
        dataclasses.MISSING, f"from the bottom up, with commas between them: {FORMS}", _layers
    )
    denoising_weights: tuple[float, ...] = setting(
        dataclasses.MISSING, "cost weight of each layer from the input", numbers
    )
    input_noise: float = setting(0.3, "standard deviation of the input noise", number)
    hidden_noise: float | tuple[float, ...] = setting(
        0.3, "the same for layers above: one, or one per layer", _number_or_numbers
    )
    combinator: str | tuple[str, ...] = setting(
        "gaussian",
        f"denoising function, or one per layer: {_COMBINATOR_NAMES}",
        _combinator_or_several,
    )
    top_scale: bool = setting(True, "whether the top layer has the scale γ", true_or_false)
    input_shape: Shape = setting(
        (784,), "shape of one input, (D,) or (height, width, channels)", whole_numbers
    )
    activation: str = setting(
        "relu", f"below the top: {' or '.join(ACTIVATIONS)}", one_of(ACTIVATIONS)
    )
    pool_ties: str = setting(
        "all", "equal maxima of a pooling: gradient to all (paper) or first", one_of(TIES)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        top_layer, weights = len(self.layers), self.denoising_weights
        if len(weights) != top_layer + 1:
            problem = f"has {len(weights)} numbers; give {top_layer + 1}, one per layer"
            raise ConfigError("denoising_weights", weights, f"{problem} from the input")
        self._check_per_layer("hidden_noise", top_layer, "numbers; give one, or one per layer")
        per_layer = "names; give one, or one per layer from the input"
        self._check_per_layer("combinator", top_layer + 1, per_layer)
        top = self.shapes[-1]  # a layer that does not fit the one below raises here
        if len(top) != 1 or top[0] < 2:
            problem = f"the last layer has one unit per class, 2 or more, not {by(top)}"
            raise ConfigError("layers", self.layers[-1], problem)
        _ = self.levels  # a combinator that cannot be used raises here

    def _check_per_layer(self, field: str, count: int, problem: str) -> None:
        """Checks the length of a tuple and collapses one with equal values."""
        values = getattr(self, field)
        if not isinstance(values, tuple):
            return
        if len(values) != count:
            raise ConfigError(field, values, f"has {len(values)} {problem} ({count})")
        if len(set(values)) == 1:  # the same network is the same configuration
            self._replace(field, values[0])

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
        """Number of units of the top layer."""
        return self.shapes[-1][-1]

    @property
    def noise_levels(self) -> tuple[float, ...]:
        """Standard deviation of the noise at each layer 0…L."""
        hidden = self.hidden_noise
        if not isinstance(hidden, tuple):
            hidden = (hidden,) * len(self.layers)
        return (self.input_noise, *hidden)

    @property
    def strengths(self) -> Strengths:
        """The numbers that compiled programs take as arguments."""
        return Strengths(self.noise_levels, self.denoising_weights)

    @functools.cached_property
    def structure(self) -> LadderConfig:
        """The network without noise and with 1 for each positive λ.

        Networks whose structures are equal share compiled programs.
        """
        weights = tuple(float(weight > 0) for weight in self.denoising_weights)
        return dataclasses.replace(
            self, denoising_weights=weights, input_noise=0.0, hidden_noise=0.0
        )

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
        """Returns plain values for ``json.dumps``, which ``from_json`` reads."""
        return super().to_json() | {"layers": [str(layer) for layer in self.layers]}


@with_attributes
@dataclass(frozen=True)
class TrainConfig(CheckedConfig):
    """How a ladder network is trained and evaluated.

    If there are fewer labelled rows than ``labelled_batch_size``, each step has all of them.
    ``labelled_order`` is "same" in the authors' code; "independent" draws a second order. With
    ``validation`` rows the test set is not touched. An epoch has at most as many steps as one pass
    over the unlabelled set; shorter epochs take different rows each time. On CPUs
    ``matmul_precision`` has no effect.

    Raises:
      ConfigError: a field cannot be used.
    """

    labels: int | str = setting(
        100, "labelled rows, balanced over the classes, or all", _count_or_all
    )
    seed: int = setting(1, "of weights, noise and the order of rows", at_least(0))
    data_seed: int | None = setting(
        None, "of the labelled subset and split (default: seed)", at_least(0)
    )
    epochs: int = setting(150, "passes over the unlabelled rows", at_least(1))
    decay_start: float = setting(
        0.67, "fraction of training after which the learning rate falls linearly", fraction
    )
    batch_size: int = setting(100, "unlabelled rows in a step", at_least(2))
    labelled_batch_size: int = setting(100, "labelled rows in a step", at_least(2))
    learning_rate: float = setting(0.002, "of Adam, before the decay", positive)
    statistics: str = setting(
        "labelled",
        f"of reported errors and predictions: {', '.join(STATISTICS)}",
        one_of(STATISTICS),
    )
    validation: int = setting(0, "rows held out of training; then no test is made", at_least(0))
    labelled_order: str = setting(
        "same",
        "with all labels: same rows in both halves of a step, or independent",
        one_of(("same", "independent")),
    )
    prng: str = setting(
        "threefry", f"random numbers: {' or '.join(GENERATORS)} (for TPUs)", one_of(GENERATORS)
    )
    matmul_precision: str = setting(
        "float32", f"on accelerators: {', '.join(MATMUL_PRECISIONS)}", one_of(MATMUL_PRECISIONS)
    )
    steps_per_epoch: int | None = setting(
        None, "steps in an epoch, if not a whole pass", at_least(1)
    )

    @property
    def split_seed(self) -> int:
        """Seed of the validation split and the labelled subset."""
        return self.seed if self.data_seed is None else self.data_seed


SETTINGS = {
    field.name: field for kind in (LadderConfig, TrainConfig) for field in dataclasses.fields(kind)
}
"""All fields of both configurations by name."""
