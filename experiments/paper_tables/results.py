"""Assigns lines of the ledger to cells and computes their statistics."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from dataclasses import dataclass
from typing import Any

import ladder_jax as lj
from ladder_jax.config import STATISTICS
from paper_tables.cells import Cell

LIMIT = 2.0
"""Per cent; about 5 % of the paper's runs on MNIST with 100 labels end above it."""

Line = dict[str, Any]


def identity(cell: Cell) -> str:
    """Returns everything but the seed that identifies a cell's runs."""
    return _identity(cell.preset.dataset, cell.config, cell.train_config)


def _identity(dataset: str, config: lj.LadderConfig, train_config: lj.TrainConfig) -> str:
    """Returns settings as text, without the seeds."""
    training = dataclasses.replace(train_config, seed=0, data_seed=None)
    return json.dumps([dataset, config.to_json(), training.to_json()], sort_keys=True)


def run_of(line: Line) -> tuple[str, int] | None:
    """Returns identity and seed of a line's run, or None if it cannot belong to a cell."""
    try:
        config = lj.LadderConfig.from_json(line["config"]["model"])
        train_config = lj.TrainConfig.from_json(line["config"]["training"])
        dataset = line["config"]["data"]["name"]
    except (lj.ConfigError, KeyError, TypeError, AttributeError):
        return None  # this version of the library does not know the configuration
    if train_config.split_seed != train_config.seed:
        return None  # a data seed was given separately
    return _identity(dataset, config, train_config), train_config.seed


@dataclass(frozen=True)
class Row:
    """A cell with its runs."""

    cell: Cell
    lines: dict[int, Line]  # by seed

    @property
    def diverged(self) -> dict[int, str]:
        """Maps the seeds of runs without an error to the reason."""
        return {seed: line["reason"] for seed, line in self.lines.items() if line.get("reason")}

    @property
    def runs(self) -> int:
        """Number of runs that have an error."""
        return len(self.errors())

    def errors(self, kind: str = STATISTICS[0]) -> list[float]:
        """Returns errors in per cent by one kind of statistics, on validation rows if any."""
        part = "validation" if self.cell.train_config.validation else "test"
        found = [line.get(f"{part}_error_percent") for line in self.lines.values()]
        return [errors[kind] for errors in found if errors]

    def mean(self, kind: str = STATISTICS[0]) -> float | None:
        """Returns the mean error, or None without runs."""
        errors = self.errors(kind)
        return statistics.fmean(errors) if errors else None

    @property
    def std(self) -> float | None:
        """Standard deviation over runs (n − 1), or None for fewer than two."""
        return statistics.stdev(self.errors()) if self.runs > 1 else None

    @property
    def share_above(self) -> float | None:
        """Per cent of the runs above ``LIMIT``, or None where it has no meaning."""
        if self.cell.preset.dataset != "mnist" or not self.runs:
            return None
        return 100 * sum(error > LIMIT for error in self.errors()) / self.runs

    @property
    def standard_errors(self) -> float | None:
        """(ours − paper)/√(s²/n + s_paper²/n_paper), or None if a deviation is missing."""
        paper, ours = self.cell.paper, self.mean()
        if paper is None or paper[1] is None or ours is None or self.std is None:
            return None
        error = math.sqrt(self.std**2 / self.runs + paper[1] ** 2 / self.cell.paper_runs)
        return (ours - paper[0]) / error if error else None


def make_rows(cells: list[Cell], lines: list[Line]) -> list[Row]:
    """Returns every cell with its runs, the first line of each seed."""
    found: dict[str, dict[int, Line]] = {}
    for line in lines:
        if run := run_of(line):
            found.setdefault(run[0], {}).setdefault(run[1], line)
    return [Row(cell, dict(sorted(found.get(identity(cell), {}).items()))) for cell in cells]
