"""From configuration and data to a result and a run folder."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from typing import NamedTuple

from ladder_jax.config import STATISTICS, LadderConfig, TrainConfig
from ladder_jax.data import Dataset, Split, prepare
from ladder_jax.data.split import check_fits, split_rows
from ladder_jax.errors import ConfigError, DivergedError, RunError, StoppedError, whole
from ladder_jax.storage import environment
from ladder_jax.storage.environment import make_room
from ladder_jax.storage.run_folder import (
    Json,
    RunFolder,
    describe_run,
    upgrade_config,
)
from ladder_jax.train.checkpoints import KEEP, Checkpoints
from ladder_jax.train.hosts import (
    any_process,
    check_same_settings,
    is_first_process,
    kept_in,
    naming_lost_peers,
    wait_for_processes,
)
from ladder_jax.train.loop import Progress, Trainer
from ladder_jax.train.parallel import Parallel
from ladder_jax.train.result import (
    Model,
    Result,
    errors_of_run,
    load_network,
    matmul_precision,
    pack_models,
    summarize,
)
from ladder_jax.train.schedule import with_seeds

CHECKPOINT_EVERY = 5
"""Epochs from one checkpoint to the next."""


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

    In a process near its limit of memory maps all compiled programs are forgotten before, see
    ``ladder_jax.storage.environment``.

    Args:
      config: the network.
      train_config: how it is trained.
      data: as from ``data.load`` or ``data.from_arrays``.
      num_seeds: how many runs, with seeds ``train_config.seed`` and up. Each has its own weights,
        noise, order of rows and, unless ``data_seed`` is given, its own split.
      parallel: devices, and seeds at once or one after the other; None is ``Parallel()``.
      workdir: run folder; an unfinished run there is continued, a finished one returned.
        None keeps nothing on disk. Of a run on several hosts all of them need to see it.
      on_progress: called after each compiled chunk of steps.
      should_stop: asked after each chunk; if true the run is saved and left.
      checkpoint_every: epochs between checkpoints.
      keep: how many of the newest checkpoints stay.
      resume: if false and the folder has a run, that is moved into before-1, before-2, … there,
        and a new one begins.
      split: rows to take, for all seeds, in the place of those that ``labels``, ``validation``
        and ``data_seed`` choose.

    Raises:
      ConfigError: the configuration does not fit the data, or the processes differ in theirs.
      RunError: the work folder can't be used, is in use, or a file there cannot be written.
      DivergedError: a cost is not finite in all runs; last checkpoints and metrics are kept. Where
        other seeds finish, a diverged one is in ``summary["runs"]`` with its ``reason``.
      StoppedError: ``should_stop`` said so, in any of several processes.
      PeerError: another process of a run on several hosts is gone.
    """
    started = time.perf_counter()
    for name, value in (("checkpoint_every", checkpoint_every), ("keep", keep)):
        whole(name, value, 1)
    if not isinstance(parallel, Parallel | None):
        raise ConfigError("parallel", parallel, 'give lj.Parallel(devices="all"), say')
    parallel, runs = parallel or Parallel(), with_seeds(train_config, num_seeds)
    check_fits(config, data)
    splits = [split_rows(run, data, split) for run in runs]
    at_once = trained_at_once(parallel, runs, data)
    layout = parallel.layout(num_seeds if at_once else 1)  # can't it be, that is said at once
    identity = describe_run(config, train_config, data, num_seeds, at_once, split)
    versions = environment.versions()  # of the code that runs now, not of a later commit
    groups = [slice(None)] if at_once else [slice(i, i + 1) for i in range(num_seeds)]
    show = _told_apart(on_progress) if on_progress and len(groups) > 1 else on_progress
    with ExitStack() as held:
        held.enter_context(naming_lost_peers(kept_in(workdir)))
        held.enter_context(matmul_precision(train_config))
        ways = {"parallel": dataclasses.asdict(parallel), "checkpoint_every": checkpoint_every}
        check_same_settings(identity | ways)
        folder = _open(workdir, identity, runs, splits, resume)
        if folder:
            held.enter_context(folder)
        summary = folder.result() if folder else None
        if folder and any_process(summary is None):
            summary = None  # not all hosts see it yet
        if folder and summary:
            with suppress(RunError):  # without its weights it is made from its last checkpoint
                return _finished(folder, summary, runs, splits)
        saving = _Saving(checkpoint_every, keep)
        job = _Job(config, data, parallel, folder, summary, show, should_stop, saving)
        made = [_make(job, runs[own], splits[own], apart=len(groups) > 1) for own in groups]
        wait_for_processes("evaluated")
        results = [result for own in made for result in own.results]
        entries = [entry for own in made for entry in own.entries]
        metrics = [line for own in made for line in own.metrics]
        if not results:
            reasons = "; ".join(f"seed {entry['seed']} {entry['reason']}" for entry in entries)
            raise DivergedError(f"all seeds diverged: {reasons}")
        if summary is None:
            summary = summarize(entries, train_config.statistics)
            summary |= {"device": environment.device(layout.devices), "config": identity}
            # An earlier part of a resumed run took as long as its epochs did.
            seconds = max(sum(line["seconds"] for line in metrics), time.perf_counter() - started)
            summary |= {"versions": versions, "wall_seconds": round(seconds, 1)}
        if folder:
            folder.order_metrics(at_once)
            folder.write_bytes("weights.msgpack", pack_models(results))
            folder.write("result.json", summary)  # last: it says that all is there
    several = tuple(results) if num_seeds > 1 else ()
    return dataclasses.replace(results[0], summary=summary, metrics=metrics, runs=several)


def _finished(
    folder: RunFolder, summary: Json, runs: Sequence[TrainConfig], splits: Sequence[Split]
) -> Result:
    """The result of a finished run from its files, which stay as they are.

    Raises:
      RunError: its weights are absent or damaged.
    """
    metrics, results = folder.metrics(), []
    by_seed = {run.seed: (run, split) for run, split in zip(runs, splits, strict=True)}
    for entry in summary["runs"]:
        if "reason" in entry:
            continue
        run, split = by_seed[entry["seed"]]
        model = load_network(folder.path, run.seed)
        known = {field.name: getattr(model, field.name) for field in dataclasses.fields(Model)}
        results.append(
            Result(
                **known | {"train_config": run},
                summary=summarize([entry], run.statistics),
                metrics=metrics.get(run.seed, []),
                split=split,
            )
        )
    lines = [line for run in runs for line in metrics.get(run.seed, [])]
    several = tuple(results) if len(runs) > 1 else ()
    return dataclasses.replace(results[0], summary=summary, metrics=lines, runs=several)


class _Saving(NamedTuple):
    """Epochs from one checkpoint to the next, and how many stay."""

    every: int
    keep: int


class _Job(NamedTuple):
    """What all runs of a call share; ``summary`` is result.json if they were finished before."""

    config: LadderConfig
    data: Dataset
    parallel: Parallel
    folder: RunFolder | None
    summary: Json | None
    on_progress: Callable[[Progress], None] | None
    should_stop: Callable[[], bool] | None
    saving: _Saving

    def known(self, seed: int) -> Json | None:
        """The entry of a run in result.json."""
        entries = self.summary["runs"] if self.summary else []
        return next((entry for entry in entries if entry["seed"] == seed), None)


class _Made(NamedTuple):
    """What runs left: those that finished, an entry of result.json for each, all metrics."""

    results: list[Result]
    entries: list[Json]
    metrics: list[Json]


def _told_apart(on_progress: Callable[[Progress], None]) -> Callable[[Progress], None]:
    return lambda progress: on_progress(progress._replace(apart=True))


def trained_at_once(parallel: Parallel, runs: Sequence[TrainConfig], data: Dataset) -> bool:
    """Whether one program trains all of the runs, see ``Parallel``."""
    if not parallel.seeds_at_once(len(runs)):
        return False
    problem = ""
    if data.preprocessing and runs[0].validation and runs[0].data_seed is None:
        # Fitted on each seed's own training part, the inputs differ.
        problem = "with validation each seed's images are preprocessed anew; use sequential"
    elif runs[0].prng != "threefry":
        # JAX draws all of a batch of such keys from the first of them.
        problem = f"prng={runs[0].prng} draws other numbers for several seeds at once; use threefry"
    if problem and parallel.seed_mode == "vmap":
        raise ConfigError("seed_mode", "vmap", problem)
    return not problem


def _open(
    workdir: str | os.PathLike[str] | None,
    identity: Json,
    runs: Sequence[TrainConfig],
    splits: Sequence[Split],
    resume: bool,
) -> RunFolder | None:
    if workdir is None:
        return None
    folder, problem = None, None
    try:
        if is_first_process():
            folder = RunFolder(workdir, identity, upgrade_config, resume=resume)
            pairs = zip(runs, splits, strict=True)
            labelled = {
                str(run.seed): list(dict.fromkeys(own.labelled.tolist())) for run, own in pairs
            }
            if folder.result() is None:
                folder.write("label_indices.json", labelled)
    except RunError as error:
        problem = error
        if folder:
            folder.close()
    if any_process(problem is not None):  # before the others look: they wait here
        raise problem or RunError(f"workdir={workdir}: the first process cannot use it")
    if any_process(not os.path.exists(os.path.join(workdir, "config.json"))):
        raise RunError(f"workdir={workdir}: not all hosts see it; choose a folder that they share")
    return folder or RunFolder(workdir, identity, upgrade_config, writes=False)


def _make(job: _Job, runs: Sequence[TrainConfig], splits: Sequence[Split], apart: bool) -> _Made:
    """Trains runs at once and evaluates them; takes up what there is of them.

    Args:
      job: what all runs share.
      runs: they differ in their seed.
      splits: of each.
      apart: whether the folder has other runs too, with checkpoints of their own.
    """
    data = job.data
    if runs[0].validation:  # the test set is then not touched, not even to prepare it
        data = dataclasses.replace(data, x_test=None, y_test=None)
    known = job.known(runs[0].seed)
    if apart and known and "reason" in known and job.folder:
        return _Made([], [known], job.folder.metrics().get(runs[0].seed, []))
    if apart:
        _obey_stop(job, f"stopped before seed {runs[0].seed}")
    ready, transform = prepare(data, splits[0].train)
    make_room()  # the step may be compiled anew
    with _checkpoints(job, f"seed{runs[0].seed}" if apart else "") as checkpoints:
        layout = job.parallel.layout(len(runs))
        trainer = Trainer(job.config, runs, ready, splits, layout, job.folder, checkpoints)
        try:
            _train(job, trainer)
        except DivergedError:
            if not apart:
                raise
        if checkpoints:
            checkpoints.wait()  # the evaluation may take long
        made = _Made([], [], [line for seed in trainer.seeds for line in trainer.metrics[seed]])
        for place, run in enumerate(runs):
            if reason := trainer.reasons.get(run.seed):
                entry = {"seed": run.seed, "test_error_percent": None, "reason": reason}
                made.entries.append(entry)
                continue
            found = {}
            for kind in STATISTICS:  # each may take minutes
                _obey_stop(job, "stopped in the evaluation")
                found[kind] = trainer.statistics(kind, place)
            entry = job.known(run.seed) or errors_of_run(trainer, found, place)
            made.entries.append(entry)
            made.results.append(
                Result(
                    config=job.config,
                    train_config=run,
                    summary=summarize([entry], run.statistics),
                    variables=trainer.variables(place),
                    statistics=found,
                    metrics=trainer.metrics[run.seed],
                    split=splits[place],
                    scale=ready.scale,
                    prepare=transform,
                )
            )
    return made


def _obey_stop(job: _Job, what: str) -> None:
    """Where all that was computed is saved."""
    if job.summary is None and any_process(bool(job.should_stop and job.should_stop())):
        kept = f"; saved in {job.folder.path}, run again to go on" if job.folder else ""
        raise StoppedError(f"{what}{kept}")


def _checkpoints(job: _Job, name: str) -> AbstractContextManager[Checkpoints | None]:
    if job.folder is None:
        return nullcontext()
    return Checkpoints(job.folder.checkpoints / name, job.saving.keep)


def _train(job: _Job, trainer: Trainer) -> None:
    if job.summary is None:
        trainer.train(job.on_progress, job.should_stop, job.saving.every)
    elif not trainer.is_finished:
        assert job.folder is not None, "a summary comes from a folder"
        raise RunError(
            f"workdir={job.folder.path}: is a finished run (test error "
            f"{job.summary['test_error_percent']} %) whose weights and last checkpoint are gone; "
            "choose another work folder, or remove its result.json to train on"
        )
