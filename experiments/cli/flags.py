"""Flags that every training command has, and the configuration they describe."""

from __future__ import annotations

import dataclasses
import os
import textwrap
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from absl import flags

import ladder_jax as lj
from ladder_jax.combinators import COMBINATORS, DEFAULT_HIDDEN
from ladder_jax.config import GENERATORS, MATMUL_PRECISIONS
from ladder_jax.data.split import check_classes, check_counts
from ladder_jax.errors import whole
from ladder_jax.layers import ACTIVATIONS, FORMS
from ladder_jax.storage.read_run import PAPER_ROWS
from ladder_jax.train.plan import with_seeds

_WIDTH, _COLUMN = 80, 27


class Group:
    """Defines flags under a heading. Groups appear in the order of their first flag.

    Args:
      values: where the flags go.
      heading: of the group.
    """

    def __init__(self, values: flags.FlagValues, heading: str):
        self._options: dict[str, Any] = {"flag_values": values, "module_name": heading}

    def string(self, name: str, default: str | None, about: str) -> None:
        """A flag that takes a word."""
        flags.DEFINE_string(name, default, about, **self._options)

    def words(self, name: str, default: list[str], about: str) -> None:
        """A flag that takes words with commas between them."""
        flags.DEFINE_list(name, default, about, **self._options)

    def integer(self, name: str, default: int | None, about: str, least: int | None = None) -> None:
        """A flag that takes a whole number."""
        flags.DEFINE_integer(name, default, about, lower_bound=least, **self._options)

    def number(self, name: str, default: float | None, about: str) -> None:
        """A flag that takes a number."""
        flags.DEFINE_float(name, default, about, **self._options)

    def switch(self, name: str, default: bool | None, about: str) -> None:
        """A flag that is on, or off with "no" before its name."""
        flags.DEFINE_boolean(name, default, about, **self._options)


def help_text(values: flags.FlagValues) -> str:
    """All flags, group by group."""
    groups = values.flags_by_module_dict()
    alone = len(groups) == 1
    blocks = []
    for heading, own in groups.items():
        lines = ["Flags:" if alone else f"{heading}:"]
        lines += [line for flag in own for line in _lines(flag)]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _lines(flag: flags.Flag) -> list[str]:
    name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
    about = flag.help.rstrip(".")
    if flag.default not in (None, False, "", []) and "default" not in about:
        default = ",".join(flag.default) if isinstance(flag.default, list) else flag.default
        about += " (default on)" if flag.default is True else f" (default {default})"
    found = textwrap.wrap(about, _WIDTH - _COLUMN, break_on_hyphens=False) or [""]
    first = f"  {name}".ljust(_COLUMN)
    if len(first) > _COLUMN:
        return [first, *(" " * _COLUMN + line for line in found)]
    return [first + found[0], *(" " * _COLUMN + line for line in found[1:])]


_NETWORK = ("input_noise", "activation", "top_scale", "pool_ties")
_TRAINING = (
    "seed",
    "data_seed",
    "epochs",
    "decay_start",
    "batch_size",
    "labelled_batch_size",
    "learning_rate",
    "statistics",
    "validation",
    "labelled_order",
    "prng",
    "matmul_precision",
)

_COMBINATORS = ", ".join(
    (*COMBINATORS, *(f"{name}[:HIDDEN…]" for name in DEFAULT_HIDDEN), "none; :no_u ignores u")
)


class Settings(NamedTuple):
    """What a command line describes.

    Attributes:
      preset: the row of a table that the settings started from.
      config: the network.
      train_config: how it is trained.
      note: where settings came from, if not from the row of that number of labels.
      workdir: the run folder.
      num_seeds: how many runs, with seeds from ``train_config.seed`` up.
      parallel: on which devices, and whether several seeds at once.
      saving: keywords of ``lj.train_and_evaluate`` about checkpoints.
      tensorboard: whether the metrics are written for TensorBoard too.
    """

    preset: lj.presets.Preset
    config: lj.LadderConfig
    train_config: lj.TrainConfig
    note: str
    workdir: str
    num_seeds: int = 1
    parallel: lj.Parallel = lj.Parallel()
    saving: Mapping[str, Any] = MappingProxyType({})
    tensorboard: bool = False


def define(dataset: str, labels: str) -> flags.FlagValues:
    """The flags, with the default number of labels. Others default to the preset's value.

    Args:
      dataset: name of the data set, for its models.
      labels: default of --labels.
    """
    values = flags.FlagValues()
    group = Group(values, "Common")
    models = lj.presets.models(dataset)
    group.string("model", models[0], f"One of: {', '.join(models)}.")
    group.string("labels", labels, "Labelled rows, balanced over the classes, or all.")
    group.integer("seed", 1, "Of weights, noise and the order of rows.")
    group.integer("epochs", None, "Passes over the unlabelled rows.")
    group.integer("num_seeds", 1, "Runs, with seeds from --seed up, for mean and deviation.")
    group.integer("validation", None, "Rows held out of training; then no test is made.")
    group.string("data_dir", None, "Folder with the data (or LADDER_DATA_DIR).")
    group.string("workdir", None, "Run folder (default runs/<data>-<model>-<labels>-seed<seed>).")
    group.switch("dry_run", False, "Print configuration and layers, then exit.")
    group.switch("quiet", False, "Print only the result.")
    _define_network(Group(values, "Network"))
    _define_training(Group(values, "Training and evaluation"))
    _define_running(Group(values, "Devices and run folder"))
    return values


def _define_network(group: Group) -> None:
    group.string("denoising_weights", None, "Cost weight of each layer from the input.")
    group.number("input_noise", None, "Standard deviation of the input noise.")
    group.string("hidden_noise", None, "The same for layers above: one, or one per layer.")
    group.string("combinator", None, f"Denoising function, or one per layer: {_COMBINATORS}.")
    group.string("layers", None, f"From the bottom up, with commas between them: {FORMS}.")
    group.string("activation", None, f"Below the top: {' or '.join(ACTIVATIONS)}.")
    group.switch("top_scale", None, "Whether the top layer has the scale γ.")
    group.string("pool_ties", None, "Equal maxima of a pooling: gradient to all (paper) or first.")


def _define_training(group: Group) -> None:
    group.number("learning_rate", None, "Of Adam, before the decay.")
    group.number("decay_start", None, "Fraction of epochs before the rate decays.")
    group.integer("batch_size", None, "Unlabelled rows in a step.")
    group.integer("labelled_batch_size", None, "Labelled rows in a step.")
    group.string("labelled_order", None, "With all labels: same or independent.")
    group.integer("data_seed", None, "Of the labelled subset and split (default: seed).")
    group.string("statistics", None, "Of the reported error: labelled, unlabelled, running.")
    group.string("prng", None, f"Random numbers: {' or '.join(GENERATORS)} (for TPUs).")
    group.string("matmul_precision", None, f"On accelerators: {', '.join(MATMUL_PRECISIONS)}.")


def _define_running(group: Group) -> None:
    group.string("devices", None, "Number or all (default: 1; several seeds: all).")
    group.string("parallel", "jit", "How several devices share a run: jit or pmap.")
    group.string("seed_mode", "auto", "Several seeds at once (vmap), sequential, or auto.")
    group.switch("distributed", False, "One process of a run on several hosts.")
    group.string("coordinator", None, "host:port of process 0, where it is not found by itself.")
    group.integer("process_id", None, "Number of this process, likewise.")
    group.integer("num_processes", None, "How many there are, likewise.")
    seconds = lj.hosts.HEARTBEAT_SECONDS
    group.integer("heartbeat_seconds", seconds, "Silence after which a process is lost.", 1)
    group.switch("resume", True, "Go on with the run in the work folder; else it is set aside.")
    group.integer("checkpoint_every", lj.CHECKPOINT_EVERY, "Epochs between checkpoints.")
    group.switch("report", True, "Leave pictures and a report in the run folder.")
    group.switch("tensorboard", False, "Metrics for TensorBoard too, in the run folder.")
    group.integer("keep", lj.KEEP, "How many of the newest checkpoints stay.")


def settings(dataset: str, values: flags.FlagValues) -> Settings:
    """The configuration that parsed flags describe.

    Raises:
      LadderError: a value that cannot be used.
    """
    labels = _count("labels", values.labels)
    preset = lj.presets.for_labels(dataset, values.model, labels)
    config = dataclasses.replace(preset.config, **_network(preset, values))
    training = _given(values, _TRAINING) | {"labels": labels}
    train_config = dataclasses.replace(preset.train_config, **training)
    note = "" if preset.labels == labels else f"settings of the {preset.labels}-label row"
    num_seeds = len(with_seeds(train_config, values.num_seeds))
    parallel = lj.Parallel(devices(values.devices), values.parallel, values.seed_mode)
    name = f"{dataset}-{values.model}-{labels}-seed{train_config.seed}"
    name += f"-{train_config.seed + num_seeds - 1}" if num_seeds > 1 else ""
    workdir = values.workdir or os.path.join("runs", name)
    saving = {name: values[name].value for name in ("resume", "checkpoint_every", "keep")}
    for name in ("checkpoint_every", "keep"):
        whole(name, saving[name], 1)
    return Settings(
        preset,
        config,
        train_config,
        note,
        workdir,
        num_seeds,
        parallel,
        saving,
        values.tensorboard,
    )


CLASSES = 10
"""Of each named data set."""

ROWS = PAPER_ROWS | {"digits": 1297}
"""Training rows of each named data set; a user's files may have fewer."""


def check_known(dataset: str, chosen: Settings) -> None:
    """Checks what is known of a data set before it is loaded.

    Raises:
      ConfigError: not a unit for each class, or more rows than there are.
    """
    check_classes(chosen.config, dataset, CLASSES)
    training = chosen.train_config
    check_counts(training.labels, training.validation, CLASSES, ROWS[dataset])


def _network(preset: lj.presets.Preset, values: flags.FlagValues) -> dict[str, Any]:
    """The fields of the network that flags change."""
    network = _given(values, _NETWORK)
    if values.layers is not None:
        network |= _other_layers(preset, values.layers)
    if values.denoising_weights is not None:
        network["denoising_weights"] = numbers("denoising_weights", values.denoising_weights)
    if values.hidden_noise is not None:
        noise = numbers("hidden_noise", values.hidden_noise)
        network["hidden_noise"] = noise[0] if len(noise) == 1 else noise
    if values.combinator is not None:
        names = tuple(word.strip() for word in values.combinator.split(","))
        network["combinator"] = names[0] if len(names) == 1 else names
    return network


def _other_layers(preset: lj.presets.Preset, text: str) -> dict[str, Any]:
    """Other layers in the preset: the λ of its two lowest and of its top, the rest between.

    An image layer at the bottom takes the rows as images, a dense one as the preset does.
    """
    layers = tuple(lj.layers.parse_layer(word) for word in text.replace(",", " ").split())
    low, high, *rest, top = preset.config.denoising_weights
    between = [rest[0] if rest else high] * max(0, len(layers) - 2)
    weights = [low, *[high][: len(layers) - 1], *between, top] if layers else [low]
    network: dict[str, Any] = {"layers": layers, "denoising_weights": tuple(weights)}
    if layers and not layers[0].flattens:
        network["input_shape"] = lj.presets.ROW_SHAPES[preset.dataset]
    return network


def _given(values: flags.FlagValues, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: values[name].value for name in names if values[name].value is not None}


def devices(text: str | None) -> int | str | None:
    """The flag of that name, as ``lj.Parallel`` takes it."""
    return None if text is None else _count("devices", text)


def _count(field: str, text: str) -> int | str:
    if text == "all":
        return text
    try:
        return int(text)
    except ValueError:
        raise lj.ConfigError(field, text, "give a whole number or all") from None


def numbers(field: str, text: str) -> tuple[float, ...]:
    """The numbers in a flag, with commas between them.

    Raises:
      ConfigError: it holds something else.
    """
    try:
        return tuple(float(word) for word in text.replace(",", " ").split())
    except ValueError:
        raise lj.ConfigError(field, text, "give numbers with commas between them") from None
