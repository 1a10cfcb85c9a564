"""Defines the cells of each table, with the published numbers that they are compared with."""

from __future__ import annotations

import dataclasses
import fnmatch
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import ladder_jax as lj
from ladder_jax.errors import choice

OVERRIDES = ("epochs", "validation", "batch_size")
"""Settings that the command line can change in all cells of a table."""

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
    """One number of a table, with the configuration that it belongs to."""

    name: str  # the preset's, with ``/<combinator>`` where that is not the preset's choice
    preset: lj.presets.Preset
    config: lj.LadderConfig
    train_config: lj.TrainConfig  # its seed is not used
    paper: tuple[float, float | None] | None  # mean, deviation (None: one run) in %
    paper_runs: int
    default_runs: int  # of our own
    source: str = ""  # where the number is from, if not from the paper, or how it differs

    @property
    def changes(self) -> dict[str, Any]:
        """Settings that are not the paper's."""
        own, paper = self.train_config, self.preset.train_config
        values = {name: getattr(own, name) for name in OVERRIDES}
        return {name: value for name, value in values.items() if value != getattr(paper, name)}

    def folder(self, seed: int) -> str:
        """Returns the name of the run folder, for a preset that of the training commands."""
        stem = self.preset.name if self.config == self.preset.config else self.name
        stem = re.sub("[/:]", "-", stem)
        return stem + suffix(self.changes) + f"-seed{seed}"


class Table(NamedTuple):
    """A table's heading and a function that returns its cells."""

    title: str
    cells: Callable[[], list[Cell]]


def suffix(changes: dict[str, Any]) -> str:
    """Returns changed settings as a part of a file name."""
    return "".join(f"-{name}{value}" for name, value in changes.items())


def preset_cell(preset: lj.presets.Preset) -> Cell:
    """Returns the cell of a preset."""
    runs = _paper_runs(preset)
    config, train_config = preset.config, preset.train_config
    error = preset.paper_error
    source = _DROPOUT if preset.dataset == "cifar10" and preset.model == "baseline" else ""
    return Cell(preset.name, preset, config, train_config, error, runs, runs, source)


def _paper_runs(preset: lj.presets.Preset) -> int:
    """Returns the number of runs behind the paper's number."""
    if preset.paper_error and preset.paper_error[1] is None:
        return 1
    if preset.dataset == "cifar10":
        return 4
    # Section 4.1: 40 instead of 10, since some runs with 100 labels fail to converge.
    return 40 if _table_of(preset) == "1" and preset.labels == 100 else 10


def _table_of(preset: lj.presets.Preset) -> str | None:
    """Returns the key in ``TABLES`` of the table that has the preset, or None."""
    if preset.dataset == "mnist":
        return "2" if preset.model.startswith("conv_") else "1"
    return "3" if preset.dataset == "cifar10" else None


def _preset_cells(table: str) -> list[Cell]:
    """Returns the cells of the presets that belong to a table."""
    presets = map(lj.presets.get, lj.presets.names())
    return [preset_cell(preset) for preset in presets if _table_of(preset) == table]


def _combinator_cell(name: str) -> Cell:
    """Returns the cell of the full ladder with that combinator."""
    preset = lj.presets.get("mnist-ladder-100")
    config = dataclasses.replace(preset.config, combinator=name)
    paper, runs, source = None, 0, ""
    if config == preset.config:
        paper, runs = preset.paper_error, _paper_runs(preset)
    elif name in _PEZESHKI:
        paper, runs, source = _PEZESHKI[name], 10, "Pezeshki et al. 2016"
    full_name = f"{preset.name}/{name}"
    return Cell(full_name, preset, config, preset.train_config, paper, runs, 10, source)


TABLES = {
    "1": Table("Table 1: permutation-invariant MNIST", lambda: _preset_cells("1")),
    "2": Table("Table 2: MNIST, convolutional networks", lambda: _preset_cells("2")),
    "3": Table("Table 3: CIFAR-10 without augmentation", lambda: _preset_cells("3")),
    "combinators": Table(
        "Denoising functions: MNIST, full ladder, 100 labels",
        lambda: [_combinator_cell(name) for name in COMBINATORS],
    ),
}


def get_table(name: str | None) -> Table:
    """Returns the table of that name."""
    return TABLES[choice("table", name or "", TABLES)]


def with_changes(cells: list[Cell], changes: dict[str, Any]) -> list[Cell]:
    """Returns the cells with some settings of training changed."""
    return [
        dataclasses.replace(cell, train_config=dataclasses.replace(cell.train_config, **changes))
        for cell in cells
    ]


def select(cells: list[Cell], text: str | None) -> list[Cell]:
    """Returns the cells that match a list of names and patterns with commas between them."""
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
    """Parses seeds such as ``1-10``, ``1,2,5`` or ``3``, which is a single seed."""
    seeds: list[int] = []
    for word in text.replace(",", " ").split() or [""]:
        match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", word, re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last < first + 10_000:
            problem = "give seeds like 1-10 or 1,2,5 (one number is that one seed)"
            raise lj.ConfigError("seeds", text, problem)
        seeds += range(first, last + 1)
    return tuple(dict.fromkeys(seeds))
