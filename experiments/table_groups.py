"""Missing runs of a cell that one program trains together, where the devices are made for that."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator

from cli import console
from cli.flags import Settings
from paper_tables.cells import Cell
from paper_tables.results import Line

import ladder_jax as lj
from ladder_jax.identity import run_config

Run = tuple[Cell, int]
"""A cell and a seed."""


def group(runs: list[Run], parallel: lj.Parallel, most: int) -> Iterator[list[Run]]:
    """Runs of one cell with consecutive seeds, two to ``most`` of them; none on a CPU.

    Args:
      runs: those that are missing.
      parallel: how seeds are trained.
      most: of a program's memory.
    """
    cells: dict[str, list[Run]] = {}
    for run in runs:
        cells.setdefault(run[0].name, []).append(run)
    for own in cells.values():
        own.sort(key=lambda run: run[1])
        numbered = itertools.groupby(enumerate(own), key=lambda item: item[1][1] - item[0])
        for _, consecutive in numbered:
            found = [run for _, run in consecutive]
            for start in range(0, len(found), most):
                together = found[start : start + most]
                if parallel.seeds_at_once(len(together)):
                    yield together


def settings(runs: list[Run], workdir: str, parallel: lj.Parallel) -> Settings:
    """A group as the training commands describe it."""
    (cell, first), (_, last) = runs[0], runs[-1]
    folder = os.path.join(workdir, f"{cell.folder(first)}-{last}")
    own = cell.settings(first)
    return Settings(cell.preset, cell.config, own, "", folder, len(runs), parallel)


def make(
    runs: list[Run],
    chosen: Settings,
    load: Callable[[str], lj.Dataset],
    line: Callable[[Run, dict, float], Line],
    quiet: bool,
) -> list[Line]:
    """The ledger's lines of a group: finished before, or trained now.

    Args:
      runs: the group.
      chosen: as from ``settings``.
      load: gives a data set by name.
      line: makes a line of a run, the content of its result.json and when it was finished.
      quiet: print no progress.

    Raises:
      RunError: the run folder cannot be used.
      DivergedError: all of them diverged.
    """
    data = load(chosen.preset.dataset)
    summary = lj.finished_summary(
        chosen.workdir, chosen.config, chosen.train_config, chosen.num_seeds
    )
    if summary is None:
        summary = console.train(chosen, data, quiet=quiet).summary
    finished = time.time()
    own_share = round(summary["wall_seconds"] / len(runs), 1)
    return [
        # Each is written as the run of its own that it is.
        line(
            run,
            summary
            | {"config": run_config(run[0].config, run[0].settings(run[1]), data)}
            | {"wall_seconds": own_share},
            finished,
        )
        for run in runs
    ]
