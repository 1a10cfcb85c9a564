"""Trains in compiled chunks of steps; this is the only Python loop over training."""

# A run can be stopped at any time and continues from its last checkpoint, bit for bit as if it had
# not been stopped: every random number depends on the configuration alone, and the compiled chunks
# of steps depend on the configuration and the kind of device.

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from ladder_jax.errors import DivergedError, StoppedError
from ladder_jax.storage import environment
from ladder_jax.storage.files import Json
from ladder_jax.storage.run_folder import RunFolder
from ladder_jax.train.checkpoints import Checkpoints
from ladder_jax.train.group import Divergences, Group
from ladder_jax.train.hosts import any_process


class Progress(NamedTuple):
    """The progress of a run, passed to ``on_progress`` after each compiled chunk.

    Attributes:
      step: number of steps done.
      steps: number of steps of the run.
      chunk_steps: number of steps since the last call.
      rows: labelled and unlabelled rows per step, of all runs that are trained at once.
      costs: mean of each cost over the chunk and over the runs that have not diverged.
      metrics: the line of metrics.jsonl if the chunk ended an epoch, else None. If several seeds
        are trained at once, it is that of the first one that has not diverged.
      seed: seed of the run, or the first seed if several are trained at once.
      seeds: number of runs that are trained at once.
      apart: whether this is one of several runs that are trained one after the other.
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


class Watch(NamedTuple):
    """The callbacks of the caller: one receives the progress, one asks for a stop."""

    on_progress: Callable[[Progress], None] | None
    should_stop: Callable[[], bool] | None

    def stop_if_wanted(
        self, what: str, folder: RunFolder, save: Callable[[], None] | None = None
    ) -> None:
        """Raises a StoppedError if any process asks for a stop, after ``save``."""
        # All processes must call this. Without ``save`` everything must be saved already.
        if any_process(bool(self.should_stop and self.should_stop())):
            if save:
                save()
            kept = f"; saved in {folder.path}, run again to go on" if folder.path else ""
            raise StoppedError(f"{what}{kept}")


def chunks(group: Group) -> Iterator[dict[str, np.ndarray]]:
    """Trains a group to its last step and yields each compiled call's costs, (runs, steps)."""
    plan = group.plan
    while not group.is_finished:
        # After a move to another kind of device the step may lie inside a chunk: the first call
        # only completes it.
        own = plan.replace(chunk_steps=plan.chunk_steps - group.step % plan.chunk_steps)
        track = group.tracks(group.step // plan.steps_per_epoch + 1)
        group.state, costs = group.layout.train_chunk(
            group.config, own, group.state, group.rows, group.keys, track
        )
        group.step += own.chunk_steps
        yield costs


def train(
    group: Group,
    folder: RunFolder,
    checkpoints: Checkpoints,
    watch: Watch,
    checkpoint_every: int,
    apart: bool,
) -> None:
    """Trains a group to its last epoch, and writes its metrics and checkpoints."""
    plan, started, compiled = group.plan, time.perf_counter(), False

    def save() -> None:
        _save(group, folder, checkpoints)
        checkpoints.wait()  # the message says that the state is saved

    for costs in chunks(group):
        _note(group, folder, group.bad_costs(costs))
        if not compiled:
            environment.release_memory()  # which the compiler no longer needs
            compiled = True
        lines: list[Json] = []
        epoch, rest = divmod(group.step, plan.steps_per_epoch)
        if rest == 0:
            _note(group, folder, group.bad_sums())
            lines = group.epoch_metrics()
            seconds = round((time.perf_counter() - started) / len(lines), 3)
            lines = [line | {"seconds": seconds} for line in lines]
            folder.append_metrics(lines)
            started = time.perf_counter()
            if epoch % checkpoint_every == 0 or group.is_finished:
                _save(group, folder, checkpoints)
        if watch.on_progress:
            watch.on_progress(_progress(group, costs, lines[0] if lines else None, apart))
        if not group.is_finished:
            epoch = -(-group.step // plan.steps_per_epoch)
            what = f"stopped after step {group.step} of {plan.steps}, epoch {epoch}"
            watch.stop_if_wanted(what, folder, save)


def _save(group: Group, folder: RunFolder, checkpoints: Checkpoints) -> None:
    """Saves the state of a group, after a check for parameters that are not finite."""
    state = group.layout.to_host(group.state)
    _note(group, folder, group.bad_parameters(state))
    folder.sync_metrics()  # before the checkpoint, which needs their epochs
    checkpoints.save(state)
    environment.release_memory()


def _note(group: Group, folder: RunFolder, found: Divergences) -> None:
    """Records which runs diverged, and raises a DivergedError if no run is left."""
    if not found:
        return
    group.diverged |= found
    if group.live():
        folder.write_diverged(group.diverged)
        return
    reasons = "; ".join(f"seed {seed} {how}" for seed, (_, how) in group.diverged.items())
    (_, only), *others = group.diverged.values()
    what = f"all seeds diverged: {reasons}" if others else only
    kept = f"; what was computed is kept in {folder.path}" if folder.path else ""
    rate = group.plan.learning_rate
    raise DivergedError(f"{what}; try a smaller learning_rate (it is {rate:g}){kept}")


def _progress(
    group: Group, costs: dict[str, np.ndarray], line: Json | None, apart: bool
) -> Progress:
    """Returns the progress after a chunk with these costs, (runs, steps)."""
    live, plan = group.live(), group.plan
    rows = plan.rows_l + (plan.rows_u if group.config.cost_layers else 0)
    return Progress(
        step=group.step,
        steps=plan.steps,
        chunk_steps=costs["total"].shape[1],
        rows=rows * len(group.seeds),
        costs={name: float(values[live].mean()) for name, values in costs.items()},
        metrics=line,
        seed=group.seeds[0],
        seeds=len(group.seeds),
        apart=apart,
    )
