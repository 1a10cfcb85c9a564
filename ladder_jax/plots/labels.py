"""Draws the error against the number of labelled rows, beside the paper's."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from ladder_jax import presets
from ladder_jax.errors import RunError
from ladder_jax.plots.style import (
    PAPER,
    Figure,
    add_axes,
    dress,
    legend,
    new_figure,
    style_of,
    texts,
    without_seeds,
)
from ladder_jax.storage import read_run as run_files
from ladder_jax.storage.files import UNREADABLE, Json
from ladder_jax.storage.ledger import Ledger
from ladder_jax.storage.read_run import PAPER_ROWS, Folder, Run, changed, kind_of


class NothingToDrawError(RunError):
    """No run is finished, or all have the same number of labels."""


class Point(NamedTuple):
    """The error of a finished run in per cent."""

    series: str
    model: tuple[str, str]  # data set and the nearest model of the presets
    labels: int
    error: float
    held_out: bool  # the error is on validation rows


def error_against_labels(runs: Iterable[Folder] = (), ledger: Folder | None = None) -> Figure:
    """Draws the error against the number of labelled rows, beside the paper's.

    Each run is a dot; each model has its mean and standard deviation (n − 1) over seeds. If a
    ledger has runs with the settings of a preset, only these are taken from it.

    Args:
      runs: run folders; those that are not finished are ignored.
      ledger: file with a line for each run, such as results/ledger.jsonl.

    Raises:
      RunError: a folder or the ledger is absent or damaged, no run is finished, or all have the
        same number of labels.
    """
    if ledger and not Path(ledger).is_file():
        raise RunError(f"{ledger}: no such ledger")
    points = points_of(run_files.read_runs(runs), Ledger(ledger).lines() if ledger else ())
    if not points:
        raise NothingToDrawError("no run is finished and has an error")
    if len({point.labels for point in points}) == 1 and not ledger:
        raise NothingToDrawError("all runs have the same number of labels")
    figure = new_figure(5.2, "Error against the number of labels, mean ± std over seeds")
    axes = add_axes(figure, 1, 1, 0)
    series = dict.fromkeys((point.series, point.model) for point in points)
    step = min(1.05, 1.21 ** (1 / len(series)))  # whiskers side by side, within 10 %
    known: set[tuple[str, str]] = set()
    for at, (name, model) in enumerate(series):
        shift, style = step ** (at - (len(series) - 1) / 2), style_of(at)
        _draw_series(axes, [own for own in points if own.series == name], style, shift)
        if model not in known and (rows := _paper(*model)):
            style |= {"linestyle": "none", "markerfacecolor": "white", "elinewidth": 0.8}
            _draw(axes, rows, shift * step**0.5, **style)
        known.add(model)
    labels = {labels for model in known for labels, _, _ in _paper(*model)}
    if labels:
        axes.plot([], [], "o", color="#888888", markerfacecolor="white", label=PAPER)
    _dress(axes, points, sorted(labels | {point.labels for point in points}))
    legend(figure)
    return figure


def _draw_series(axes: Any, points: list[Point], style: dict[str, Any], shift: float) -> None:
    """Draws mean and standard deviation of a series, and a dot for each run."""
    found: dict[int, list[float]] = {}
    for point in points:
        found.setdefault(point.labels, []).append(point.error)
    rows = [(n, fmean(own), stdev(own) if len(own) > 1 else 0) for n, own in sorted(found.items())]
    label = f"{points[0].series} ({len(points)} {'runs' if len(points) > 1 else 'run'})"
    _draw(axes, rows, shift, label=label, **style)
    dots = [(labels * shift, error) for labels, own in sorted(found.items()) for error in own]
    axes.plot(*zip(*dots, strict=True), ".", color=style["color"], alpha=0.5, markersize=4)


def _draw(axes: Any, rows: list[tuple[int, float, float]], shift: float, **style: Any) -> None:
    """Draws means with whiskers, none of which ends at 0 on a logarithmic axis."""
    labels, means, spread = zip(*rows, strict=True)
    down = [min(own, 0.9 * mean) for own, mean in zip(spread, means, strict=True)]
    axes.errorbar([own * shift for own in labels], means, [down, spread], capsize=3, **style)


def _paper(dataset: str, model: str) -> list[tuple[int, float, float]]:
    """Returns labels, mean and standard deviation (0 for a single run) of the paper's rows."""
    rows = (own for own in presets.PRESETS.values() if (own.dataset, own.model) == (dataset, model))
    return [
        (PAPER_ROWS[dataset] if row.labels == "all" else int(row.labels), mean, deviation or 0)
        for row in rows
        for mean, deviation in ([row.paper_error] if row.paper_error else ())
    ]


def _dress(axes: Any, points: list[Point], labels: list[int]) -> None:
    """Labels the axes, with ticks at the numbers of labels."""
    y = "error on held-out rows (%)" if points[0].held_out else "test error (%)"
    if len({point.held_out for point in points}) > 1:
        y = "error (%), on test rows or, with validation, on held-out rows"
    dress(axes, "labelled rows", y, log=min(point.error for point in points) > 0)
    axes.set_xscale("log")
    ticks: list[int] = []
    for own in labels:
        ticks += [own] if not ticks or own > 1.4 * ticks[-1] else []
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_xticks([], minor=True)


def points_of(runs: Iterable[Run], lines: Iterable[Json] = ()) -> list[Point]:
    """Returns the errors of finished runs and of ledger lines, once each."""
    of_ledger, first = [], dict[str, Run]()
    for line in lines:
        with suppress(RunError, *UNREADABLE):  # of another version
            run, result = run_files.parse_run(Path(), line["config"]), {"runs": [line]}
            of_ledger.append(dataclasses.replace(run, result=run_files.parse_result(result)))
    of_ledger = [run for run in of_ledger if not run.data.get("split")]  # of how many labels?
    own_settings = [run for run in of_ledger if ", " not in _series(run, first)[0]]
    finished = [run for run in (*runs, *(own_settings or of_ledger)) if run.runs]
    datasets = {run.data["name"] for run in finished}
    found: dict[Any, Point] = {}
    for run, entry in ((own, entry) for own in finished for entry in own.runs):
        errors = entry.get(f"{run.part}_error_percent")
        name, seed = run.data["name"], entry["seed"]
        labels = run.label_count(seed)
        if not errors or labels is None:  # it diverged, or its folder has lost a file
            continue
        series, model = _series(run, first)
        series = f"{name} {series}" if len(datasets) > 1 else series
        error, held_out = float(errors[run.train_config.statistics]), run.part == "validation"
        key = (without_seeds(run), seed, run.split_seed(seed))
        found.setdefault(key, Point(series, (name, model), labels, error, held_out))
    return list(found.values())


def _series(run: Run, first: dict[str, Run]) -> tuple[str, str]:
    """Returns the nearest preset model with the settings that differ, and that model alone."""
    name, labels, words = run.data["name"], run.train_config.labels, texts(run)
    rows: dict[str, presets.Preset | Run] = {
        model: presets.for_labels(name, model, labels) for model in presets.models(name)
    }
    # Data without presets: compare with the first run.
    rows = rows or {kind_of(run.config): first.setdefault(name, run)}
    changes = {
        model: [n for n in changed(run.config, run.train_config, row) if n != "labels"]
        for model, row in rows.items()
    }
    model = min(changes, key=lambda model: len(changes[model]))
    return ", ".join([model, *(words[name] for name in changes[model])]), model
