"""From configuration and data to a result and a run folder."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from ladder_jax import environment
from ladder_jax.checkpoints import Checkpoints
from ladder_jax.checks import whole
from ladder_jax.config import STATISTICS, LadderConfig, TrainConfig
from ladder_jax.data import Dataset, Split, make_split, prepare
from ladder_jax.errors import ConfigError, RunError
from ladder_jax.evaluation import Statistics, predict
from ladder_jax.runfolder import Json, RunFolder
from ladder_jax.trainer import Progress, Trainer

CHECKPOINT_EVERY = 5
"""Epochs from one checkpoint to the next."""


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes:
      config: the network.
      train_config: how it was trained.
      summary: what result.json holds.
      variables: parameters and running statistics, see ``ladder_jax.model``.
      statistics: for each kind the moments of layers 1…L, for ``lj.predict``.
      metrics: one dictionary per epoch, what metrics.jsonl holds.
      split: indices of training, validation and labelled rows.
      scale: of the data; stored values times it are the network's input.
      prepare: what the data's preprocessing does to rows before that.
    """

    config: LadderConfig
    train_config: TrainConfig
    summary: Json
    variables: dict[str, Any]
    statistics: dict[str, Statistics]
    metrics: list[Json]
    split: Split
    scale: float
    prepare: Callable[[np.ndarray], np.ndarray]

    @property
    def test_error_percent(self) -> float | None:
        """By the default statistics; None if there was no test set or it was not touched."""
        return self.summary["test_error_percent"]

    @property
    def validation_error_percent(self) -> float | None:
        """The same on the held-out rows; None without any."""
        return self.summary["validation_error_percent"]

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Most probable class, (N,), of rows as the data set stores them, (N, …).

        By the statistics that the reported error uses.
        """
        statistics = self.statistics[self.train_config.statistics]
        with jax.default_matmul_precision("float32"):  # as the reported error was measured
            x = self.prepare(np.asarray(x))
            return predict(self.config, self.variables, x, statistics, self.scale)


def train_and_evaluate(
    config: LadderConfig,
    train_config: TrainConfig,
    data: Dataset,
    *,
    workdir: str | os.PathLike[str] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    checkpoint_every: int = CHECKPOINT_EVERY,
) -> Result:
    """Trains one model and measures its error by all three kinds of statistics.

    Args:
      config: the network.
      train_config: how it is trained.
      data: as from ``data.load`` or ``data.from_arrays``.
      workdir: run folder; an unfinished run there is continued, a finished one returned.
        None keeps nothing on disk.
      on_progress: called after each compiled chunk of steps.
      should_stop: asked after each chunk; if true the run is saved and left.
      checkpoint_every: epochs between checkpoints.

    Raises:
      ConfigError: the configuration does not fit the data.
      RunError: the work folder can't be used.
      DivergedError: a cost is not finite; the last checkpoint and metrics are kept.
      StoppedError: ``should_stop`` said so.
    """
    started = time.perf_counter()
    whole("checkpoint_every", checkpoint_every, 1)
    check_fits(config, data)
    split = split_rows(train_config, data)
    identity = run_config(config, train_config, data)
    versions = environment.versions()  # of the code that runs now, not of a later commit
    with ExitStack() as stack:
        # Accelerators would otherwise multiply in a shorter format than float32.
        stack.enter_context(jax.default_matmul_precision("float32"))
        folder = checkpoints = summary = None
        if workdir is not None:
            folder = RunFolder(workdir, identity, normal_form)
            folder.write("label_indices.json", {str(train_config.seed): split.labelled.tolist()})
            checkpoints = stack.enter_context(Checkpoints(folder.checkpoints))
            summary = folder.result()
        ready, transform = prepare(_in_use(train_config, data), split.train)
        trainer = Trainer(config, train_config, ready, split, folder, checkpoints)
        if summary is None:
            trainer.train(on_progress, should_stop, checkpoint_every)
        elif not trainer.is_finished:
            raise RunError(
                f"workdir={workdir}: is a finished run (test error "
                f"{summary['test_error_percent']} %) whose last checkpoint is gone; "
                "choose another work folder, or remove its result.json to train on"
            )
        statistics = {kind: trainer.statistics(kind) for kind in STATISTICS}
        if summary is None:
            summary = summarize(trainer, statistics)
            summary |= {"config": identity, "versions": versions}
            # An earlier part of a resumed run took as long as its epochs did.
            seconds = sum(line["seconds"] for line in trainer.metrics)
            seconds = max(seconds, time.perf_counter() - started)
            summary["wall_seconds"] = round(seconds, 1)
            if folder and checkpoints:
                checkpoints.wait()  # a result says that the run is whole
                folder.write("result.json", summary)
        return Result(
            config,
            train_config,
            summary,
            trainer.variables,
            statistics,
            trainer.metrics,
            split,
            ready.scale,
            transform,
        )


def finished_summary(
    workdir: str | os.PathLike[str], config: LadderConfig, train_config: TrainConfig
) -> Json | None:
    """What result.json holds if the folder has a finished run; needs no data, no checkpoint.

    Raises:
      RunError: the run there is of another configuration.
    """
    return RunFolder.finished(workdir, _settings(config, train_config), normal_form)


def _in_use(train_config: TrainConfig, data: Dataset) -> Dataset:
    """With rows held out, the test set is not touched, not even to prepare it."""
    return dataclasses.replace(data, x_test=None, y_test=None) if train_config.validation else data


def run_config(config: LadderConfig, train_config: TrainConfig, data: Dataset) -> Json:
    """What config.json holds: network, training and the data's identity."""
    identity = {"name": data.name, "rows": len(data.x_train), "sha256": data.fingerprint()}
    return _settings(config, train_config) | {"data": identity}


def normal_form(known: Json) -> Json:
    """A config.json as this version would write it: fields added since have their default.

    What this version cannot read is returned as it is.
    """
    try:
        return known | {
            "model": LadderConfig.from_json(known["model"]).to_json(),
            "training": TrainConfig.from_json(known["training"]).to_json(),
        }
    except (KeyError, TypeError, ConfigError):
        return known


def _settings(config: LadderConfig, train_config: TrainConfig) -> Json:
    training = train_config.to_json() | {"data_seed": train_config.split_seed}
    return {"model": config.to_json(), "training": training}


def check_fits(config: LadderConfig, data: Dataset) -> None:
    """Checks that the network takes the data's rows and has a unit for each class.

    Raises:
      ConfigError: it does not.
    """
    if np.prod(data.input_shape) != np.prod(config.input_shape):
        shape = "x".join(map(str, config.input_shape))
        raise ConfigError("input_shape", shape, f"the rows of {data.name} are {data.input_shape}")
    if config.num_classes != data.num_classes:
        problem = f"{data.name} has {data.num_classes} classes; the last layer needs one unit each"
        raise ConfigError("layers", config.num_classes, problem)


def split_rows(train_config: TrainConfig, data: Dataset) -> Split:
    """Training, validation and labelled rows of the data.

    Raises:
      ConfigError: labels or validation that the data can't give.
    """
    labels, validation = train_config.labels, train_config.validation
    seed = train_config.split_seed
    split = make_split(data.y_train, data.num_classes, labels, validation, seed)  # type: ignore[arg-type]
    for rows, field, value in (
        (len(split.train), "validation", validation),
        (len(split.labelled), "labels", labels),
    ):
        if rows < 2:
            raise ConfigError(field, value, f"leaves {rows} rows; batch statistics need 2 or more")
    return split


def summarize(trainer: Trainer, statistics: dict[str, Statistics]) -> Json:
    """The errors of a trained model by every kind of statistics, as in result.json.

    The test set is looked at here and nowhere else, and not at all with rows held out.
    """
    train_config, data = trainer.train_config, trainer.data
    run: Json = {"seed": train_config.seed, "test_error_percent": None}
    if train_config.validation:
        run["validation_error_percent"] = {
            kind: trainer.error_percent(found, *trainer.validation_rows())
            for kind, found in statistics.items()
        }
    elif data.x_test is not None and data.y_test is not None:
        run["test_error_percent"] = {
            kind: trainer.error_percent(found, data.x_test, data.y_test)
            for kind, found in statistics.items()
        }
    test, held_out = run["test_error_percent"], run.get("validation_error_percent")
    return {
        "test_error_percent": test and test[train_config.statistics],
        "test_error_percent_std": None,
        "validation_error_percent": held_out and held_out[train_config.statistics],
        "validation_error_percent_std": None,
        "runs": [run],
        "device": environment.device(),
    }
