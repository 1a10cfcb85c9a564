"""Holds the runs that one program trains together: rows and states on devices, and metrics."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ladder_jax.config import GENERATORS, LadderConfig, TrainConfig
from ladder_jax.data import Dataset, Split
from ladder_jax.ladder.network import running_statistics
from ladder_jax.storage.files import Json
from ladder_jax.train.evaluation import Statistics, error_percent, population_statistics, predict
from ladder_jax.train.parallel import Layout, init_states
from ladder_jax.train.schedule import learning_rate, longest_chunk, make_plan
from ladder_jax.train.step import TrainData, TrainState

Divergences = dict[int, tuple[int, str]]
"""Maps a seed to the number of steps after which its run diverged, and to the reason."""


class Group:
    """Runs that one program trains together, with their rows and states on the devices."""

    def __init__(
        self,
        config: LadderConfig,
        train_configs: Sequence[TrainConfig],
        data: Dataset,
        splits: Sequence[Split],
        layout: Layout,
    ):
        self.config, self.data, self.splits, self.layout = config, data, splits, layout
        self.train_config = train_configs[0]  # they differ in their seeds only
        self.seeds = [run.seed for run in train_configs]
        backend, runs = jax.default_backend(), len(train_configs)
        longest = longest_chunk(config, self.train_config, backend, runs)
        counts = len(splits[0].train), len(splits[0].labelled)
        self.plan = make_plan(self.train_config, *counts, longest)
        keys = [jax.random.key(run.seed, impl=GENERATORS[run.prng]) for run in train_configs]
        self.keys = layout.put_keys(keys)
        self.rows = layout.put_data(_train_data(config, data, splits))
        self.state: TrainState = layout.init_state(config, self.plan, keys)
        self.state_shapes = jax.eval_shape(functools.partial(init_states, config, self.plan), keys)
        self.step = 0
        self.diverged: Divergences = {}

    def start_from(self, saved: TrainState) -> None:
        """Continues from a state of NumPy arrays, as a checkpoint holds it."""
        self.state = self.layout.put_state(saved)
        self.step = int(np.ravel(saved.step)[0])

    @property
    def is_finished(self) -> bool:
        """Whether all steps are done."""
        return self.step >= self.plan.steps

    def live(self) -> list[int]:
        """Returns the indices of the runs that have not diverged."""
        return [place for place, seed in enumerate(self.seeds) if seed not in self.diverged]

    def bad_costs(self, costs: dict[str, np.ndarray]) -> Divergences:
        """Returns the live runs with a cost that is not finite, given costs (runs, steps)."""
        found: Divergences = {}
        finite = np.logical_and.reduce([np.isfinite(values) for values in costs.values()])
        for run in self.live():
            if finite[run].all():
                continue
            first = int(np.argmin(finite[run]))
            own = {name: values[run, first] for name, values in costs.items()}
            bad = {name: value for name, value in own.items() if not np.isfinite(value)}
            if len(bad) > 1:
                bad.pop("total", None)  # it only repeats the others
            at = self.step - finite.shape[1] + first  # steps done before the bad one
            epoch, offset = divmod(at, self.plan.steps_per_epoch)
            what = ", ".join(f"cost/{name} is {value}" for name, value in bad.items())
            reason = f"diverged in epoch {epoch + 1}, step {offset + 1}: {what}"
            found[self.seeds[run]] = at + 1, reason
        return found

    def bad_sums(self) -> Divergences:
        """Returns the live runs whose finite costs have a sum over the epoch that is not finite."""
        found: Divergences = {}
        epoch = self.step // self.plan.steps_per_epoch
        for name, sums in self._cost_sums().items():
            for run in self.live():
                if self.seeds[run] not in found and not np.isfinite(sums[run]):
                    what = f"diverged in epoch {epoch}: the sum of cost/{name} is not finite"
                    found[self.seeds[run]] = self.step, what
        return found

    def bad_parameters(self, state: TrainState) -> Divergences:
        """Returns the live runs with a parameter that is not finite, given NumPy arrays."""
        found: Divergences = {}
        epoch = -(-self.step // self.plan.steps_per_epoch)
        # The gradient of the last step does not show in any cost yet.
        trained = jax.tree.leaves((state.params, state.opt_state))
        for run in self.live():
            own = (leaf[run] if self.layout.runs > 1 else leaf for leaf in trained)
            if not all(np.isfinite(leaf).all() for leaf in own):
                what = f"diverged in epoch {epoch}, by step {self.step}: a parameter is not finite"
                found[self.seeds[run]] = self.step, what
        return found

    def epoch_metrics(self) -> list[Json]:
        """Returns a line of metrics for each live run at the end of an epoch."""
        plan, epoch = self.plan, self.step // self.plan.steps_per_epoch
        rate = float(learning_rate(plan, jnp.asarray(self.step - 1)))
        sums, lines = self._cost_sums(), []
        for run in self.live():
            line: Json = {
                "seed": self.seeds[run],
                "epoch": epoch,
                "learning_rate": float(f"{rate:.7g}"),  # no more digits than float32 has
            }
            for name, totals in sums.items():
                line[f"cost/{name}"] = float(totals[run]) / plan.steps_per_epoch
            if self.train_config.validation:
                statistics = self.statistics(self.train_config.statistics, run)
                error = self.error_percent(statistics, *self.validation_rows(run), run)
                line["validation_error_percent"] = error
            lines.append(line)
        return lines

    def variables(self, run: int = 0) -> dict[str, Any]:
        """Returns the parameters and running statistics of a run."""
        found = {"params": self.state.params, "batch_stats": self.state.batch_stats}
        return self.layout.of_run(found, run)

    def statistics(self, kind: str, run: int = 0) -> Statistics:
        """Returns the moments of layers 1…L of a run, by one of ``config.STATISTICS``."""
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
        """Returns the error of a run on rows (N, *input_shape) with classes (N,)."""
        predicted = predict(self.config, self.variables(run), x, statistics, self._local.scale)
        return error_percent(predicted, y)

    def errors(self, found: dict[str, Statistics], run: int = 0) -> Json:
        """Returns the errors of a run by each kind of statistics, as an entry of result.json."""

        def by_kind(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
            return {kind: self.error_percent(own, x, y, run) for kind, own in found.items()}

        # The test set is used here only, and not at all if there are validation rows.
        entry: Json = {"seed": self.seeds[run], "test_error_percent": None}
        if self.train_config.validation:
            entry["validation_error_percent"] = by_kind(*self.validation_rows(run))
        elif self.data.x_test is not None and self.data.y_test is not None:
            entry["test_error_percent"] = by_kind(self.data.x_test, self.data.y_test)
        return entry

    def validation_rows(self, run: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Returns the validation rows of a run and their classes."""
        at = self.splits[run].validation
        return self.data.x_train[at], self.data.y_train[at]

    def tracks(self, epoch: int) -> bool:
        """Returns whether running statistics are collected in an epoch, counted from 1."""
        # The running average restarts each epoch, so only epochs that report an error by it
        # need the extra forward pass.
        reported = self.train_config.validation and self.train_config.statistics == "running"
        return epoch == self.plan.epochs or bool(reported)

    @functools.cached_property
    def _local(self) -> TrainData:
        """The rows, with what all runs share on one device of this process."""
        return self.layout.local_data(self.rows)

    def _cost_sums(self) -> dict[str, np.ndarray]:
        """Returns the sum of each cost over the epoch so far, (runs,)."""
        sums = self.layout.to_host(self.state.cost_sums)
        return {name: np.ravel(total) for name, total in sums.items()}


def _train_data(config: LadderConfig, data: Dataset, splits: Sequence[Split]) -> TrainData:
    """Returns the rows of the runs; what differs between several has a leading axis."""
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
