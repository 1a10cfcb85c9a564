"""Takes a configuration and data to a result and a run folder."""

# ``plan_runs`` checks everything before anything is touched, ``open_folder`` opens the run folder,
# ``train_group`` trains and evaluates the runs that one program computes, and
# ``train_and_evaluate`` combines their outcomes.

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import NamedTuple

from ladder_jax.config import STATISTICS, LadderConfig, TrainConfig
from ladder_jax.data import Dataset, Split, prepare
from ladder_jax.errors import DivergedError, RunError, whole
from ladder_jax.storage import environment
from ladder_jax.storage.run_folder import (
    CHECKPOINTS,
    CONFIG,
    LABELS,
    Json,
    MemoryFolder,
    RunFolder,
)
from ladder_jax.train.checkpoints import KEEP, Checkpoints, NoCheckpoints
from ladder_jax.train.group import Group
from ladder_jax.train.hosts import (
    any_process,
    check_same_settings,
    is_first_process,
    kept_in,
    naming_lost_peers,
    wait_for_processes,
)
from ladder_jax.train.loop import Progress, Watch, train
from ladder_jax.train.parallel import Parallel
from ladder_jax.train.plan import RunPlan, plan_runs
from ladder_jax.train.result import (
    Model,
    Result,
    load_network,
    matmul_precision,
    pack_models,
    summarize,
)

CHECKPOINT_EVERY = 5
"""Number of epochs between checkpoints."""


class Outcome(NamedTuple):
    """The outcome of one run."""

    entry: Json  # of result.json
    result: Result | None  # None if the run diverged


def train_and_evaluate(
    config: LadderConfig,
    train_config: TrainConfig,
    data: Dataset,
    *,
    num_seeds: int = 1,
    parallel: Parallel | None = None,
    workdir: str | os.PathLike[str] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    checkpoint_every: int = CHECKPOINT_EVERY,
    keep: int = KEEP,
    resume: bool = True,
    split: Split | None = None,
) -> Result:
    """Trains one model, or one for each of several seeds, and measures its errors.

    If the process is near its limit of memory maps, all compiled programs are dropped first, see
    ``ladder_jax.storage.environment``.

    Args:
      config: the network.
      train_config: how it is trained.
      data: from ``data.load`` or ``data.from_arrays``.
      num_seeds: number of runs, with seeds ``train_config.seed`` and up. Each has its own weights,
        noise, order of rows and, unless ``data_seed`` is given, its own split.
      parallel: devices, and whether seeds are trained at once; None is ``Parallel()``.
      workdir: run folder. An unfinished run there is continued, and a finished one is returned.
        None keeps nothing on disk. All hosts of a run need to see it.
      on_progress: called after each compiled chunk of steps.
      should_stop: called after each chunk; if it returns true, the run is saved and ends.
      checkpoint_every: epochs between checkpoints.
      keep: how many of the newest checkpoints are kept.
      resume: if false and the folder has a run, that run is moved into a subfolder before-1,
        before-2, …, and a new one begins.
      split: rows to use, for all seeds, instead of those that ``labels``, ``validation`` and
        ``data_seed`` choose.

    Returns:
      The result, with one result per seed in ``runs`` if there are several.

    Raises:
      ConfigError: the configuration does not fit the data, or differs between processes.
      RunError: the work folder cannot be used, is in use, or a file in it cannot be written.
      DivergedError: a cost is not finite in all runs; the last checkpoints and metrics are kept. If
        other seeds finish, a diverged one is in ``summary["runs"]`` with its ``reason``.
      StoppedError: ``should_stop`` returned true in one of the processes.
      PeerError: another process of a run on several hosts is lost.
    """
    started = time.perf_counter()
    saving = {"checkpoint_every": checkpoint_every, "keep": keep}
    for name, value in saving.items():
        whole(name, value, 1)
    plan = plan_runs(config, train_config, data, num_seeds, parallel, split)
    versions = environment.versions()  # of the code that runs now, not of a later commit
    with ExitStack() as held:
        held.enter_context(naming_lost_peers(kept_in(workdir)))
        held.enter_context(matmul_precision(train_config))
        ways = {"parallel": dataclasses.asdict(plan.parallel), "checkpoint_every": checkpoint_every}
        check_same_settings(plan.identity | ways)
        folder = held.enter_context(open_folder(workdir, plan, resume))
        summary = folder.result()
        if any_process(summary is None):
            summary = None  # not all hosts see it yet
        if summary is not None:
            with suppress(RunError):  # without its weights it is evaluated again
                return _finished_result(folder, summary, plan)
        watch = Watch(on_progress, should_stop if summary is None else None)
        outcomes = [
            outcome
            for own in plan.groups
            for outcome in train_group(plan, own, folder, watch, summary, **saving)
        ]
        wait_for_processes("evaluated")
        entries = [outcome.entry for outcome in outcomes]
        results = [outcome.result for outcome in outcomes if outcome.result is not None]
        if not results:
            reasons = "; ".join(f"seed {entry['seed']} {entry['reason']}" for entry in entries)
            raise DivergedError(f"all seeds diverged: {reasons}")
        metrics = _metrics(folder, plan)
        if summary is None:
            # The time of a resumed run's earlier part is known from the seconds of its epochs only.
            seconds = max(sum(line["seconds"] for line in metrics), time.perf_counter() - started)
            summary = summarize(entries, train_config.statistics) | {
                "device": environment.device(plan.layout.devices),
                "config": plan.identity,
                "versions": versions,
                "wall_seconds": round(seconds, 1),
            }
        folder.finish(lambda: pack_models(results), summary, plan.at_once)
    return _joined(results, summary, metrics, plan)


def open_folder(
    workdir: str | os.PathLike[str] | None, plan: RunPlan, resume: bool
) -> MemoryFolder:
    """Opens the run folder, which only the first process writes, or one in memory for None."""
    if workdir is None:
        return MemoryFolder()
    folder, problem = None, None
    try:
        if is_first_process():
            folder = RunFolder(workdir, plan.identity, resume=resume)
            pairs = zip(plan.runs, plan.splits, strict=True)
            labelled = {
                str(run.seed): list(dict.fromkeys(own.labelled.tolist())) for run, own in pairs
            }
            if folder.result() is None:
                folder.write(LABELS, labelled)
    except RunError as error:
        problem = error
        if folder:
            folder.close()
    if any_process(problem is not None):  # the others wait here until the first has written
        raise problem or RunError(f"workdir={workdir}: the first process cannot use it")
    if any_process(not os.path.exists(os.path.join(workdir, CONFIG))):
        raise RunError(f"workdir={workdir}: not all hosts see it; choose a folder that they share")
    return folder or RunFolder(workdir, plan.identity, writes=False)


def train_group(
    plan: RunPlan,
    own: slice,
    folder: MemoryFolder,
    watch: Watch,
    summary: Json | None,
    *,
    checkpoint_every: int,
    keep: int,
) -> list[Outcome]:
    """Trains and evaluates the runs that one program computes, from their last checkpoint."""
    runs, splits, apart = plan.runs[own], plan.splits[own], len(plan.groups) > 1
    # There is a summary if the runs had finished before and are evaluated again.
    known = {entry["seed"]: entry for entry in summary["runs"]} if summary else {}
    first = runs[0].seed
    if apart and "reason" in known.get(first, {}):
        return [Outcome(known[first], None)]
    if apart:
        watch.stop_if_wanted(f"stopped before seed {first}", folder)
    data = plan.data
    if runs[0].validation:  # the test set is then not even prepared
        data = dataclasses.replace(data, x_test=None, y_test=None)
    ready, transform = prepare(data, splits[0].train)
    environment.make_room()  # the step may be compiled anew
    with _checkpoints(folder, f"seed{first}" if apart else "", keep) as checkpoints:
        group = Group(plan.config, runs, ready, splits, plan.layout)
        saved = checkpoints.restore_latest(lambda: group.layout.to_host(group.state))
        if saved is not None:
            group.start_from(saved)
        noted = folder.diverged(group.step).items()
        group.diverged = {seed: how for seed, how in noted if seed in group.seeds}
        if summary is None:
            epochs = group.step // group.plan.steps_per_epoch
            folder.keep_epochs(group.seeds, epochs, group.diverged)
            try:
                train(group, folder, checkpoints, watch, checkpoint_every, apart)
            except DivergedError:
                if not apart:
                    raise
        elif not group.is_finished:
            raise RunError(
                f"workdir={folder.path}: is a finished run (test error "
                f"{summary['test_error_percent']} %) whose weights and last checkpoint are gone; "
                "choose another work folder, or remove its result.json to train on"
            )
        checkpoints.wait()  # the evaluation may take long
        outcomes = []
        for place, run in enumerate(runs):
            if run.seed in group.diverged:
                reason = group.diverged[run.seed][1]
                entry = {"seed": run.seed, "test_error_percent": None, "reason": reason}
                outcomes.append(Outcome(entry, None))
                continue
            found = {}
            for kind in STATISTICS:  # each may take minutes
                watch.stop_if_wanted("stopped in the evaluation", folder)
                found[kind] = group.statistics(kind, place)
            entry = known.get(run.seed) or group.errors(found, place)
            result = Result(
                config=plan.config,
                train_config=run,
                summary=summarize([entry], run.statistics),
                variables=group.variables(place),
                statistics=found,
                metrics=folder.metrics.get(run.seed, []),
                split=splits[place],
                scale=ready.scale,
                prepare=transform,
            )
            outcomes.append(Outcome(entry, result))
    return outcomes


def _finished_result(folder: MemoryFolder, summary: Json, plan: RunPlan) -> Result:
    """Returns the result of a finished run from its files, which are not changed."""
    results = []
    by_seed = {run.seed: (run, own) for run, own in zip(plan.runs, plan.splits, strict=True)}
    for entry in summary["runs"]:
        if "reason" in entry or folder.path is None:
            continue
        run, split = by_seed[entry["seed"]]
        model = load_network(folder.path, run.seed)
        known = {field.name: getattr(model, field.name) for field in dataclasses.fields(Model)}
        results.append(
            Result(
                **known | {"train_config": run},
                summary=summarize([entry], run.statistics),
                metrics=folder.metrics.get(run.seed, []),
                split=split,
            )
        )
    return _joined(results, summary, _metrics(folder, plan), plan)


def _joined(results: list[Result], summary: Json, metrics: list[Json], plan: RunPlan) -> Result:
    """Returns the result of a call from those of its runs."""
    several = tuple(results) if len(plan.runs) > 1 else ()
    return dataclasses.replace(results[0], summary=summary, metrics=metrics, runs=several)


def _metrics(folder: MemoryFolder, plan: RunPlan) -> list[Json]:
    """Returns the metrics of all runs, seed by seed."""
    return [line for run in plan.runs for line in folder.metrics.get(run.seed, [])]


def _checkpoints(folder: MemoryFolder, name: str, keep: int) -> Checkpoints | NoCheckpoints:
    """Opens the checkpoints of a group of runs."""
    if folder.path is None:
        return NoCheckpoints()
    return Checkpoints(folder.path / CHECKPOINTS / name, keep)
