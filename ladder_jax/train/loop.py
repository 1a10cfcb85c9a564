"""The only Python loop over training.

A run can be stopped at any time and goes on from its last checkpoint, bit for bit as if it
had not been stopped: every random number depends on the configuration alone, the compiled
chunks of steps on the configuration and the kind of device. Several runs that differ in their
seed only can be trained at once, by one program.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from ladder_jax.config import GENERATORS, LadderConfig, TrainConfig
from ladder_jax.data import Dataset, Split
from ladder_jax.errors import DivergedError, StoppedError
from ladder_jax.ladder.network import running_statistics
from ladder_jax.storage.environment import release_memory
from ladder_jax.storage.run_folder import Json, RunFolder
from ladder_jax.train.checkpoints import Checkpoints
from ladder_jax.train.evaluation import Statistics, error_percent, population_statistics, predict
from ladder_jax.train.hosts import any_process
from ladder_jax.train.parallel import Layout
from ladder_jax.train.schedule import Plan, learning_rate, longest_chunk, make_plan
from ladder_jax.train.step import TrainData, TrainState


class Progress(NamedTuple):
    """Passed to ``on_progress`` after each compiled chunk.

    Attributes:
      step: steps done.
      steps: steps of the whole run.
      chunk_steps: steps since the last call.
      rows: rows (labelled and unlabelled) in a step, of all runs that are trained at once.
      costs: mean of each cost over the chunk and the runs that have not diverged.
      metrics: the line of metrics.jsonl if the chunk ended an epoch; of several runs at once that
        of the first that has not diverged.
      seed: of the run; of several at once that of the first.
      seeds: how many runs are trained at once.
      apart: whether this is one of several runs made one after the other.
    """

    step: int
    steps: int
    chunk_steps: int
    rows: int
    costs: dict[str, float]
    metrics: Json | None
    seed: int = 0
    seeds: int = 1
    apart: bool = False


class Trainer:
    """Runs that are trained together: their data on the devices, their state, their metrics.

    Args:
      config: the network.
      train_configs: how each run is trained; they differ in their seeds only.
      data: the rows.
      splits: which of them are for what, in each run.
      layout: how the runs lie on devices.
      folder: where metrics go; None keeps them in memory only.
      checkpoints: where states go; the newest there is taken up.
    """

    def __init__(
        self,
        config: LadderConfig,
        train_configs: Sequence[TrainConfig],
        data: Dataset,
        splits: Sequence[Split],
        layout: Layout,
        folder: RunFolder | None = None,
        checkpoints: Checkpoints | None = None,
    ):
        self.config, self.data, self.splits = config, data, splits
        self.train_config, self.layout = train_configs[0], layout
        self.seeds = [run.seed for run in train_configs]
        self.folder, self.checkpoints = folder, checkpoints
        longest = longest_chunk(
            config, self.train_config, jax.default_backend(), len(train_configs)
        )
        rows = len(splits[0].train), len(splits[0].labelled)
        self.plan = make_plan(self.train_config, *rows, longest)
        keys = [jax.random.key(run.seed, impl=GENERATORS[run.prng]) for run in train_configs]
        self.keys = layout.put_keys(keys)
        self.rows = layout.put_data(_train_data(config, data, splits))
        self.state: TrainState = layout.init_state(config, self.plan, keys)
        if checkpoints and (saved := checkpoints.restore_latest(layout.to_host(self.state))):
            self.state = layout.put_state(saved)
        self.step = int(np.ravel(layout.to_host(self.state.step))[0])
        self._diverged_at: dict[int, tuple[int, str]] = {}  # seed -> after how many steps, how
        self.metrics: dict[int, list[Json]] = {seed: [] for seed in self.seeds}
        if folder:
            noted = folder.diverged(self.step).items()
            self._diverged_at = {seed: how for seed, how in noted if seed in self.seeds}
            if folder.result() is None:
                done = self.step // self.plan.steps_per_epoch
                self.metrics = folder.truncate_metrics(self.seeds, done, self._diverged_at)
            else:
                found = folder.metrics()
                self.metrics = {seed: found.get(seed, []) for seed in self.seeds}

    @property
    def reasons(self) -> dict[int, str]:
        """Of each seed that diverged, how."""
        return {seed: reason for seed, (_, reason) in self._diverged_at.items()}

    @property
    def is_finished(self) -> bool:
        """Whether the state is that after the last step."""
        return self.step == self.steps

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.plan.epochs * self.plan.steps_per_epoch

    def variables(self, run: int = 0) -> dict[str, Any]:
        """Parameters and running statistics of a run, see ``ladder_jax.ladder.network``."""
        found = {"params": self.state.params, "batch_stats": self.state.batch_stats}
        return self.layout.of_run(found, run)

    def train(
        self,
        on_progress: Callable[[Progress], None] | None,
        should_stop: Callable[[], bool] | None,
        checkpoint_every: int,
    ) -> None:
        """Trains from the current state to the last epoch.

        Raises:
          DivergedError: a cost, or at the end a parameter, is not finite in all runs.
          StoppedError: ``should_stop`` said so; the state is saved.
        """
        plan = self.plan
        started, first = time.perf_counter(), True
        while self.step < self.steps:
            epoch = self.step // plan.steps_per_epoch + 1
            # A run that was begun on another kind of device may have stopped between today's
            # boundaries: the first chunk leads up to the next of them.
            chunk = plan._replace(chunk_steps=plan.chunk_steps - self.step % plan.chunk_steps)
            self.state, costs = _train_chunk(
                self.config,
                chunk,
                self.state,
                self.rows,
                self.keys,
                self._tracks(epoch),
                self.layout,
            )
            self._check_finite(costs)
            if first:
                release_memory()  # what compiling took
                first = False
            self.step += chunk.chunk_steps
            line = None
            if self.step % plan.steps_per_epoch == 0:
                line = self._end_epoch(epoch, started)
                started = time.perf_counter()
                if epoch % checkpoint_every == 0 or self.is_finished:
                    self._save(epoch)
            if on_progress:
                on_progress(self._progress(chunk.chunk_steps, costs, line))
            if not self.is_finished and any_process(bool(should_stop and should_stop())):
                self._stop(epoch)

    def statistics(self, kind: str, run: int = 0) -> Statistics:
        """Moments of layers 1…L of a run by one of ``config.STATISTICS``."""
        variables, split, data = self.variables(run), self.splits[run], self._local
        if kind == "running":
            return running_statistics(variables)
        rows = split.train if kind == "unlabelled" else split.labelled
        batch = self.plan.rows_u if kind == "unlabelled" else self.plan.rows_l
        at = jnp.asarray(rows, jnp.int32)
        return population_statistics(self.config, variables, data.x, data.scale, batch, at)

    def error_percent(
        self, statistics: Statistics, x: np.ndarray, y: np.ndarray, run: int = 0
    ) -> float:
        """Error of a run on rows (N, *input_shape) of the data set with classes (N,)."""
        predicted = predict(self.config, self.variables(run), x, statistics, self._local.scale)
        return error_percent(predicted, y)

    def validation_rows(self, run: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """The held-out rows of a run and their classes."""
        at = self.splits[run].validation
        return self.data.x_train[at], self.data.y_train[at]

    @functools.cached_property
    def _local(self) -> TrainData:
        return self.layout.local_data(self.rows)

    def _live(self) -> list[int]:
        """Runs that have not diverged, by their place."""
        return [run for run, seed in enumerate(self.seeds) if seed not in self._diverged_at]

    def _progress(
        self, chunk_steps: int, costs: dict[str, np.ndarray], line: Json | None
    ) -> Progress:
        means = {name: float(values[self._live()].mean()) for name, values in costs.items()}
        rows = self.plan.rows_l + (self.plan.rows_u if self.config.cost_layers else 0)
        rows *= len(self.seeds)
        counts = self.seeds[0], len(self.seeds)
        return Progress(self.step, self.steps, chunk_steps, rows, means, line, *counts)

    def _tracks(self, epoch: int) -> bool:
        # The running average starts anew each epoch: only epochs whose error by it is
        # reported need the extra forward pass.
        reported = self.train_config.validation and self.train_config.statistics == "running"
        return epoch == self.plan.epochs or bool(reported)

    def _end_epoch(self, epoch: int, started: float) -> Json:
        last_step = jnp.asarray(epoch * self.plan.steps_per_epoch - 1)
        rate = float(learning_rate(self.plan, last_step))
        sums = self.layout.to_host(self.state.cost_sums)
        lines = []
        for name, total in sums.items():  # of finite costs
            for run in self._live():
                if not np.isfinite(np.ravel(total)[run]):
                    what = f"diverged in epoch {epoch}: the sum of cost/{name} is not finite"
                    self._diverged(run, self.step, what)
        for run in self._live():
            line: Json = {
                "seed": self.seeds[run],
                "epoch": epoch,
                "learning_rate": float(f"{rate:.7g}"),  # no more digits than float32 has
            }
            for name, total in sums.items():
                line[f"cost/{name}"] = float(np.ravel(total)[run]) / self.plan.steps_per_epoch
            if self.train_config.validation:
                statistics = self.statistics(self.train_config.statistics, run)
                error = self.error_percent(statistics, *self.validation_rows(run), run)
                line["validation_error_percent"] = error
            lines.append(line)
        seconds = round((time.perf_counter() - started) / len(lines), 3)
        for line in lines:
            line["seconds"] = seconds
            self.metrics[line["seed"]].append(line)
        if self.folder:
            self.folder.append_metrics(lines)
        return lines[0]

    def _check_finite(self, costs: dict[str, np.ndarray]) -> None:
        finite = np.logical_and.reduce([np.isfinite(values) for values in costs.values()])
        for run in self._live():
            if finite[run].all():
                continue
            first = int(np.argmin(finite[run]))
            bad = {n: v[run, first] for n, v in costs.items() if not np.isfinite(v[run, first])}
            if len(bad) > 1:
                bad.pop("total", None)  # it only repeats the others
            epoch, offset = divmod(self.step + first, self.plan.steps_per_epoch)
            what = ", ".join(f"cost/{name} is {value}" for name, value in bad.items())
            reason = f"diverged in epoch {epoch + 1}, step {offset + 1}: {what}"
            self._diverged(run, self.step + first + 1, reason)

    def _save(self, epoch: int) -> None:
        # The last step's own gradient shows in no cost yet.
        state = self.layout.to_host(self.state)
        trained = jax.tree.leaves((state.params, state.opt_state))
        for run in self._live():
            own = (leaf[run] if self.layout.runs > 1 else leaf for leaf in trained)
            if not all(np.isfinite(leaf).all() for leaf in own):
                what = f"diverged in epoch {epoch}, by step {self.step}: a parameter is not finite"
                self._diverged(run, self.step, what)
        if self.checkpoints:
            if self.folder:
                self.folder.sync_metrics()  # a checkpoint never knows of more epochs than they do
            self.checkpoints.save(state)
            release_memory()

    def _diverged(self, run: int, after: int, what: str) -> None:
        """Notes it; ends training if no run is left."""
        self._diverged_at[self.seeds[run]] = after, what
        if self._live():
            if self.folder:
                self.folder.write_diverged(self._diverged_at)
            return
        told = (
            what
            if len(self.seeds) == 1
            else "all seeds diverged: "
            + "; ".join(f"seed {seed} {reason}" for seed, reason in self.reasons.items())
        )
        kept = f"; what was computed is kept in {self.folder.path}" if self.folder else ""
        rate = self.plan.learning_rate
        raise DivergedError(f"{told}; try a smaller learning_rate (it is {rate:g}){kept}")

    def _stop(self, epoch: int) -> NoReturn:
        self._save(epoch)
        if self.checkpoints:
            self.checkpoints.wait()  # only what is on the disk is saved
        kept = f"; saved in {self.folder.path}, run again to go on" if self.folder else ""
        what = f"stopped after step {self.step} of {self.steps}, epoch {epoch}"
        raise StoppedError(f"{what}{kept}")


def _train_chunk(
    config: LadderConfig,
    plan: Plan,
    state: TrainState,
    data: TrainData,
    keys: jax.Array,
    track: bool,
    layout: Layout,
) -> tuple[TrainState, dict[str, np.ndarray]]:
    return layout.train_chunk(config, plan, state, data, keys, track)


def _train_data(config: LadderConfig, data: Dataset, splits: Sequence[Split]) -> TrainData:
    """The rows of one run, or of several with a leading axis where they differ."""
    several = len(splits) > 1
    labelled = [split.labelled.astype(np.int32) for split in splits]
    train = [split.train.astype(np.int32) for split in splits]
    return TrainData(
        x=data.x_train.reshape(-1, *config.input_shape),
        y=data.y_train,
        labelled=np.stack(labelled) if several else labelled[0],
        scale=np.asarray(data.scale, jnp.zeros(()).dtype),
        train=np.stack(train) if several else train[0],
    )
