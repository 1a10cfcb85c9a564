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

from ladder_jax.config import STATISTICS, LadderConfig, TrainConfig
from ladder_jax.data import Dataset, Split, prepare
from ladder_jax.errors import DivergedError, RunError, whole
from ladder_jax.storage import environment
from ladder_jax.storage.files import Json
from ladder_jax.storage.run_folder import CHECKPOINTS, CONFIG, LABELS, RunFolder
from ladder_jax.train.checkpoints import KEEP, Checkpoints
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
      DivergedError: every run has a cost or a parameter that is not finite; the last checkpoints
        and metrics are kept. If other seeds finish, a diverged one is in ``summary["runs"]`` with
        its ``reason``.
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
            summary = None  # one of the hosts does not see it yet
        if summary is not None:
            saved = None
            with suppress(RunError):  # without its weights it is evaluated again
                saved = _saved_models(folder, summary)
            if not any_process(saved is None):
                return _result(plan, folder, summary, saved or [])
        watch = Watch(on_progress, should_stop if summary is None else None)
        entries: list[Json] = []
        models: list[Model] = []
        for own in plan.groups:
            own_entries, own_models = train_group(plan, own, folder, watch, summary, **saving)
            entries += own_entries
            models += own_models
        wait_for_processes("evaluated")
        if not models:
            reasons = "; ".join(f"seed {entry['seed']} {entry['reason']}" for entry in entries)
            raise DivergedError(f"all seeds diverged: {reasons}")
        if summary is None:
            # The time of a resumed run's earlier part is known from the seconds of its epochs only.
            trained = sum(line["seconds"] for line in _metrics(plan, folder))
            summary = summarize(entries, train_config.statistics) | {
                "device": environment.device(plan.layout.devices),
                "config": plan.identity,
                "versions": versions,
                "wall_seconds": round(max(trained, time.perf_counter() - started), 1),
            }
        folder.finish(lambda: pack_models(models), summary, plan.at_once)
        return _result(plan, folder, summary, models)


def open_folder(workdir: str | os.PathLike[str] | None, plan: RunPlan, resume: bool) -> RunFolder:
    """Opens the run folder, which only the first process writes."""
    if workdir is None:
        return RunFolder(None, plan.identity)
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
        if folder:
            folder.close()
        raise RunError(f"workdir={workdir}: not all hosts see it; choose a folder that they share")
    return folder or RunFolder(workdir, plan.identity, writes=False)


def train_group(
    plan: RunPlan,
    own: slice,
    folder: RunFolder,
    watch: Watch,
    summary: Json | None,
    *,
    checkpoint_every: int,
    keep: int,
) -> tuple[list[Json], list[Model]]:
    """Trains the runs that one program computes; returns entries of result.json and models."""
    runs, splits, apart = plan.runs[own], plan.splits[own], len(plan.groups) > 1
    # There is a summary if the runs had finished before and are evaluated again.
    known = {entry["seed"]: entry for entry in summary["runs"]} if summary else {}
    first = runs[0].seed
    if apart and "reason" in known.get(first, {}):
        return [known[first]], []
    if apart:
        watch.stop_if_wanted(f"stopped before seed {first}", folder)
    data = plan.data
    if runs[0].validation:  # the test set is then not even prepared
        data = dataclasses.replace(data, x_test=None, y_test=None)
    ready, transform = prepare(data, splits[0].train)
    environment.make_room()  # the step may be compiled anew
    saved_in = folder.path and folder.path / CHECKPOINTS / (f"seed{first}" if apart else "")
    with Checkpoints(saved_in, keep) as checkpoints:
        group = Group(plan.config, runs, ready, splits, plan.layout)
        saved = checkpoints.restore_latest(group.state_shapes)
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
                f"workdir={folder.path}: is a finished run whose weights and last checkpoint are "
                "gone; choose another work folder, or remove its result.json to train on"
            )
        checkpoints.wait()  # the evaluation may take long
        entries: list[Json] = []
        models: list[Model] = []
        for place, run in enumerate(runs):
            if run.seed in group.diverged:
                reason = group.diverged[run.seed][1]
                entries.append({"seed": run.seed, "test_error_percent": None, "reason": reason})
                continue
            found = {}
            for kind in STATISTICS:  # each may take minutes
                watch.stop_if_wanted("stopped in the evaluation", folder)
                found[kind] = group.statistics(kind, place)
            entries.append(known.get(run.seed) or group.errors(found, place))
            model = Model(
                config=plan.config,
                train_config=run,
                variables=group.variables(place),
                statistics=found,
                scale=ready.scale,
                prepare=transform,
            )
            models.append(model)
    return entries, models


def _saved_models(folder: RunFolder, summary: Json) -> list[Model]:
    """Reads the models of a finished run, one of each seed that did not diverge."""
    if folder.path is None:
        return []
    seeds = [entry["seed"] for entry in summary["runs"] if "reason" not in entry]
    return [load_network(folder.path, seed) for seed in seeds]


def _result(plan: RunPlan, folder: RunFolder, summary: Json, models: list[Model]) -> Result:
    """Returns the result of a call from its models and their entries in the summary."""
    entries = {entry["seed"]: entry for entry in summary["runs"]}
    runs = {run.seed: (run, split) for run, split in zip(plan.runs, plan.splits, strict=True)}
    results = []
    for model in models:
        seed = model.train_config.seed
        train_config, split = runs[seed]
        of_model = {field.name: getattr(model, field.name) for field in dataclasses.fields(Model)}
        own = Result(
            **of_model | {"train_config": train_config},
            summary=summarize([entries[seed]], train_config.statistics),
            metrics=folder.metrics.get(seed, []),
            split=split,
        )
        results.append(own)
    several = tuple(results) if len(plan.runs) > 1 else ()
    metrics = _metrics(plan, folder)
    return dataclasses.replace(results[0], summary=summary, metrics=metrics, runs=several)


def _metrics(plan: RunPlan, folder: RunFolder) -> list[Json]:
    """Returns the metrics of all runs, seed by seed."""
    return [line for run in plan.runs for line in folder.metrics.get(run.seed, [])]
