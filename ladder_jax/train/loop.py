"""Trains in compiled chunks of steps; this is the only Python loop over training."""

# A run can be stopped at any time and continues from its last checkpoint, bit for bit as if it had
# not been stopped: every random number depends on the configuration alone, and the compiled chunks
# of steps depend on the configuration and the kind of device.

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

    def wants_stop(self) -> bool:
        """Returns whether any process asks for a stop; all processes must call it."""
        return any_process(bool(self.should_stop and self.should_stop()))

    def stop_if_wanted(self, what: str, folder: MemoryFolder) -> None:
        """Raises a StoppedError if a stop is asked for; everything must be saved before."""
        if self.wants_stop():
            kept = f"; saved in {folder.path}, run again to go on" if folder.path else ""
            raise StoppedError(f"{what}{kept}")


class Chunk(NamedTuple):
    """The result of one compiled call."""

    state: TrainState  # on the devices; the next call takes its memory
    costs: dict[str, np.ndarray]  # (runs, steps)
    step: int  # steps done, including those of the chunk
    steps: int  # steps of the chunk


def chunks(
    config: LadderConfig,
    plan: Plan,
    layout: Layout,
    state: TrainState,
    rows: TrainData,
    keys: jax.Array,
    tracks: Callable[[int], bool],
) -> Iterator[Chunk]:
    """Yields the chunks from a state on the devices to the last step of the plan."""
    step = int(np.ravel(layout.to_host(state.step))[0])
    while step < plan.steps:
        # A run that began on another kind of device may have stopped between two boundaries of
        # this plan: its first chunk ends at the next one.
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
    """Trains a group to its last epoch, and writes its metrics and checkpoints."""
    plan, started, compiled = group.plan, time.perf_counter(), False
    words = (group.config, plan, group.layout, group.state, group.rows, group.keys)
    for chunk in chunks(*words, group.tracks):
        group.state, group.step = chunk.state, chunk.step
        _note(group, folder, group.bad_costs(chunk.costs, chunk.step - chunk.steps))
        if not compiled:
            environment.release_memory()  # which the compiler no longer needs
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
            checkpoints.wait()  # the message says that the state is saved
            epoch = -(-chunk.step // plan.steps_per_epoch)
            kept = f"; saved in {folder.path}, run again to go on" if folder.path else ""
            what = f"stopped after step {chunk.step} of {plan.steps}, epoch {epoch}"
            raise StoppedError(f"{what}{kept}")


def _save(group: Group, folder: MemoryFolder, checkpoints: Checkpoints | NoCheckpoints) -> None:
    """Saves the state of a group, after a check for parameters that are not finite."""
    state = group.layout.to_host(group.state)
    _note(group, folder, group.bad_parameters(state))
    folder.sync_metrics()  # before the checkpoint, which needs their epochs
    checkpoints.save(state)
    environment.release_memory()


def _note(group: Group, folder: MemoryFolder, found: Divergences) -> None:
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


def _progress(group: Group, chunk: Chunk, line: Json | None, apart: bool) -> Progress:
    """Returns the progress after a chunk."""
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
