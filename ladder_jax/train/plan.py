"""Checks what a call of ``train_and_evaluate`` will do before it starts.

The steps of an epoch and the learning rate are in ``train.schedule``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from ladder_jax.config import LadderConfig, TrainConfig
from ladder_jax.data import Dataset, Split
from ladder_jax.data.split import check_fits, split_rows
from ladder_jax.errors import ConfigError, whole
from ladder_jax.storage.description import describe_run
from ladder_jax.storage.files import Json
from ladder_jax.train.parallel import Layout, Parallel


class RunPlan(NamedTuple):
    """The checked settings of a call of ``train_and_evaluate``."""

    config: LadderConfig
    data: Dataset
    runs: list[TrainConfig]  # they differ in their seeds only
    splits: list[Split]  # one for each run
    parallel: Parallel
    at_once: bool  # whether one program trains all runs
    identity: Json  # the content of config.json

    @property
    def groups(self) -> list[slice]:
        """The runs that each program trains, as slices of ``runs``."""
        return [slice(None)] if self.at_once else [slice(i, i + 1) for i in range(len(self.runs))]

    @property
    def layout(self) -> Layout:
        """The layout of the runs of one group on the devices."""
        return self.parallel.layout(len(self.runs) if self.at_once else 1)


def plan_runs(
    config: LadderConfig,
    train_config: TrainConfig,
    data: Dataset,
    num_seeds: int,
    parallel: Parallel | None,
    split: Split | None,
) -> RunPlan:
    """Checks the arguments of ``train_and_evaluate`` against the data and the devices."""
    if not isinstance(parallel, Parallel | None):
        raise ConfigError("parallel", parallel, 'give lj.Parallel(devices="all"), say')
    parallel, runs = parallel or Parallel(), with_seeds(train_config, num_seeds)
    check_fits(config, data)
    splits = [split_rows(run, data, split) for run in runs]
    at_once = trained_at_once(parallel, runs, data)
    identity = describe_run(config, train_config, data, num_seeds, at_once, split)
    plan = RunPlan(config, data, runs, splits, parallel, at_once, identity)
    _ = plan.layout  # fails now, before any data is prepared, if the devices do not exist
    return plan


def trained_at_once(parallel: Parallel, runs: Sequence[TrainConfig], data: Dataset) -> bool:
    """Returns whether one program trains all runs."""
    if not parallel.seeds_at_once(len(runs)):
        return False
    problem = ""
    if data.preprocessing and runs[0].validation and runs[0].data_seed is None:
        # The preprocessing is fitted on each seed's training part, so the inputs differ.
        problem = "with validation each seed's images are preprocessed anew; use sequential"
    elif runs[0].prng != "threefry":
        # For a batch of such keys JAX draws all numbers from the first key.
        problem = f"prng={runs[0].prng} draws other numbers for several seeds at once; use threefry"
    if problem and parallel.seed_mode == "vmap":
        raise ConfigError("seed_mode", "vmap", problem)
    return not problem


def with_seeds(train_config: TrainConfig, num_seeds: int) -> list[TrainConfig]:
    """Returns the settings of each run, with seeds from ``train_config.seed`` up."""
    count = whole("num_seeds", num_seeds, 1)
    seeds = range(train_config.seed, train_config.seed + count)
    return [dataclasses.replace(train_config, seed=seed) for seed in seeds]
