"""Trains the runs that a table lacks and enters them into the ledger."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
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

_Load = Callable[[str], lj.Dataset]


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
        train_config = dataclasses.replace(cell.train_config, seed=seed)
        return Settings(cell.preset, cell.config, train_config, "", folder)

    def say(self, text: str) -> None:
        """Prints, unless the command is quiet."""
        if not self.quiet:
            print(text, flush=True)


def run_missing(job: TableRequest, after_each: Callable[[], object]) -> bool:
    """Trains the missing runs and returns whether none of them failed."""
    load = functools.cache(lambda name: lj.data.load(name, data_dir=job.data_dir))
    good, pending = True, job.missing()
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
    job: TableRequest, run: CellRun, load: _Load
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


def _claim_and_make_together(job: TableRequest, runs: list[CellRun], load: _Load) -> bool:
    """Trains runs at once and returns whether it succeeded, else they are left for later."""
    with ExitStack() as held:
        for cell, seed in runs:
            claim = job.ledger.claim(f"{identity(cell)} seed {seed}")
            if claim is None:
                return False
            held.enter_context(claim)
        held.enter_context(_own_signals())
        missing, alone = job.missing(), [job.settings(run) for run in runs]
        if not all(run in missing for run in runs) or any(own.finished() for own in alone):
            return False
        last = runs[-1][1]
        job.say(f"{runs[0][0].name} seeds {runs[0][1]} to {last} at once")
        chosen = alone[0]._replace(
            workdir=f"{alone[0].workdir}-{last}", num_seeds=len(runs), parallel=job.parallel
        )
        try:
            data = load(chosen.preset.dataset)
            summary = chosen.finished() or console.train(chosen, data, quiet=job.quiet).summary
        except (lj.RunError, lj.DivergedError, lj.ConfigError) as error:
            job.say(f"not at once: {error}")
            return False
        finished, seconds = time.time(), round(summary["wall_seconds"] / len(runs), 1)
        for run, own in zip(runs, alone, strict=True):
            # Each is entered as the run of its own that it is.
            config = describe_run(own.config, own.train_config, data)
            own_summary = summary | {"config": config, "wall_seconds": seconds}
            job.ledger.append(_line(run, own_summary, finished))
    return True


def _make(job: TableRequest, run: CellRun, load: _Load) -> Line:
    """Returns the ledger's line of a run, which is trained unless it is finished."""
    chosen = job.settings(run)
    summary = chosen.finished()
    if summary:
        finished = os.path.getmtime(os.path.join(chosen.workdir, "result.json"))
        job.say(f"was finished before in {chosen.workdir}")
    else:
        data, started = load(chosen.preset.dataset), time.time()
        try:
            summary = console.train(chosen, data, quiet=job.quiet).summary
        except lj.DivergedError as error:
            job.say(str(error))
            # What follows the reason is advice, and the folder on this machine.
            reason = str(error).split(";")[0]
            summary = {  # as result.json would have it
                "runs": [{"seed": run[1], "test_error_percent": None, "reason": reason}],
                "config": describe_run(chosen.config, chosen.train_config, data),
                "versions": environment.versions(),
                "device": environment.device(),
                "wall_seconds": round(time.time() - started, 1),
            }
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
        now = {number: signal.signal(number, handler) for number, handler in before.items()}
    for number, handler in before.items():
        if now[number] is signal.SIG_DFL and handler is not signal.SIG_DFL:
            signal.raise_signal(number)


def group_seeds(runs: list[CellRun], parallel: lj.Parallel, most: int) -> Iterator[list[CellRun]]:
    """Yields runs of one cell with consecutive seeds, two to ``most`` of them; none on a CPU."""
    for cell in {cell.name: cell for cell, _ in runs}.values():
        for seeds in consecutive(seed for own, seed in runs if own.name == cell.name):
            for start in range(0, len(seeds), most):  # ``most`` limits the memory of a program
                together = [(cell, seed) for seed in seeds[start : start + most]]
                if parallel.seeds_at_once(len(together)):
                    yield together


def consecutive(seeds: Iterable[int]) -> list[list[int]]:
    """Returns the seeds in order, those without a gap between them as one list."""
    groups: list[list[int]] = []
    for seed in sorted(seeds):
        if groups and seed == groups[-1][-1] + 1:
            groups[-1].append(seed)
        else:
            groups.append([seed])
    return groups
