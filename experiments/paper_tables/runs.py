"""Trains the runs that a table lacks and enters them into the ledger."""

from __future__ import annotations

import datetime
import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from cli import console
from cli.flags import Settings

import ladder_jax as lj
from ladder_jax.storage import environment
from ladder_jax.storage.description import describe_run
from ladder_jax.storage.ledger import Ledger
from paper_tables.cells import Cell
from paper_tables.render import Report
from paper_tables.results import Line, identity, make_rows, run_of

CellRun = tuple[Cell, int]
"""A cell and a seed."""


@dataclass(frozen=True)
class TableRequest:
    """The table and the runs that a command line requests."""

    title: str
    command: str
    cells: list[Cell]  # of the whole table
    asked: list[CellRun]  # the runs that should be in the ledger, in order of priority
    ledger: Ledger
    workdir: str
    data_dir: str | None
    quiet: bool
    parallel: lj.Parallel
    at_once: int  # the most seeds that are trained at once

    def missing(self) -> list[CellRun]:
        """Returns the requested runs that are not in the ledger."""
        done = {run_of(line) for line in self.ledger.lines()}
        return [(cell, seed) for cell, seed in self.asked if (identity(cell), seed) not in done]

    def report(self) -> Report:
        """Returns the table with the runs that the ledger has now."""
        rows = make_rows(self.cells, self.ledger.lines())
        return Report(self.title, self.command, rows, len(self.asked), len(self.missing()))

    def settings(self, run: CellRun) -> Settings:
        """Describes a run as the training commands do."""
        cell, seed = run
        folder = os.path.join(self.workdir, cell.folder(seed))
        return Settings(cell.preset, cell.config, cell.settings(seed), "", folder)

    def say(self, text: str) -> None:
        """Prints, unless the command is quiet."""
        if not self.quiet:
            print(text, flush=True)


def run_missing(job: TableRequest, after_each: Callable[[], object]) -> bool:
    """Trains the missing runs and returns whether none of them failed."""
    load, good = _Data(job.data_dir), True
    pending = job.missing()
    job.say(f"{len(pending)} of {len(job.asked)} runs are missing")
    for runs in group_seeds(pending, job.parallel, job.at_once):
        if _claim_and_make_together(job, runs, load):
            after_each()
    pending = job.missing()
    while pending:
        busy, worked = [], False
        for run in pending:
            outcome = _claim_and_make(job, run, load)
            if outcome == "made":
                after_each()
            elif outcome == "busy":
                busy.append(run)
            worked |= outcome == "made"
            good &= outcome != "failed"
        if busy and not worked:
            job.say(f"{len(busy)} of them are being made by another process")
        pending = busy if worked else []  # the other process may have been stopped since
    return good


def _claim_and_make(
    job: TableRequest, run: CellRun, load: _Data
) -> Literal["made", "there", "busy", "failed"]:
    """Trains a run unless another process does, and enters it into the ledger."""
    cell, seed = run
    claim = job.ledger.claim(f"{identity(cell)} seed {seed}")
    if claim is None:
        return "busy"
    with claim, _own_signals():
        missing = job.missing()
        if run not in missing:
            return "there"  # another process has finished it since
        job.say(f"{cell.name} seed {seed}; {len(missing)} still to make")
        try:
            line = _make(job, run, load)
        except lj.RunError as error:  # of this run's folder; the others have their own
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
            return "failed"
        job.ledger.append(line)
        return "made"


def _claim_and_make_together(job: TableRequest, runs: list[CellRun], load: _Data) -> bool:
    """Trains runs at once and returns whether it succeeded, else they are left for later."""
    with ExitStack() as held:
        for cell, seed in runs:
            claim = job.ledger.claim(f"{identity(cell)} seed {seed}")
            if claim is None:
                return False
            held.enter_context(claim)
        held.enter_context(_own_signals())
        cell, first = runs[0]
        missing = job.missing()
        if not all(run in missing for run in runs) or any(_made_before(job, run) for run in runs):
            return False
        job.say(f"{cell.name} seeds {first} to {runs[-1][1]} at once")
        chosen = group_settings(runs, job.workdir, job.parallel)
        try:
            lines = train_group(runs, chosen, load, _line, job.quiet)
        except (lj.RunError, lj.DivergedError, lj.ConfigError) as error:
            job.say(f"not at once: {error}")
            return False
        for line in lines:
            job.ledger.append(line)
    return True


def _made_before(job: TableRequest, run: CellRun) -> bool:
    """Returns whether the run's folder has a result."""
    chosen = job.settings(run)
    return bool(lj.finished_summary(chosen.workdir, chosen.config, chosen.train_config))


def _make(job: TableRequest, run: CellRun, load: _Data) -> Line:
    """Returns the ledger's line of a run, which is trained unless it is finished."""
    chosen = job.settings(run)
    config, train_config = chosen.config, chosen.train_config
    summary = lj.finished_summary(chosen.workdir, config, train_config)
    if summary:
        finished = os.path.getmtime(os.path.join(chosen.workdir, "result.json"))
        job.say(f"was finished before in {chosen.workdir}")
    else:
        data, started = load(chosen.preset.dataset), time.time()
        try:
            summary = console.train(chosen, data, quiet=job.quiet).summary
        except lj.DivergedError as error:
            job.say(str(error))
            summary = _diverged(str(error), chosen, data, time.time() - started)
        finished = time.time()
    line = _line(run, summary, finished)
    if run_of(line) != (identity(run[0]), run[1]):
        raise lj.RunError(f"workdir={chosen.workdir}: holds a run on other data; remove it")
    return line


def _line(run: CellRun, summary: dict[str, Any], finished: float) -> Line:
    """Returns the ledger's line of a run from the content of its result.json."""
    cell, seed = run
    (found,) = (found for found in summary["runs"] if found["seed"] == seed)
    when = datetime.datetime.fromtimestamp(finished, datetime.UTC)
    return {
        "cell": cell.name,
        **found,
        **{name: summary[name] for name in ("config", "versions", "device", "wall_seconds")},
        "finished": when.isoformat(timespec="seconds"),
    }


def _diverged(reason: str, chosen: Settings, data: lj.Dataset, seconds: float) -> dict[str, Any]:
    """Returns what result.json would contain."""
    # The rest is advice, and the folder on this machine.
    reason = reason.split(";")[0]
    seed = chosen.train_config.seed
    return {
        "runs": [{"seed": seed, "test_error_percent": None, "reason": reason}],
        "config": describe_run(chosen.config, chosen.train_config, data),
        "versions": environment.versions(),
        "device": environment.device(),
        "wall_seconds": round(seconds, 1),
    }


class _Data:
    """Loads each data set once, when it is first needed."""

    def __init__(self, data_dir: str | None):
        self.data_dir = data_dir
        self.loaded: dict[str, lj.Dataset] = {}

    def __call__(self, name: str) -> lj.Dataset:
        if name not in self.loaded:
            self.loaded[name] = lj.data.load(name, data_dir=self.data_dir)
        return self.loaded[name]


@contextmanager
def _own_signals() -> Iterator[None]:
    """Restores the handlers of Ctrl-C and SIGTERM, which training replaces."""
    # The handlers of training note the first signal and then restore the system's default. A
    # signal after the last step, when nothing was left to stop, is obeyed here, once the run is in
    # the ledger.
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        now = {number: signal.getsignal(number) for number in before}
        late = [n for n in now if now[n] is signal.SIG_DFL and before[n] is not signal.SIG_DFL]
        for number, handler in before.items():
            signal.signal(number, handler)
    for number in late:
        signal.raise_signal(number)


def group_seeds(runs: list[CellRun], parallel: lj.Parallel, most: int) -> Iterator[list[CellRun]]:
    """Yields runs of one cell with consecutive seeds, two to ``most`` of them; none on a CPU."""
    cells: dict[str, list[CellRun]] = {}
    for run in runs:
        cells.setdefault(run[0].name, []).append(run)
    for own in cells.values():
        own.sort(key=lambda run: run[1])
        numbered = itertools.groupby(enumerate(own), key=lambda item: item[1][1] - item[0])
        for _, consecutive in numbered:
            found = [run for _, run in consecutive]
            for start in range(0, len(found), most):  # ``most`` limits the memory of a program
                together = found[start : start + most]
                if parallel.seeds_at_once(len(together)):
                    yield together


def group_settings(runs: list[CellRun], workdir: str, parallel: lj.Parallel) -> Settings:
    """Describes a group as the training commands do."""
    (cell, first), (_, last) = runs[0], runs[-1]
    folder = os.path.join(workdir, f"{cell.folder(first)}-{last}")
    own = cell.settings(first)
    return Settings(cell.preset, cell.config, own, "", folder, len(runs), parallel)


def train_group(
    runs: list[CellRun],
    chosen: Settings,
    load: Callable[[str], lj.Dataset],
    line: Callable[[CellRun, dict, float], Line],
    quiet: bool,
) -> list[Line]:
    """Returns the ledger's lines of a group, which is trained unless it is finished."""
    data = load(chosen.preset.dataset)
    summary = lj.finished_summary(
        chosen.workdir, chosen.config, chosen.train_config, chosen.num_seeds
    )
    if summary is None:
        summary = console.train(chosen, data, quiet=quiet).summary
    finished = time.time()
    own_share = round(summary["wall_seconds"] / len(runs), 1)
    return [
        # Each is written as the run of its own that it is.
        line(
            run,
            summary
            | {"config": describe_run(run[0].config, run[0].settings(run[1]), data)}
            | {"wall_seconds": own_share},
            finished,
        )
        for run in runs
    ]
