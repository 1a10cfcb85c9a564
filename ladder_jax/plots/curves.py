"""Draws metrics.jsonl, groups runs by seeds, and decides which pictures a run has."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ladder_jax.data import Dataset
from ladder_jax.errors import RunError
from ladder_jax.plots import style as plot_style
from ladder_jax.plots.style import Array, Figure, texts, without_seeds
from ladder_jax.storage.files import Json
from ladder_jax.storage.read_run import Folder, Run, kind_of, read_run, read_runs
from ladder_jax.storage.run_folder import WEIGHTS

NO_DATA = "the data are needed"
"""The reason of ``why_not`` for pictures of rows if nothing but the data is missing."""


def why_not(picture: str, run: Run, data: Dataset | None = None) -> str:
    """Returns why a run has no such picture, as the end of a sentence, or an empty string."""
    decoded, held_out = run.config.decoder_layers, run.train_config.validation
    of_metrics = picture in ("learning_curves", "denoising_costs")
    of_classes, of_input = picture in ("confusion", "mistakes"), picture == "reconstructions"
    of_rows, tested = of_classes or of_input, held_out or data is None or data.x_test is not None
    reasons = {
        "no epoch is finished yet": of_metrics and not run.metrics,
        "the run is not finished": not of_metrics and not (run.path / WEIGHTS).exists(),
        "a baseline has no decoder": not (decoded or of_classes or picture == "learning_curves"),
        "the input is not reconstructed": of_input and 0 not in decoded,
        NO_DATA: of_rows and data is None,
        "the rows held out were the caller's own": of_rows and held_out and "split" in run.data,
        "the data have no test rows": of_classes and not tested,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def open_run(picture: str, run: Folder, data: Dataset | None = None) -> Run:
    """Reads a run and raises ``RunError`` if it has no such picture."""
    known = read_run(run)
    if reason := why_not(picture, known, data):
        raise RunError(f"{known.path}: {reason}")
    return known


class Group(NamedTuple):
    """Runs that differ only in their seed."""

    label: str  # how the group differs from others
    run: Run
    seeds: list[list[Json]]  # the metrics of each seed


def groups_of(picture: str, runs: Folder | Iterable[Folder]) -> list[Group]:
    """Groups the runs that have such a picture by configuration; ``RunError`` if none has it."""
    found: dict[str, list[Run]] = {}
    known = read_runs(runs)
    if not known:
        raise RunError("no run is given")
    able = [run for run in known if not why_not(picture, run)]
    for run in able or [open_run(picture, run.path) for run in known]:
        found.setdefault(without_seeds(run), []).append(run)
    first = [own[0] for own in found.values()]
    settings, kinds = [texts(run) for run in first], [kind_of(run.config) for run in first]
    if len(set(kinds)) == len(kinds):  # says more than λ
        for own, kind in zip(settings, kinds, strict=True):
            own["denoising_weights"] = kind
    differing = [name for name in settings[0] if len({own[name] for own in settings}) > 1]
    labels = [", ".join(own[name] for name in differing) for own in settings]
    if len(first) == 1:
        labels = [f"{first[0].data['name']} {kinds[0]}, {_labels(first[0])} labels"]
    elif max(map(len, labels)) > 45 or len(set(labels)) < len(labels):
        labels = _names([run.path for run in first])
    lines = map(_metrics_of, found.values())
    return [Group(*own) for own in zip(labels, first, lines, strict=True)]


def _labels(run: Run) -> int | str:
    """Returns the number of labels as a legend shows it."""
    # For the caller's own split, "all" would not say how many.
    known = run.label_count(run.train_config.seed) if run.data.get("split") else None
    return run.train_config.labels if known is None else known


def _names(paths: Iterable[Path]) -> list[str]:
    """Returns for each folder the shortest end of its path that no other folder has."""
    parts = [path.resolve().parts for path in paths]
    return [
        next(
            "/".join(own[-size:])
            for size in range(1, len(own) + 1)
            if sum(other[-size:] == own[-size:] for other in parts) == 1
        )
        for own in parts
    ]


def _metrics_of(runs: Sequence[Run]) -> list[list[Json]]:
    """Returns the metrics of each seed, the longer ones if a seed occurs twice."""
    found: dict[tuple[int, int], list[Json]] = {}
    for run in runs:
        for seed, own in run.metrics.items():
            key = seed, run.split_seed(seed)
            found[key] = max(found.get(key, []), own, key=len)
    return list(found.values())


def curve(group: Group, key: str) -> Array:
    """Returns epochs and a metric's mean, least and greatest value over seeds, (4, E ≥ 0)."""
    by_epoch: dict[int, list[float]] = {}
    for line in (line for own in group.seeds for line in own if key in line):
        by_epoch.setdefault(line["epoch"], []).append(line[key])
    rows = [(at, np.mean(own), min(own), max(own)) for at, own in sorted(by_epoch.items())]
    return np.array(rows).reshape(-1, 4).T


def learning_curves(runs: Folder | Iterable[Folder]) -> Figure:
    """Draws total and supervised cost, learning rate and validation error over epochs.

    Runs that differ only in their seed are one line, their mean, with a band from the least to the
    greatest value; the legend shows how the lines differ.

    Args:
      runs: a run folder, finished or not, or several.

    Raises:
      RunError: no run is given, one is absent or damaged, or no epoch of any is finished.
    """
    groups = groups_of("learning_curves", runs)
    panels = {
        "cost/total": "total cost (nats + Σ λC)",
        "cost/supervised": "supervised cost (nats)",
        "learning_rate": "learning rate",
        "validation_error_percent": "error on held-out rows (%)",
    }
    keys = [key for key in panels if any(curve(own, key).size for own in groups)]
    figure = plot_style.new_figure(5.6 if len(keys) > 3 else 3.3, "Learning curves")
    for place, key in enumerate(keys):
        axes = plot_style.add_axes(figure, len(keys), 2 if len(keys) > 3 else 3, place)
        for at, group in enumerate(groups):
            _curve(axes, group, key, at, _name(group))
        plot_style.dress(axes, "epoch", panels[key], log=key.startswith("cost"))
        if not key.startswith("cost"):
            axes.set_ylim(bottom=0)
    plot_style.legend(figure)
    return figure


def denoising_costs(runs: Folder | Iterable[Folder]) -> Figure:
    """Draws the denoising cost C(l) of each layer over epochs, not multiplied by λ(l).

    Each configuration has its own axes; with several seeds a line is the mean, with a band from the
    least to the greatest value. Arguments and errors are those of ``learning_curves``; a baseline
    has no such cost.
    """
    groups = groups_of("denoising_costs", runs)
    figure = plot_style.new_figure(1.2 + 2.9 * -(-len(groups) // 2), "Denoising cost of each layer")
    places: dict[str, int] = {}
    for place, group in enumerate(groups):
        axes = plot_style.add_axes(figure, len(groups), 2, place, sharey=True)
        for i in group.run.config.cost_layers:
            name = f"{i} {group.run.config.layers[i - 1] if i else 'input'}"
            at = places.setdefault(name, len(places))
            _curve(axes, group, f"cost/denoising_{i}", at, name)
        axes.set_title(textwrap.fill(_name(group), 38 if len(groups) > 1 else 80), fontsize=9.5)
        plot_style.dress(axes, "epoch", "C(l), squared error per unit", log=True)
    plot_style.legend(figure)
    return figure


def _name(group: Group) -> str:
    """Returns the group's label with its number of seeds and last epoch."""
    ends, wanted = [len(own) for own in group.seeds], group.run.train_config.epochs
    notes = [f"{len(ends)} seeds"] if len(ends) > 1 else []
    notes += [f"epoch {max(ends)} of {wanted}"] if max(ends) < wanted else []
    notes += [f"{ends.count(max(ends))} to the end"] if min(ends) < max(ends) else []
    return f"{group.label} ({', '.join(notes)})" if notes else group.label


def _curve(axes: Any, group: Group, key: str, at: int, name: str) -> None:
    """Draws one metric of a group as a line, with a band if it has several seeds."""
    axes.locator_params("x", nbins=6, integer=True, min_n_ticks=1)
    epochs, mean, low, high = curve(group, key)
    every = max(1, len(epochs) // 6)
    style = plot_style.style_of(at) | {"markevery": (at % every, every)}
    axes.plot(epochs, mean, label=name, **style)
    if len(group.seeds) > 1:
        style = {"color": style["color"], "alpha": 0.2, "linewidth": 0}
        axes.fill_between(epochs, low, high, **style, label=plot_style.BAND)
