"""Runs as their folders have them, and in words: for all that shows runs."""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ladder_jax.config import STATISTICS, LadderConfig, TrainConfig
from ladder_jax.errors import RunError, numbers, whole
from ladder_jax.presets import DATASETS, Preset
from ladder_jax.storage import files
from ladder_jax.storage.run_folder import CLASSIFIER

Json = dict[str, Any]
Folder = str | os.PathLike[str]

UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""What damaged JSON, or that of another version, leads to."""

PAPER_ROWS = {name: DATASETS[name].rows for name in ("mnist", "cifar10")}
"""Training rows of the paper's data sets."""

SEEDS = ("seed", "data_seed")


@dataclass(frozen=True)
class Run:
    """What the files of a run folder say.

    Attributes:
      path: the folder.
      config: the network.
      train_config: how it is trained.
      num_seeds: runs in the folder.
      seed_mode: how several are made; None of one.
      data: name, rows, sha256 and, where the caller chose the rows, split.
      labelled: seed → number of labelled rows.
      metrics: seed → lines of metrics.jsonl.
      result: what result.json holds, empty before the run has finished.
      classifier: parameters of the ``LadderClassifier`` that was saved there.
    """

    path: Path
    config: LadderConfig
    train_config: TrainConfig
    num_seeds: int
    seed_mode: str | None
    data: Json
    labelled: dict[int, int] = field(default_factory=dict)
    metrics: dict[int, list[Json]] = field(default_factory=dict)
    result: Json = field(default_factory=dict)
    classifier: Json = field(default_factory=dict)

    @property
    def part(self) -> str:
        """Which rows the errors are of: test or validation."""
        return "validation" if self.train_config.validation else "test"

    @property
    def seeds(self) -> str:
        """Which seeds the runs have, in words."""
        first, last = self.train_config.seed, self.train_config.seed + self.num_seeds - 1
        return f"seeds {first} to {last}" if last > first else f"seed {first}"

    @property
    def runs(self) -> list[Json]:
        """A finished run's entry for each seed."""
        return self.result.get("runs", [])

    @property
    def is_fit(self) -> bool:
        """Whether ``LadderClassifier`` made it, of rows that it had scaled and padded before."""
        own = self.train_config.steps_per_epoch is not None and "split" in self.data
        return own and self.data["name"] == "rows"

    def errors(self, kind: str) -> list[float]:
        """Errors in per cent of all seeds that have one, by that kind of statistics."""
        found = [entry.get(f"{self.part}_error_percent") for entry in self.runs]
        return [errors[kind] for errors in found if errors]

    def label_count(self, seed: int) -> int | None:
        """Labelled rows of the run with that seed; None where the caller's choice is not known."""
        labels = self.train_config.labels
        if self.data.get("split"):  # of these rows "all" are those that have a label
            return self.labelled.get(seed)
        return self.data["rows"] - self.train_config.validation if labels == "all" else int(labels)

    def split_seed(self, seed: int) -> int:
        """Seed of the split of the run with that seed."""
        return dataclasses.replace(self.train_config, seed=seed).split_seed


def read_run(run: Folder) -> Run:
    """Reads a run folder.

    Raises:
      RunError: there is none, or a file is damaged, of a newer version or cannot be read.
    """
    path = Path(run)
    found: Run | None = _parsed(path / "config.json", lambda known: parse_run(path, known))
    if found is None:
        what = "is no run folder: it has no config.json" if path.is_dir() else "no such run folder"
        raise RunError(f"{path}: {what}")
    mend = "; remove it to evaluate anew"
    result = _parsed(path / "result.json", parse_result, mend) or {}
    indices, saved = path / "label_indices.json", path / CLASSIFIER
    labelled = _parsed(indices, lambda rows: {int(k): len(set(rows[k])) for k in rows}) or {}
    classifier = _parsed(saved, lambda known: dict(known["parameters"])) or {}
    metrics = files.read_metrics(path / "metrics.jsonl")
    lines = [line for own in metrics.values() for line in own]
    if not all(isinstance(value, int | float) for line in lines for value in line.values()):
        raise RunError(f"{path / 'metrics.jsonl'}: is damaged; it holds more than numbers")
    return dataclasses.replace(
        found, labelled=labelled, metrics=metrics, result=result, classifier=classifier
    )


def read_runs(runs: Folder | Iterable[Folder]) -> list[Run]:
    """Reads one or several run folders, each once; errors as of ``read_run``."""
    folders = [runs] if isinstance(runs, str | os.PathLike) else runs
    return [read_run(run) for run in {Path(run).resolve(): run for run in folders}.values()]


def parse_run(path: Path, known: Json) -> Run:
    """What config.json says; one of ``UNREADABLE`` if it is damaged or of another version."""
    config = LadderConfig.from_json(known["model"])
    train_config = TrainConfig.from_json(known["training"])
    num_seeds = whole("num_seeds", known.get("num_seeds", 1), 1)
    if "data" not in known:
        raise RunError(f"{path}: is a saved model, not a run folder: it does not say on what rows")
    data = known["data"] | {"name": str(known["data"]["name"])}
    whole("rows", data["rows"], 1)
    return Run(path, config, train_config, num_seeds, known.get("seed_mode"), data)


def parse_result(result: Json) -> Json:
    """result.json, checked; one of ``UNREADABLE`` if it is damaged or of another version."""
    for entry in result["runs"]:
        whole("seed", entry["seed"], 0)
        for part in ("test", "validation"):
            if found := entry.get(f"{part}_error_percent"):
                numbers(part, [found[kind] for kind in STATISTICS])
    return result | {"versions": dict(result.get("versions", {}))}


def _parsed(path: Path, parse: Callable[[Json], Any], mend: str = "") -> Any:
    """What an object of JSON says; None where there is no such file."""
    try:
        known = json.loads(path.read_bytes())
        if not isinstance(known, dict):
            raise TypeError("it is no JSON object")
        return parse(known)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from None
    except UNREADABLE as error:
        what = f"is damaged or of another version of ladder_jax ({error}){mend}"
        raise RunError(f"{path}: {what}") from None


def kind_of(config: LadderConfig) -> str:
    """What the layers with a cost make of a network."""
    names = {(): "baseline", (0,): "bottom", (len(config.layers),): "Γ-model"}
    return names.get(config.cost_layers, "ladder")


def percent(mean: float, deviation: float | None = None) -> str:
    """An error in per cent and, of several runs, its standard deviation."""
    return f"{mean:.2f}" + ("" if deviation is None else f" ± {deviation:.2f}")


def mean_text(errors: Sequence[float]) -> str:
    """The mean of errors in per cent and, of several, their standard deviation (n − 1)."""
    deviation = statistics.stdev(errors) if len(errors) > 1 else None
    return percent(statistics.fmean(errors), deviation) if errors else "–"


def changed(
    config: LadderConfig, train_config: TrainConfig, base: Preset | Run
) -> dict[str, tuple[Any, Any]]:
    """Settings that differ from those of ``base``, seeds apart: name → own value, that of base."""
    own = config.to_json() | train_config.to_json()
    others = base.config.to_json() | base.train_config.to_json()
    names = [name for name in own if own[name] != others[name] and name not in SEEDS]
    return {name: (own[name], others[name]) for name in names}


def plain(value: Any) -> str:
    """A setting as on a command line, in all its digits."""
    if isinstance(value, (list, tuple)):
        return ",".join(map(plain, value))
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)
