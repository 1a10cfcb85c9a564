"""Defines the training commands' flags; run as a script, it updates README's table of them."""

from __future__ import annotations

import dataclasses
import html
import os
import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from absl import flags

import ladder_jax as lj
from ladder_jax.config import SETTINGS
from ladder_jax.data.split import check_classes, check_counts
from ladder_jax.errors import whole
from ladder_jax.train.plan import with_seeds

_WIDTH, _COLUMN = 80, 27


_DEFINE: dict[type, Callable[..., Any]] = {
    bool: flags.DEFINE_boolean,
    float: flags.DEFINE_float,
    int: flags.DEFINE_integer,
    list: flags.DEFINE_list,
    str: flags.DEFINE_string,
}
_KINDS = {"bool": bool, "float": float, "int": int}  # by the type of a field, in words


class Group:
    """Defines flags under a heading; groups appear in the order of their first flag."""

    def __init__(self, values: flags.FlagValues, heading: str):
        self._where: dict[str, Any] = {"flag_values": values, "module_name": heading}

    def flag(self, kind: type, name: str, default: Any, about: str, **more: Any) -> None:
        """Defines a flag with a value of that kind; a list is words with commas between them."""
        _DEFINE[kind](name, default, about, **more, **self._where)

    def settings(self, *names: str, default: Any = None) -> None:
        """Defines the flags of fields of ``LadderConfig`` or ``TrainConfig``."""
        for field in map(SETTINGS.__getitem__, names):
            # A field of any other type is text that ``given`` parses.
            kind = _KINDS.get(field.type.removesuffix(" | None"), str)
            about = field.metadata["help"]
            self.flag(kind, field.name, default, about[0].upper() + about[1:])


def help_text(values: flags.FlagValues) -> str:
    """Returns all flags, group by group, as --help shows them."""
    groups = values.flags_by_module_dict()
    alone = len(groups) == 1
    blocks = []
    for heading, own in groups.items():
        lines = ["Flags:" if alone else f"{heading}:"]
        lines += [line for flag in own for line in _lines(*_described(flag))]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def markdown(values: flags.FlagValues) -> str:
    """Returns all flags as a Markdown table."""
    lines = ["| flag | meaning |", "|---|---|"]
    for heading, own in values.flags_by_module_dict().items():
        lines.append(f"| **{heading}** | |")
        for name, about in map(_described, own):
            lines.append(f"| `{name}` | {html.escape(about, quote=False)} |")
    return "\n".join(lines) + "\n"


def _described(flag: flags.Flag) -> tuple[str, str]:
    """Returns how a flag is written, and what it means with its default."""
    name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
    about = flag.help.rstrip(".")
    if flag.default not in (None, False, "", []) and "default" not in about:
        default = ",".join(flag.default) if isinstance(flag.default, list) else flag.default
        about += " (default on)" if flag.default is True else f" (default {default})"
    return name, about


def _lines(name: str, about: str) -> list[str]:
    """Returns a flag's wrapped lines of --help."""
    found = textwrap.wrap(about, _WIDTH - _COLUMN, break_on_hyphens=False) or [""]
    first = f"  {name}".ljust(_COLUMN)
    if len(first) > _COLUMN:
        return [first, *(" " * _COLUMN + line for line in found)]
    return [first + found[0], *(" " * _COLUMN + line for line in found[1:])]


# Each of these flags is a field of ``ladder_jax.config``, which has its check and its help. Without
# the flag the preset's value is used. In --help these come first, then the rest of the group.
_MODEL = ("denoising_weights", "input_noise", "hidden_noise", "combinator", "layers", "activation")
_TRAINING = ("learning_rate", "decay_start", "batch_size", "labelled_batch_size", "labelled_order")

# The first follows from the data; the second is the estimator's way to have epochs of equal length.
_WITHOUT_FLAG = ("input_shape", "steps_per_epoch")


class Settings(NamedTuple):
    """The configuration that a command line describes."""

    preset: lj.presets.Preset  # the row of a table that the settings started from
    config: lj.LadderConfig
    train_config: lj.TrainConfig
    note: str  # where settings are from, if the row has another number of labels
    workdir: str
    num_seeds: int = 1  # seeds from ``train_config.seed`` up
    parallel: lj.Parallel = lj.Parallel()
    saving: Mapping[str, Any] = MappingProxyType({})  # keywords about checkpoints
    tensorboard: bool = False

    def finished(self) -> dict[str, Any] | None:
        """Returns the content of result.json if the run was finished before."""
        return lj.finished_summary(self.workdir, self.config, self.train_config, self.num_seeds)


def define(dataset: str, labels: str) -> flags.FlagValues:
    """Defines the flags for a data set; flags without a default take the preset's value."""
    values = flags.FlagValues()
    group = Group(values, "Common")
    models = lj.presets.models(dataset)
    group.flag(str, "model", models[0], f"One of: {', '.join(models)}.")
    group.settings("labels", default=labels)
    group.settings("seed", default=lj.TrainConfig.seed)
    group.settings("epochs")
    group.flag(int, "num_seeds", 1, "Runs, with seeds from --seed up, for mean and deviation.")
    group.settings("validation")
    group.flag(str, "data_dir", None, "Folder with the data (or LADDER_DATA_DIR).")
    group.flag(
        str, "workdir", None, "Run folder (default runs/<data>-<model>-<labels>-seed<seed>)."
    )
    group.flag(bool, "dry_run", False, "Print configuration and layers, then exit.")
    group.flag(bool, "quiet", False, "Print only the result.")
    for kind, heading, first in (
        (lj.LadderConfig, "Network", _MODEL),
        (lj.TrainConfig, "Training and evaluation", _TRAINING),
    ):
        taken = {*values, *first, *_WITHOUT_FLAG}
        others = [field.name for field in dataclasses.fields(kind) if field.name not in taken]
        Group(values, heading).settings(*first, *others)
    group = Group(values, "Devices and run folder")
    group.flag(str, "devices", None, "Number or all (default: 1; several seeds: all).")
    group.flag(str, "parallel", "jit", "How several devices share a run: jit or pmap.")
    group.flag(str, "seed_mode", "auto", "Several seeds at once (vmap), sequential, or auto.")
    group.flag(bool, "distributed", False, "One process of a run on several hosts.")
    group.flag(str, "coordinator", None, "host:port of process 0, where it is not found by itself.")
    group.flag(int, "process_id", None, "Number of this process, likewise.")
    group.flag(int, "num_processes", None, "How many there are, likewise.")
    seconds = lj.hosts.HEARTBEAT_SECONDS
    group.flag(
        int, "heartbeat_seconds", seconds, "Silence after which a process is lost.", lower_bound=1
    )
    group.flag(bool, "resume", True, "Go on with the run in the work folder; else it is set aside.")
    group.flag(int, "checkpoint_every", lj.CHECKPOINT_EVERY, "Epochs between checkpoints.")
    group.flag(bool, "report", True, "Leave pictures and a report in the run folder.")
    group.flag(bool, "tensorboard", False, "Metrics for TensorBoard too, in the run folder.")
    group.flag(int, "keep", lj.KEEP, "How many of the newest checkpoints stay.")
    return values


def settings(dataset: str, values: flags.FlagValues) -> Settings:
    """Returns the configuration that parsed flags describe."""
    labels = _count("labels", values.labels)
    preset = lj.presets.for_labels(dataset, values.model, labels)
    network = given(values, [field.name for field in dataclasses.fields(lj.LadderConfig)])
    if "layers" in network:
        network = _other_layers(preset, network.pop("layers")) | network
    config = dataclasses.replace(preset.config, **network)
    training = given(values, [field.name for field in dataclasses.fields(lj.TrainConfig)])
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
    # These facts are known before the data are loaded.
    facts = lj.presets.DATASETS[dataset]
    check_classes(config, dataset, facts.classes)
    check_counts(train_config.labels, train_config.validation, facts.classes, facts.rows)
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


def _other_layers(preset: lj.presets.Preset, text: str) -> dict[str, Any]:
    """Returns other layers for a preset, with its λ for the two lowest, the top and the rest."""
    # An image layer at the bottom takes the rows as images, a dense one as the preset does.
    layers = tuple(lj.layers.parse_layer(word) for word in text.replace(",", " ").split())
    low, high, *rest, top = preset.config.denoising_weights
    between = [rest[0] if rest else high] * max(0, len(layers) - 2)
    weights = [low, *[high][: len(layers) - 1], *between, top] if layers else [low]
    network: dict[str, Any] = {"layers": layers, "denoising_weights": tuple(weights)}
    if layers and not layers[0].flattens:
        network["input_shape"] = lj.presets.DATASETS[preset.dataset].shape
    return network


def given(values: flags.FlagValues, names: Iterable[str]) -> dict[str, Any]:
    """Returns the settings among ``names`` that have a flag and were set, as parsed values."""
    found = {name: values[name].value for name in names if name in values}
    return {
        name: _PARSERS[name](name, value) if name in _PARSERS else value
        for name, value in found.items()
        if value is not None
    }


def devices(text: str | None) -> int | str | None:
    """Returns the value of the flag --devices, as ``lj.Parallel`` takes it."""
    return None if text is None else _count("devices", text)


def _count(field: str, text: str) -> int | str:
    """Parses an integer or "all"."""
    if text == "all":
        return text
    try:
        return int(text)
    except ValueError:
        raise lj.ConfigError(field, text, "give a whole number or all") from None


def _numbers(field: str, text: str) -> tuple[float, ...]:
    """Parses numbers with commas or spaces between them."""
    try:
        return tuple(float(word) for word in text.replace(",", " ").split())
    except ValueError:
        raise lj.ConfigError(field, text, "give numbers with commas between them") from None


def _one_or_more(values: tuple[Any, ...]) -> Any:
    """Returns a single value instead of a tuple of one."""
    return values[0] if len(values) == 1 else values


# Parsers of the flags that take more than a word or a number.
_PARSERS: dict[str, Callable[[str, str], Any]] = {
    "labels": _count,
    "denoising_weights": _numbers,
    "hidden_noise": lambda field, text: _one_or_more(_numbers(field, text)),
    "combinator": lambda _, text: _one_or_more(tuple(map(str.strip, text.split(",")))),
}


def with_table(readme: str) -> str:
    """Returns README's text with an updated table of flags."""
    before, start, rest = readme.partition("<!-- flags -->\n")
    _, end, after = rest.partition("<!-- end of flags -->\n")
    return before + start + markdown(define("mnist", "100")) + end + after


if __name__ == "__main__":
    path = Path(__file__).parents[2] / "README.md"
    path.write_text(with_table(path.read_text()))
