"""From configuration and data to a result: the only Python loop over training.

A run with a work folder can be stopped at any time and goes on from its last checkpoint,
bit for bit as if it had not been stopped: the compiled chunks of steps, their boundaries
and every random number depend on the configuration alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ladder_jax import environment
from ladder_jax.checkpoints import Checkpoints
from ladder_jax.config import STATISTICS, LadderConfig, TrainConfig
from ladder_jax.data import Dataset, Split, make_split
from ladder_jax.errors import ConfigError, DivergedError, StoppedError
from ladder_jax.evaluation import Statistics, error_percent, population_statistics, predict
from ladder_jax.model import running_statistics
from ladder_jax.runfolder import Json, RunFolder
from ladder_jax.training import (
    Plan,
    TrainData,
    TrainState,
    init_state,
    learning_rate,
    make_plan,
    train_chunk,
)

CHECKPOINT_EVERY = 5
"""Epochs from one checkpoint to the next."""

_init_state = jax.jit(init_state, static_argnums=(0, 1))
_train_chunk = jax.jit(train_chunk, static_argnums=(0, 1), donate_argnums=2)


class Progress(NamedTuple):
    """Passed to ``on_progress`` after each compiled chunk.

    Attributes:
      step: steps done.
      steps: steps of the whole run.
      rows: rows (labelled and unlabelled) in a step.
      costs: mean of each cost over the chunk.
      metrics: the line of metrics.jsonl if the chunk ended an epoch.
    """

    step: int
    steps: int
    rows: int
    costs: dict[str, float]
    metrics: Json | None


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes:
      summary: what result.json holds.
      variables: parameters and running statistics, see ``ladder_jax.model``.
      statistics: for each kind the moments of layers 1…L, for ``predict``.
      metrics: one dictionary per epoch, what metrics.jsonl holds.
      split: indices of training, validation and labelled rows.
    """

    summary: Json
    variables: dict[str, Any]
    statistics: dict[str, Statistics]
    metrics: list[Json]
    split: Split

    @property
    def test_error_percent(self) -> float | None:
        """By the default statistics; None if there was no test set or it was not touched."""
        return self.summary["test_error_percent"]

    @property
    def validation_error_percent(self) -> float | None:
        """The same on the held-out rows; None without any."""
        return self.summary["validation_error_percent"]


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
    check_fits(config, data)
    split = _split(config, train_config, data)
    with ExitStack() as stack:
        # Accelerators would otherwise multiply in a shorter format than float32.
        stack.enter_context(jax.default_matmul_precision("float32"))
        folder = checkpoints = None
        if workdir is not None:
            folder = RunFolder(workdir, run_config(config, train_config, data))
            folder.write("label_indices.json", {str(train_config.seed): split.labelled.tolist()})
            checkpoints = stack.enter_context(Checkpoints(folder.checkpoints))
        run = _Run(config, train_config, data, split, folder, checkpoints)
        if folder is None or folder.result() is None:
            run.train(on_progress or (lambda progress: None), should_stop, checkpoint_every)
        return run.result()


def run_config(config: LadderConfig, train_config: TrainConfig, data: Dataset) -> Json:
    """What config.json holds: network, training and the data's identity."""
    identity = {"name": data.name, "rows": len(data.x_train), "sha256": data.fingerprint()}
    return {"model": config.to_json(), "training": train_config.to_json(), "data": identity}


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


def _split(config: LadderConfig, train_config: TrainConfig, data: Dataset) -> Split:
    split = make_split(
        data.y_train,
        data.num_classes,
        train_config.labels,
        train_config.validation,
        train_config.data_seed,
    )
    for rows, field, value in (
        (len(split.train), "validation", train_config.validation),
        (len(split.labelled), "labels", train_config.labels),
    ):
        if rows < 2:
            raise ConfigError(field, value, f"leaves {rows} rows; batch statistics need 2 or more")
    return split


class _Run:
    """The state of one run while it is trained."""

    def __init__(
        self,
        config: LadderConfig,
        train_config: TrainConfig,
        data: Dataset,
        split: Split,
        folder: RunFolder | None,
        checkpoints: Checkpoints | None,
    ):
        self.config, self.train_config, self.data, self.split = config, train_config, data, split
        self.folder, self.checkpoints = folder, checkpoints
        self.started = time.perf_counter()
        self.plan: Plan = make_plan(train_config, len(split.train), len(split.labelled))
        self.key = jax.random.key(train_config.seed)
        self.rows = _on_device(config, data, split)
        self.state: TrainState = _init_state(config, self.plan, self.key)
        if checkpoints and (saved := checkpoints.restore_latest(self.state)):
            self.state = saved
        epochs_done = int(self.state.step) // self.plan.steps_per_epoch
        self.metrics = folder.truncate_metrics(epochs_done) if folder else []

    def train(
        self,
        on_progress: Callable[[Progress], None],
        should_stop: Callable[[], bool] | None,
        checkpoint_every: int,
    ) -> None:
        plan, step = self.plan, int(self.state.step)
        steps = plan.epochs * plan.steps_per_epoch
        epoch_started = time.perf_counter()
        while step < steps:
            epoch = step // plan.steps_per_epoch + 1
            self.state, costs = _train_chunk(
                self.config, plan, self.state, self.rows, self.key, self._tracks(epoch)
            )
            costs = jax.device_get(costs)
            self._check_finite(costs, step)
            step += plan.chunk_steps
            line = None
            if step % plan.steps_per_epoch == 0:
                line = self._end_epoch(epoch, time.perf_counter() - epoch_started)
                epoch_started = time.perf_counter()
                if self.checkpoints and (epoch % checkpoint_every == 0 or step == steps):
                    self.checkpoints.save(self.state)
            means = {name: float(values.mean()) for name, values in costs.items()}
            on_progress(Progress(step, steps, plan.rows_l + plan.rows_u, means, line))
            if step < steps and should_stop and should_stop():
                self._stop(epoch, step)

    def _tracks(self, epoch: int) -> bool:
        # The running average starts anew each epoch: only epochs whose error by it is
        # reported need the extra forward pass.
        reported = self.train_config.validation and self.train_config.statistics == "running"
        return epoch == self.plan.epochs or bool(reported)

    def _end_epoch(self, epoch: int, seconds: float) -> Json:
        last_step = jnp.asarray(epoch * self.plan.steps_per_epoch - 1)
        line: Json = {
            "seed": self.train_config.seed,
            "epoch": epoch,
            "learning_rate": float(learning_rate(self.plan, last_step)),
        }
        for name, total in self.state.cost_sums.items():
            line[f"cost/{name}"] = float(total) / self.plan.steps_per_epoch
        if self.train_config.validation:
            kind = self.train_config.statistics
            line["validation_error_percent"] = self._error(
                self._statistics(kind), self.data.x_train, self.data.y_train, self.split.validation
            )
        line["seconds"] = round(seconds, 3)
        self.metrics.append(line)
        if self.folder:
            self.folder.append_metrics(line)
        return line

    def _check_finite(self, costs: dict[str, np.ndarray], step: int) -> None:
        good = np.logical_and.reduce([np.isfinite(values) for values in costs.values()])
        if good.all():
            return
        first = int(np.argmin(good))
        bad = {n: v[first] for n, v in costs.items() if not np.isfinite(v[first])}
        if len(bad) > 1:
            bad.pop("total", None)  # it only repeats the others
        epoch, offset = divmod(step + first, self.plan.steps_per_epoch)
        what = ", ".join(f"cost/{name} is {value}" for name, value in bad.items())
        kept = f" What was computed is kept in {self.folder.path}." if self.folder else ""
        raise DivergedError(
            f"diverged in epoch {epoch + 1}, step {offset + 1}: {what}; "
            f"try a smaller learning_rate (was {self.train_config.learning_rate:g}).{kept}"
        )

    def _stop(self, epoch: int, step: int) -> None:
        if self.checkpoints:
            self.checkpoints.save(self.state)
        kept = f"; saved in {self.folder.path}, run again to go on" if self.folder else ""
        raise StoppedError(f"stopped in epoch {epoch}, after step {step} of the run{kept}")

    def variables(self) -> dict[str, Any]:
        return {"params": self.state.params, "batch_stats": self.state.batch_stats}

    def _statistics(self, kind: str) -> Statistics:
        if kind == "running":
            return running_statistics(self.variables())
        x = self.rows.x if kind == "unlabelled" else self.rows.x[self.rows.labelled]
        batch = self.plan.rows_u if kind == "unlabelled" else self.plan.rows_l
        return population_statistics(self.config, self.variables(), x, self.rows.scale, batch)

    def _error(
        self, statistics: Statistics, x: np.ndarray, y: np.ndarray, at: np.ndarray | None = None
    ) -> float:
        if at is not None:
            x, y = x[at], y[at]
        x = x.reshape(-1, *self.config.input_shape)
        predicted = predict(self.config, self.variables(), x, statistics, self.rows.scale)
        return error_percent(predicted, y)

    def result(self) -> Result:
        statistics = {kind: self._statistics(kind) for kind in STATISTICS}
        summary = self.folder.result() if self.folder else None
        if summary is None:
            summary = self._summary(statistics)
            if self.folder:
                self.folder.write("result.json", summary)
        return Result(summary, self.variables(), statistics, self.metrics, self.split)

    def _summary(self, statistics: dict[str, Statistics]) -> Json:
        data, kind = self.data, self.train_config.statistics
        run: Json = {"seed": self.train_config.seed, "test_error_percent": None}
        # With rows held out for tuning, the test set stays unseen.
        if self.train_config.validation:
            held_out = (data.x_train, data.y_train, self.split.validation)
            run["validation_error_percent"] = {
                name: self._error(found, *held_out) for name, found in statistics.items()
            }
        elif data.x_test is not None:
            run["test_error_percent"] = {
                name: self._error(found, data.x_test, data.y_test)
                for name, found in statistics.items()
            }
        test, held = run["test_error_percent"], run.get("validation_error_percent")
        earlier = sum(line["seconds"] for line in self.metrics)
        return {
            "test_error_percent": test and test[kind],
            "test_error_percent_std": None,
            "validation_error_percent": held and held[kind],
            "validation_error_percent_std": None,
            "runs": [run],
            "config": run_config(self.config, self.train_config, data),
            "versions": environment.versions(),
            "device": environment.device(),
            "wall_seconds": round(max(time.perf_counter() - self.started, earlier), 1),
        }


def _on_device(config: LadderConfig, data: Dataset, split: Split) -> TrainData:
    position = np.empty(len(data.x_train), np.int32)
    position[split.train] = np.arange(len(split.train))
    x = data.x_train[split.train].reshape(-1, *config.input_shape)
    dtype = jnp.zeros(()).dtype
    return TrainData(
        x=jnp.asarray(x),
        y=jnp.asarray(data.y_train[split.train]),
        labelled=jnp.asarray(position[split.labelled]),
        scale=jnp.asarray(data.scale, dtype),
    )
