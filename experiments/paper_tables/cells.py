"""The cells of each table: a configuration, and the published number it is compared with."""

from __future__ import annotations

import dataclasses
import fnmatch
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import ladder_jax as lj

OVERRIDES = ("epochs", "validation", "batch_size")
"""Settings that a command line may change in all cells of a table."""

COMBINATORS = (
    "gaussian",
    "gaussian_stable_v",
    "vanilla",
    "no_cross",
    "no_sigmoid",
    "additive",
    "linear",
    "mlp:4",
    "augmented_mlp:2:2:2",
    "gaussian:no_u",
)
"""The denoising functions that the table of combinators compares."""

# Pezeshki et al. 2016: mean and standard error over 10 runs.
_PEZESHKI = {"augmented_mlp:2:2:2": (1.002, 0.038 * math.sqrt(10))}

# Section 4.2: "closer to the original ConvPool-CNN-C in the sense that dropout …".
_DROPOUT = "the paper's baseline has dropout where ours has noise"


@dataclass(frozen=True)
class Cell:
    """One number of a table.

    Attributes:
      name: a preset's name, with ``/<combinator>`` where that is not the preset's choice.
      preset: the row of the paper's tables it started from.
      config: the network.
      train_config: how it is trained; the seed there stands for nothing.
      paper: mean and standard deviation of the published error in per cent, None where
        there is none; the deviation is None where it was one run.
      paper_runs: number of runs behind it.
      default_runs: how many runs of ours the table has room for.
      source: where the number is from, if not from the paper, or how it differs.
    """

    name: str
    preset: lj.presets.Preset
    config: lj.LadderConfig
    train_config: lj.TrainConfig
    paper: tuple[float, float | None] | None
    paper_runs: int
    default_runs: int
    source: str = ""

    def settings(self, seed: int) -> lj.TrainConfig:
        """How the run of that seed is trained."""
        return dataclasses.replace(self.train_config, seed=seed)

    @property
    def changes(self) -> dict[str, Any]:
        """Settings that are not the paper's."""
        own, paper = self.train_config, self.preset.train_config
        values = {name: getattr(own, name) for name in OVERRIDES}
        return {name: value for name, value in values.items() if value != getattr(paper, name)}

    def folder(self, seed: int) -> str:
        """Name of the run folder; for a preset's own settings that of the training commands."""
        stem = self.preset.name if self.config == self.preset.config else self.name
        stem = re.sub("[/:]", "-", stem)
        return stem + suffix(self.changes) + f"-seed{seed}"


class Table(NamedTuple):
    """A table's heading and a function that gives its cells."""

    title: str
    cells: Callable[[], list[Cell]]


def suffix(changes: dict[str, Any]) -> str:
    """Changed settings as a part of a file name."""
    return "".join(f"-{name}{value}" for name, value in changes.items())


def preset_cell(preset: lj.presets.Preset) -> Cell:
    """The cell of a preset."""
    runs = _paper_runs(preset)
    config, train_config = preset.config, preset.train_config
    error = preset.paper_error
    source = _DROPOUT if _is_cifar(preset) and preset.model == "baseline" else ""
    return Cell(preset.name, preset, config, train_config, error, runs, runs, source)


def _paper_runs(preset: lj.presets.Preset) -> int:
    if preset.paper_error and preset.paper_error[1] is None:
        return 1
    if preset.dataset == "cifar10":
        return 4
    # Section 4.1: 40 instead of 10, since some runs with 100 labels fail to converge.
    return 40 if _is_mlp(preset) and preset.labels == 100 else 10


def _is_mlp(preset: lj.presets.Preset) -> bool:
    return preset.dataset == "mnist" and not preset.model.startswith("conv_")


def _is_conv(preset: lj.presets.Preset) -> bool:
    return preset.dataset == "mnist" and preset.model.startswith("conv_")


def _is_cifar(preset: lj.presets.Preset) -> bool:
    return preset.dataset == "cifar10"


def _preset_cells(belongs: Callable[[lj.presets.Preset], bool]) -> list[Cell]:
    return [preset_cell(p) for p in map(lj.presets.get, lj.presets.names()) if belongs(p)]


def _combinator_cell(name: str) -> Cell:
    preset = lj.presets.get("mnist-ladder-100")
    config = dataclasses.replace(preset.config, combinator=name)
    paper, runs, source = None, 0, ""
    if config == preset.config:
        paper, runs = preset.paper_error, _paper_runs(preset)
    elif name in _PEZESHKI:
        paper, runs, source = _PEZESHKI[name], 10, "Pezeshki et al. 2016"
    full_name = f"{preset.name}/{name}"
    return Cell(full_name, preset, config, preset.train_config, paper, runs, 10, source)


def combinator_cells() -> list[Cell]:
    """The full ladder with 100 labels, with each of ``COMBINATORS``."""
    return [_combinator_cell(name) for name in COMBINATORS]


TABLES = {
    "1": Table("Table 1: permutation-invariant MNIST", lambda: _preset_cells(_is_mlp)),
    "2": Table("Table 2: MNIST, convolutional networks", lambda: _preset_cells(_is_conv)),
    "3": Table("Table 3: CIFAR-10 without augmentation", lambda: _preset_cells(_is_cifar)),
    "combinators": Table("Denoising functions: MNIST, full ladder, 100 labels", combinator_cells),
}


def get_table(name: str | None) -> Table:
    """The table of that name."""
    if name not in TABLES:
        raise lj.ConfigError("table", name or "", f"choose one of: {', '.join(TABLES)}")
    return TABLES[name]


def with_changes(cells: list[Cell], changes: dict[str, Any]) -> list[Cell]:
    """The cells with some settings of training changed."""
    return [
        dataclasses.replace(cell, train_config=dataclasses.replace(cell.train_config, **changes))
        for cell in cells
    ]


def select(cells: list[Cell], text: str | None) -> list[Cell]:
    """The cells that a list of names and patterns with commas between them means."""
    if text is None:
        return cells
    wanted: set[str] = set()
    for pattern in text.replace(",", " ").split() or [""]:
        found = fnmatch.filter((cell.name for cell in cells), pattern)
        if not found:
            names = ", ".join(cell.name for cell in cells)
            raise lj.ConfigError("cells", pattern, f"is no cell of this table; it has: {names}")
        wanted |= set(found)
    return [cell for cell in cells if cell.name in wanted]


def parse_seeds(text: str) -> tuple[int, ...]:
    """Seeds from ``1-10``, ``1,2,5`` or ``3``, which is that one seed."""
    seeds: list[int] = []
    for word in text.replace(",", " ").split() or [""]:
        match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", word, re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last < first + 10_000:
            problem = "give seeds like 1-10 or 1,2,5 (one number is that one seed)"
            raise lj.ConfigError("seeds", text, problem)
        seeds += range(first, last + 1)
    return tuple(dict.fromkeys(seeds))
