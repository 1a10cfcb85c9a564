"""What a finished run, or several seeds of one, leave: errors, summary, model."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from ladder_jax.config import LadderConfig, TrainConfig
from ladder_jax.data import Preparation, Split
from ladder_jax.errors import ConfigError
from ladder_jax.storage.run_folder import Json
from ladder_jax.train.evaluation import Statistics, predict_proba
from ladder_jax.train.loop import Trainer


@dataclass(frozen=True, kw_only=True)
class Model:
    """A trained network with all it needs to classify raw rows.

    Attributes:
      config: the network.
      train_config: how it was trained.
      variables: parameters and running statistics, see ``ladder_jax.ladder.network``.
      statistics: for each kind the moments of layers 1…L, for ``lj.predict``.
      scale: of the data; stored values times it are the network's input.
      prepare: what the data's preprocessing does to rows before that.
    """

    config: LadderConfig
    train_config: TrainConfig
    variables: dict[str, Any]
    statistics: dict[str, Statistics]
    scale: float
    prepare: Preparation

    def __repr__(self) -> str:
        """A line, not all weights."""
        layers = ", ".join(map(str, self.config.layers))
        return f"<Model of {layers}, seed {self.train_config.seed}>"

    def predict(self, x: np.ndarray, statistics: str | None = None) -> np.ndarray:
        """Most probable class, (N,), of rows as the data set stores them, (N, …).

        Args:
          x: the rows.
          statistics: one of ``STATISTICS``; None is that of the reported error.

        Raises:
          ConfigError: no such statistics.
          DataError: rows that do not fit the network.
        """
        return np.asarray(self.predict_proba(x, statistics).argmax(axis=-1))

    def predict_proba(self, x: np.ndarray, statistics: str | None = None) -> np.ndarray:
        """Class probabilities (N, K) of the same rows; arguments and errors as of ``predict``."""
        kind = self.train_config.statistics if statistics is None else statistics
        if kind not in self.statistics:
            raise ConfigError("statistics", kind, f"is one of {', '.join(self.statistics)}")
        found = self.statistics[kind]
        with matmul_precision(self.train_config):  # as the reported error was measured
            x = self.prepare(np.asarray(x))
            return predict_proba(self.config, self.variables, x, found, self.scale)


@dataclass(frozen=True, kw_only=True)
class Result(Model):
    """A finished run, or several that differ in their seed.

    Attributes:
      summary: what result.json holds.
      metrics: one dictionary per epoch and seed, what metrics.jsonl holds.
      split: indices of training, validation and labelled rows.
      runs: of several seeds one result for each that did not diverge. What the model and the
        split say is then of the first of them.
    """

    summary: Json
    metrics: list[Json]
    split: Split
    runs: tuple[Result, ...] = ()

    @property
    def test_error_percent(self) -> float | None:
        """By the run's ``statistics``, of several runs the mean; None if there is no such error."""
        return self.summary["test_error_percent"]

    @property
    def test_error_percent_std(self) -> float | None:
        """Its standard deviation (n − 1) over several runs; None of one."""
        return self.summary.get("test_error_percent_std")

    def __repr__(self) -> str:
        """A line, not all weights."""
        error, rows = self.test_error_percent, "test"
        if error is None:
            error, rows = self.validation_error_percent, "validation"
        text = "no error" if error is None else f"{rows} error {error:.2f} %"
        return f"<Result of {len(self.runs) or 1} run(s), seed {self.train_config.seed}: {text}>"

    @property
    def validation_error_percent(self) -> float | None:
        """The same on the held-out rows; None without any."""
        return self.summary["validation_error_percent"]


def matmul_precision(train_config: TrainConfig) -> AbstractContextManager[None]:
    """Accelerators would otherwise multiply in a shorter format than float32."""
    return jax.default_matmul_precision(train_config.matmul_precision)


def errors_of_run(trainer: Trainer, found: dict[str, Statistics], run: int = 0) -> Json:
    """The errors of a trained model by every kind of statistics, an entry of result.json's runs.

    The test set is looked at here and nowhere else, and not at all with rows held out.

    Args:
      trainer: after the last step.
      found: for each kind the moments of layers 1…L.
      run: which of the trainer's runs.
    """

    def errors(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
        return {kind: trainer.error_percent(own, x, y, run) for kind, own in found.items()}

    entry: Json = {"seed": trainer.seeds[run], "test_error_percent": None}
    data = trainer.data
    if trainer.train_config.validation:
        entry["validation_error_percent"] = errors(*trainer.validation_rows(run))
    elif data.x_test is not None and data.y_test is not None:
        entry["test_error_percent"] = errors(data.x_test, data.y_test)
    return entry


def summarize(entries: Sequence[Json], kind: str) -> Json:
    """Mean and standard deviation (n − 1) over finished runs, and the runs, as in result.json.

    Args:
      entries: one for each run, as from ``errors_of_run``; with a ``reason`` if it diverged.
      kind: the statistics whose error is reported.
    """
    summary: Json = {}
    for name in ("test_error_percent", "validation_error_percent"):
        errors = [found[kind] for entry in entries if (found := entry.get(name))]
        summary[name] = statistics.fmean(errors) if errors else None
        summary[f"{name}_std"] = statistics.stdev(errors) if len(errors) > 1 else None
    return summary | {"runs": list(entries)}
