"""Reads a run folder back, for plots, reports and tables."""

from __future__ import annotations

import dataclasses
import os
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ladder_jax.config import STATISTICS, LadderConfig, TrainConfig
from ladder_jax.errors import RunError, numbers, whole
from ladder_jax.presets import DATASETS, Preset
from ladder_jax.storage import files
from ladder_jax.storage.files import OTHER_VERSION, Json, read_json
from ladder_jax.storage.run_folder import CLASSIFIER, CONFIG, LABELS, METRICS, RESULT

Folder = str | os.PathLike[str]

PAPER_ROWS = {name: DATASETS[name].rows for name in ("mnist", "cifar10")}
"""Training rows of the paper's data sets."""

SEEDS = ("seed", "data_seed")


@dataclass(frozen=True)
class Run:
    """The content of the files of a run folder."""

    path: Path
    config: LadderConfig
    train_config: TrainConfig
    num_seeds: int
    seed_mode: str | None  # None if there is one seed
    data: Json  # name, rows, sha256 and, if the caller chose the rows, split
    labelled: dict[int, int] = field(default_factory=dict)  # seed → number of labelled rows
    metrics: dict[int, list[Json]] = field(default_factory=dict)  # seed → lines of metrics.jsonl
    result: Json = field(default_factory=dict)  # empty before the run has finished
    classifier: Json = field(default_factory=dict)  # parameters of a saved ``LadderClassifier``

    @property
    def part(self) -> str:
        """The rows that the errors are measured on: test or validation."""
        return "validation" if self.train_config.validation else "test"

    @property
    def seeds(self) -> str:
        """The seeds of the runs, in words."""
        first, last = self.train_config.seed, self.train_config.seed + self.num_seeds - 1
        return f"seeds {first} to {last}" if last > first else f"seed {first}"

    @property
    def runs(self) -> list[Json]:
        """The entries of the seeds of a finished run."""
        return self.result.get("runs", [])

    @property
    def is_fit(self) -> bool:
        """Whether ``LadderClassifier`` made the run, from rows that it had scaled and padded."""
        own = self.train_config.steps_per_epoch is not None and "split" in self.data
        return own and self.data["name"] == "rows"

    def errors(self, kind: str) -> list[float]:
        """Returns the errors in per cent, by one kind of statistics, of all seeds with one."""
        found = [entry.get(f"{self.part}_error_percent") for entry in self.runs]
        return [errors[kind] for errors in found if errors]

    def label_count(self, seed: int) -> int | None:
        """Returns the number of labelled rows of a seed, or None if it is not known."""
        labels = self.train_config.labels
        if self.data.get("split"):  # "all" then means those of these rows that have a label
            return self.labelled.get(seed)
        return self.data["rows"] - self.train_config.validation if labels == "all" else int(labels)

    def split_seed(self, seed: int) -> int:
        """Returns the seed that the split of the run with this seed is drawn from."""
        return dataclasses.replace(self.train_config, seed=seed).split_seed


def read_run(run: Folder) -> Run:
    """Reads a run folder, or raises a RunError if there is none or a file is damaged."""
    path = Path(run)
    found = read_json(path / CONFIG, lambda known: parse_run(path, known))
    if found is None:
        what = "is no run folder: it has no config.json" if path.is_dir() else "no such run folder"
        raise RunError(f"{path}: {what}")
    result = read_json(path / RESULT, parse_result, f"{OTHER_VERSION}; remove it to evaluate anew")
    labelled = read_json(path / LABELS, lambda rows: {int(k): len(set(rows[k])) for k in rows})
    classifier = read_json(path / CLASSIFIER, lambda known: dict(known["parameters"]))
    metrics = files.read_metrics(path / METRICS)
    lines = [line for own in metrics.values() for line in own]
    if not all(isinstance(value, int | float) for line in lines for value in line.values()):
        raise RunError(f"{path / METRICS}: is damaged; it holds more than numbers")
    return dataclasses.replace(
        found,
        labelled=labelled or {},
        metrics=metrics,
        result=result or {},
        classifier=classifier or {},
    )


def read_runs(runs: Folder | Iterable[Folder]) -> list[Run]:
    """Reads one or several run folders, each of them once."""
    folders = [runs] if isinstance(runs, str | os.PathLike) else runs
    return [read_run(run) for run in {Path(run).resolve(): run for run in folders}.values()]


def parse_run(path: Path, known: Json) -> Run:
    """Returns the run that a config.json describes, or raises one of ``UNREADABLE``."""
    config = LadderConfig.from_json(known["model"])
    train_config = TrainConfig.from_json(known["training"])
    num_seeds = whole("num_seeds", known.get("num_seeds", 1), 1)
    if "data" not in known:
        raise RunError(f"{path}: is a saved model, not a run folder: it does not say on what rows")
    data = known["data"] | {"name": str(known["data"]["name"])}
    whole("rows", data["rows"], 1)
    return Run(path, config, train_config, num_seeds, known.get("seed_mode"), data)


def parse_result(result: Json) -> Json:
    """Returns a checked result.json, or raises one of ``UNREADABLE``."""
    for entry in result["runs"]:
        whole("seed", entry["seed"], 0)
        for part in ("test", "validation"):
            if found := entry.get(f"{part}_error_percent"):
                numbers(part, [found[kind] for kind in STATISTICS])
    return result | {"versions": dict(result.get("versions", {}))}


def kind_of(config: LadderConfig) -> str:
    """Returns the name of a network's kind, which depends on the layers with a cost."""
    names = {(): "baseline", (0,): "bottom", (len(config.layers),): "Γ-model"}
    return names.get(config.cost_layers, "ladder")


def percent(mean: float, deviation: float | None = None) -> str:
    """Returns an error in per cent and, if given, its standard deviation as text."""
    return f"{mean:.2f}" + ("" if deviation is None else f" ± {deviation:.2f}")


def mean_text(errors: Sequence[float]) -> str:
    """Returns the mean of errors and, if there are several, their standard deviation (n − 1)."""
    deviation = statistics.stdev(errors) if len(errors) > 1 else None
    return percent(statistics.fmean(errors), deviation) if errors else "–"


def changed(
    config: LadderConfig, train_config: TrainConfig, base: Preset | Run
) -> dict[str, tuple[Any, Any]]:
    """Returns the settings, except for seeds, that differ from ``base``, each with both values."""
    own = config.to_json() | train_config.to_json()
    others = base.config.to_json() | base.train_config.to_json()
    names = [name for name in own if own[name] != others[name] and name not in SEEDS]
    return {name: (own[name], others[name]) for name in names}


def plain(value: Any) -> str:
    """Returns a setting as it is written on a command line, with all its digits."""
    if isinstance(value, (list, tuple)):
        return ",".join(map(plain, value))
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)
