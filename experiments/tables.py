"""Makes a table of the paper: runs what is missing of it, and nothing else.

python experiments/tables.py --table=1 --cells='mnist-ladder-100,mnist-gamma-*' --seeds=1-3
python experiments/tables.py --table=1 --epochs=1 --seeds=1

Finished runs are kept in a ledger, one JSON object per line. It can be stopped at any time; the
same command goes on, and several processes can share a ledger. A run counts for a cell only if
its settings are the cell's: short trials have a table of their own.
"""

from __future__ import annotations

if __name__ == "__main__":
    from cli import signals as interrupts  # noqa: F401 - before all that takes time

import functools
import os
import shlex
import signal
import sys
from pathlib import Path

from absl import flags
from cli import console
from cli.flags import devices, given
from paper_tables.cells import OVERRIDES, get_table, parse_seeds, select, suffix, with_changes
from paper_tables.figure import write_figure
from paper_tables.render import markdown
from paper_tables.runs import TableRequest, consecutive, run_missing

import ladder_jax as lj
from ladder_jax.errors import whole
from ladder_jax.storage.ledger import Ledger


def define() -> flags.FlagValues:
    """Defines the flags of the command."""
    values = flags.FlagValues()
    string = functools.partial(flags.DEFINE_string, flag_values=values)
    integer = functools.partial(flags.DEFINE_integer, flag_values=values)
    switch = functools.partial(flags.DEFINE_boolean, flag_values=values)
    string("table", None, "1, 2, 3 or combinators.")
    string("cells", None, "Which cells to run, with commas; * stands for anything (default: all).")
    string("seeds", None, "Like 1-10 or 1,2,5 (default: as many as the paper has runs).")
    string("ledger", "results/ledger.jsonl", "File of the finished runs.")
    string("out", "results", "Folder for the table as Markdown and PNG.")
    string("workdir", "runs", "Folder of the run folders.")
    string("data_dir", None, "Folder with the data (or LADDER_DATA_DIR).")
    integer("epochs", None, "Not the paper's: passes over the unlabelled rows.")
    integer("validation", None, "Not the paper's: rows held out; then no test is made.")
    integer("batch_size", None, "Not the paper's: unlabelled rows in a step.")
    string("seed_mode", "auto", "Several seeds at once (vmap), sequential, or auto.")
    string("devices", None, "Number of devices or all (default: 1; several seeds: all).")
    integer("seeds_at_once", 10, "At most so many, where seeds are trained at once.")
    switch("dry_run", False, "Print the table and what is missing, run nothing.")
    switch("quiet", False, "Print only the table.")
    return values


def main(values: flags.FlagValues) -> None:
    """Runs what is missing and writes the table, and exits with status 1 on a user's mistake."""
    console.parse(values, __doc__ or "")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        job = make_job(values)
        if values.dry_run:
            print(markdown(job.report()))
            print(to_do(job))
            return
        paths = table_files(values)
        good = run_missing(job, functools.partial(write, job, paths[0]))
        text = write(job, *paths)
    except lj.LadderError as error:
        console.fail(str(error))
    except KeyboardInterrupt:  # between two runs
        sys.exit(128 + signal.SIGINT)
    print(text)
    if not good:
        sys.exit(1)


def make_job(values: flags.FlagValues) -> TableRequest:
    """Converts parsed flags to a request for a table."""
    table = get_table(values.table)
    cells = with_changes(table.cells(), given(values, OVERRIDES))
    chosen = select(cells, values.cells)
    seeds = None if values.seeds is None else parse_seeds(values.seeds)
    asked = [
        (number, cell, seed)
        for cell in chosen
        for number, seed in enumerate(seeds or range(1, cell.default_runs + 1))
    ]
    asked.sort(key=lambda run: run[0])  # the first seed of every cell comes first
    asked_for = given(values, ("table", "cells", "seeds", *OVERRIDES))
    words = [f"--{name}={value}" for name, value in asked_for.items()]
    command = shlex.join(["python", "experiments/tables.py", *words])
    return TableRequest(
        title=table.title,
        command=command,
        cells=cells,
        asked=[(cell, seed) for _, cell, seed in asked],
        ledger=Ledger(values.ledger),
        workdir=values.workdir,
        data_dir=values.data_dir,
        quiet=values.quiet,
        parallel=lj.Parallel(devices(values.devices), seed_mode=values.seed_mode),
        at_once=whole("seeds_at_once", values.seeds_at_once, 1),
    )


def table_files(values: flags.FlagValues) -> tuple[Path, Path]:
    """Returns the paths of the Markdown and the PNG file, in a folder that is writable."""
    folder = Path(values.out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(0, "no permission to write")
    except OSError as error:
        raise lj.RunError(f"out={folder}: cannot be written ({error.strerror})") from None
    stem = f"table{values.table}" if values.table.isdigit() else values.table
    stem += suffix(given(values, OVERRIDES))
    return folder / f"{stem}.md", folder / f"{stem}.png"


def write(job: TableRequest, text_file: Path, figure_file: Path | None = None) -> str:
    """Writes the table with the runs of the ledger and returns the Markdown."""
    with job.ledger.locked():  # or another process could write an older table over it
        report = job.report()
        text = markdown(report)
        lj.plots.write_whole(text_file, text)
        try:
            if figure_file:
                write_figure(report, figure_file)
        except ModuleNotFoundError as error:
            job.say(f'no picture: {error.name} is missing; pip install -e ".[plots]"')
    return text


def to_do(job: TableRequest) -> str:
    """Returns the missing runs, a line for each cell, and which of them are finished already."""
    new: dict[str, list[int]] = {}
    lines = []
    for cell, seed in job.missing():
        chosen = job.settings((cell, seed))
        try:
            there = chosen.finished()
        except lj.RunError as error:
            lines.append(f"{cell.name} seed {seed}: cannot be made: {error}")
            continue
        if there:
            lines.append(f"{cell.name} seed {seed}: finished in {chosen.workdir}, to be entered")
        else:
            new.setdefault(cell.name, []).append(seed)
    lines += [f"{name}: to be run with seed {_ranges(seeds)}" for name, seeds in new.items()]
    return "\n".join(lines or ["nothing is missing"])


def _ranges(seeds: list[int]) -> str:
    """Returns seeds as text, such as 1-3, 5."""
    groups = consecutive(seeds)
    return ", ".join(f"{g[0]}-{g[-1]}" if len(g) > 1 else str(g[0]) for g in groups)


if __name__ == "__main__":
    main(define())
