"""The only Python loop over training.

A run can be stopped at any time and goes on from its last checkpoint, bit for bit as if it
had not been stopped: every random number depends on the configuration alone, the compiled
chunks of steps on the configuration and the kind of device.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from ladder_jax.checkpoints import Checkpoints
from ladder_jax.config import LadderConfig, TrainConfig
from ladder_jax.data import Dataset, Split
from ladder_jax.environment import release_memory
from ladder_jax.errors import DivergedError, StoppedError
from ladder_jax.evaluation import Statistics, error_percent, population_statistics, predict
from ladder_jax.model import running_statistics
from ladder_jax.plan import learning_rate, longest_chunk, make_plan
from ladder_jax.runfolder import Json, RunFolder
from ladder_jax.training import TrainData, TrainState, init_state, train_chunk

_init_state = jax.jit(init_state, static_argnums=(0, 1))
_train_chunk = jax.jit(train_chunk, static_argnums=(0, 1), donate_argnums=2)


class Progress(NamedTuple):
    """Passed to ``on_progress`` after each compiled chunk.

    Attributes:
      step: steps done.
      steps: steps of the whole run.
      chunk_steps: steps since the last call.
      rows: rows (labelled and unlabelled) in a step.
      costs: mean of each cost over the chunk.
      metrics: the line of metrics.jsonl if the chunk ended an epoch.
    """

    step: int
    steps: int
    chunk_steps: int
    rows: int
    costs: dict[str, float]
    metrics: Json | None


class Trainer:
    """One run: its data on the device, its state, its metrics.

    Args:
      config: the network.
      train_config: how it is trained.
      data: the rows.
      split: which of them are for what.
      folder: where metrics go; None keeps them in memory only.
      checkpoints: where states go; the newest there is taken up.
    """

    def __init__(
        self,
        config: LadderConfig,
        train_config: TrainConfig,
        data: Dataset,
        split: Split,
        folder: RunFolder | None = None,
        checkpoints: Checkpoints | None = None,
    ):
        self.config, self.train_config, self.data, self.split = config, train_config, data, split
        self.folder, self.checkpoints = folder, checkpoints
        longest = longest_chunk(config, train_config, jax.default_backend())
        self.plan = make_plan(train_config, len(split.train), len(split.labelled), longest)
        self.key = jax.random.key(train_config.seed)
        self.rows = _on_device(config, data, split)
        self.state: TrainState = _init_state(config, self.plan, self.key)
        if checkpoints and (saved := checkpoints.restore_latest(self.state)):
            self.state = saved
        self.metrics: list[Json] = []
        if folder:
            finished = folder.result() is not None
            epochs_done = int(self.state.step) // self.plan.steps_per_epoch
            self.metrics = folder.metrics() if finished else folder.truncate_metrics(epochs_done)

    @property
    def is_finished(self) -> bool:
        """Whether the state is that after the last step."""
        return int(self.state.step) == self.plan.epochs * self.plan.steps_per_epoch

    @property
    def variables(self) -> dict[str, Any]:
        """Parameters and running statistics, see ``ladder_jax.model``."""
        return {"params": self.state.params, "batch_stats": self.state.batch_stats}

    def train(
        self,
        on_progress: Callable[[Progress], None] | None,
        should_stop: Callable[[], bool] | None,
        checkpoint_every: int,
    ) -> None:
        """Trains from the current state to the last epoch.

        Raises:
          DivergedError: a cost, or at the end a parameter, is not finite.
          StoppedError: ``should_stop`` said so; the state is saved.
        """
        plan, step = self.plan, int(self.state.step)
        steps = plan.epochs * plan.steps_per_epoch
        started, first = time.perf_counter(), True
        while step < steps:
            epoch = step // plan.steps_per_epoch + 1
            # A run that was begun on another kind of device may have stopped between today's
            # boundaries: the first chunk leads up to the next of them.
            chunk = plan._replace(chunk_steps=plan.chunk_steps - step % plan.chunk_steps)
            self.state, costs = _train_chunk(
                self.config, chunk, self.state, self.rows, self.key, self._tracks(epoch)
            )
            costs = jax.device_get(costs)
            self._check_finite(costs, step)
            if first:
                release_memory()  # what compiling took
                first = False
            step += chunk.chunk_steps
            line = None
            if step % plan.steps_per_epoch == 0:
                line = self._end_epoch(epoch, started)
                started = time.perf_counter()
                if epoch % checkpoint_every == 0 or step == steps:
                    self._save(epoch)
            if on_progress:
                means = {name: float(values.mean()) for name, values in costs.items()}
                rows = plan.rows_l + (plan.rows_u if self.config.cost_layers else 0)
                on_progress(Progress(step, steps, chunk.chunk_steps, rows, means, line))
            if step < steps and should_stop and should_stop():
                self._stop(epoch, step, steps)

    def statistics(self, kind: str) -> Statistics:
        """Moments of layers 1…L by one of ``config.STATISTICS``."""
        if kind == "running":
            return running_statistics(self.variables)
        x = self.rows.x if kind == "unlabelled" else self.rows.x[self.rows.labelled]
        batch = self.plan.rows_u if kind == "unlabelled" else self.plan.rows_l
        return population_statistics(self.config, self.variables, x, self.rows.scale, batch)

    def error_percent(self, statistics: Statistics, x: np.ndarray, y: np.ndarray) -> float:
        """Error on rows (N, *input_shape) of the data set with classes (N,)."""
        predicted = predict(self.config, self.variables, x, statistics, self.rows.scale)
        return error_percent(predicted, y)

    def validation_rows(self) -> tuple[np.ndarray, np.ndarray]:
        """The held-out rows and their classes."""
        at = self.split.validation
        return self.data.x_train[at], self.data.y_train[at]

    def _tracks(self, epoch: int) -> bool:
        # The running average starts anew each epoch: only epochs whose error by it is
        # reported need the extra forward pass.
        reported = self.train_config.validation and self.train_config.statistics == "running"
        return epoch == self.plan.epochs or bool(reported)

    def _end_epoch(self, epoch: int, started: float) -> Json:
        last_step = jnp.asarray(epoch * self.plan.steps_per_epoch - 1)
        rate = learning_rate(self.plan, last_step)
        line: Json = {
            "seed": self.train_config.seed,
            "epoch": epoch,
            "learning_rate": float(f"{float(rate):.7g}"),  # no more digits than float32 has
        }
        for name, total in self.state.cost_sums.items():
            line[f"cost/{name}"] = float(total) / self.plan.steps_per_epoch
        if self.train_config.validation:
            statistics = self.statistics(self.train_config.statistics)
            error = self.error_percent(statistics, *self.validation_rows())
            line["validation_error_percent"] = error
        line["seconds"] = round(time.perf_counter() - started, 3)
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
        self._diverged(f"diverged in epoch {epoch + 1}, step {offset + 1}: {what}")

    def _save(self, epoch: int) -> None:
        # The last step's own gradient shows in no cost yet.
        trained = jax.tree.leaves((self.state.params, self.state.opt_state))
        if not all(np.isfinite(leaf).all() for leaf in trained):
            self._diverged(f"diverged at the end of epoch {epoch}: a parameter is not finite")
        if self.checkpoints:
            self.checkpoints.save(self.state)
            release_memory()

    def _diverged(self, what: str) -> NoReturn:
        kept = f"; what was computed is kept in {self.folder.path}" if self.folder else ""
        rate = self.plan.learning_rate
        raise DivergedError(f"{what}; try a smaller learning_rate (it is {rate:g}){kept}")

    def _stop(self, epoch: int, step: int, steps: int) -> None:
        self._save(epoch)
        kept = f"; saved in {self.folder.path}, run again to go on" if self.folder else ""
        raise StoppedError(f"stopped after step {step} of {steps}, epoch {epoch}{kept}")


def _on_device(config: LadderConfig, data: Dataset, split: Split) -> TrainData:
    position = np.empty(len(data.x_train), np.int32)
    position[split.train] = np.arange(len(split.train))
    x = data.x_train[split.train].reshape(-1, *config.input_shape)
    return TrainData(
        x=jnp.asarray(x),
        y=jnp.asarray(data.y_train[split.train]),
        labelled=jnp.asarray(position[split.labelled]),
        scale=jnp.asarray(data.scale, jnp.zeros(()).dtype),
    )
