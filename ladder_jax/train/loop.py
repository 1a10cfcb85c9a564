"""The only Python loop over training: compiled chunks of steps, one after the other.

A run can be stopped at any time and goes on from its last checkpoint, bit for bit as if it had not
been stopped: every random number depends on the configuration alone, the compiled chunks of steps
on the configuration and the kind of device. Several runs that differ in their seed only can be
trained at once, by one program.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from ladder_jax.config import LadderConfig
from ladder_jax.errors import DivergedError, StoppedError
from ladder_jax.storage import environment
from ladder_jax.storage.run_folder import Json, MemoryFolder
from ladder_jax.train.checkpoints import Checkpoints, NoCheckpoints
from ladder_jax.train.group import Divergences, Group
from ladder_jax.train.hosts import any_process
from ladder_jax.train.parallel import Layout
from ladder_jax.train.schedule import Plan
from ladder_jax.train.step import TrainData, TrainState


class Progress(NamedTuple):
    """Passed to ``on_progress`` after each compiled chunk.

    Attributes:
      step: steps done.
      steps: steps of the whole run.
      chunk_steps: steps since the last call.
      rows: rows (labelled and unlabelled) in a step, of all runs that are trained at once.
      costs: mean of each cost over the chunk and the runs that have not diverged.
      metrics: the line of metrics.jsonl if the chunk ended an epoch; that of the first seed that
        has not diverged, if several are trained together.
      seed: of the run; the first one, if several are trained together.
      seeds: how many runs are trained at once.
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
    """Who looks on: is shown the progress, and may ask for a stop."""

    on_progress: Callable[[Progress], None] | None
    should_stop: Callable[[], bool] | None

    def wants_stop(self) -> bool:
        """Whether a stop is asked for, in any of several processes; all of them ask at once."""
        return any_process(bool(self.should_stop and self.should_stop()))

    def stop_if_wanted(self, what: str, folder: MemoryFolder) -> None:
        """Ends the run with a ``StoppedError`` where all that was computed is saved."""
        if self.wants_stop():
            kept = f"; saved in {folder.path}, run again to go on" if folder.path else ""
            raise StoppedError(f"{what}{kept}")


class Chunk(NamedTuple):
    """What one compiled call computed.

    Attributes:
      state: after it, on the devices. The next call takes its memory.
      costs: each cost of each step, NumPy arrays (runs, steps).
      step: steps done, those before the chunk among them.
      steps: steps of the chunk.
    """

    state: TrainState
    costs: dict[str, np.ndarray]
    step: int
    steps: int


def chunks(
    config: LadderConfig,
    plan: Plan,
    layout: Layout,
    state: TrainState,
    rows: TrainData,
    keys: jax.Array,
    tracks: Callable[[int], bool],
) -> Iterator[Chunk]:
    """Trains from a state to the last step of the plan.

    Args:
      config: the network.
      plan: as from ``make_plan``.
      layout: how the runs lie on devices.
      state: where to start, on the devices.
      rows: the training rows, likewise on the devices.
      keys: root keys of the runs.
      tracks: whether running statistics are collected in an epoch, counted from 1.
    """
    step = int(np.ravel(layout.to_host(state.step))[0])
    while step < plan.steps:
        # A run that was begun on another kind of device may have stopped between today's
        # boundaries: the first chunk leads up to the next of them.
        own = plan._replace(chunk_steps=plan.chunk_steps - step % plan.chunk_steps)
        epoch = step // plan.steps_per_epoch + 1
        state, costs = layout.train_chunk(config, own, state, rows, keys, tracks(epoch))
        step += own.chunk_steps
        yield Chunk(state, costs, step, own.chunk_steps)


def train(
    group: Group,
    folder: MemoryFolder,
    checkpoints: Checkpoints | NoCheckpoints,
    watch: Watch,
    checkpoint_every: int,
    apart: bool,
) -> None:
    """Trains a group to its last epoch: keeps metrics, saves, and asks whether to stop.

    Args:
      group: the runs; their states are then those after the last step.
      folder: where metrics go.
      checkpoints: where states go.
      watch: is shown the progress, and may ask for a stop.
      checkpoint_every: epochs between checkpoints.
      apart: whether other runs of the same call are trained before or after these.

    Raises:
      DivergedError: a cost or a parameter is not finite in all of the runs.
      StoppedError: ``watch`` asked for a stop; the state is saved.
    """
    plan, started, compiled = group.plan, time.perf_counter(), False
    words = (group.config, plan, group.layout, group.state, group.rows, group.keys)
    for chunk in chunks(*words, group.tracks):
        group.state, group.step = chunk.state, chunk.step
        _note(group, folder, group.bad_costs(chunk.costs, chunk.step - chunk.steps))
        if not compiled:
            environment.release_memory()  # what compiling took
            compiled = True
        lines: list[Json] = []
        epoch, rest = divmod(chunk.step, plan.steps_per_epoch)
        if rest == 0:
            _note(group, folder, group.bad_sums())
            lines = group.epoch_metrics()
            seconds = round((time.perf_counter() - started) / len(lines), 3)
            folder.append_metrics([line | {"seconds": seconds} for line in lines])
            started = time.perf_counter()
            if epoch % checkpoint_every == 0 or group.is_finished:
                _save(group, folder, checkpoints)
        if watch.on_progress:
            line = folder.metrics[lines[0]["seed"]][-1] if lines else None
            watch.on_progress(_progress(group, chunk, line, apart))
        if not group.is_finished and watch.wants_stop():
            _save(group, folder, checkpoints)
            checkpoints.wait()  # only what is on the disk is saved
            epoch = -(-chunk.step // plan.steps_per_epoch)
            kept = f"; saved in {folder.path}, run again to go on" if folder.path else ""
            what = f"stopped after step {chunk.step} of {plan.steps}, epoch {epoch}"
            raise StoppedError(f"{what}{kept}")


def _save(group: Group, folder: MemoryFolder, checkpoints: Checkpoints | NoCheckpoints) -> None:
    state = group.layout.to_host(group.state)
    _note(group, folder, group.bad_parameters(state))
    folder.sync_metrics()  # a checkpoint never knows of more epochs than they do
    checkpoints.save(state)
    environment.release_memory()


def _note(group: Group, folder: MemoryFolder, found: Divergences) -> None:
    """Keeps which runs diverged.

    Raises:
      DivergedError: no run is left.
    """
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


def _progress(group: Group, chunk: Chunk, line: Json | None, apart: bool) -> Progress:
    live, plan = group.live(), group.plan
    rows = plan.rows_l + (plan.rows_u if group.config.cost_layers else 0)
    return Progress(
        step=chunk.step,
        steps=plan.steps,
        chunk_steps=chunk.steps,
        rows=rows * len(group.seeds),
        costs={name: float(values[live].mean()) for name, values in chunk.costs.items()},
        metrics=line,
        seed=group.seeds[0],
        seeds=len(group.seeds),
        apart=apart,
    )
