"""Draws a run's pictures into RUN/figures/, or several runs and a ledger together, into compared/.

python experiments/plot.py runs/digits-ladder-50-seed1
python experiments/plot.py runs/mnist-ladder-100-seed1 --data_dir=DATA
python experiments/plot.py runs/mnist-ladder-* runs/mnist-gamma-*    # into compared/
python experiments/plot.py --ledger=results/ledger.jsonl

It needs matplotlib. Pictures of rows need the data too: mnist, digits and cifar10 are found by the
name in the run's config.json; others' are made by ladder_jax.plots.write_figures(RUN, data).
"""

if __name__ == "__main__":
    from cli import signals as interrupts  # noqa: F401 - before all that takes time

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import evaluate
from absl import flags
from cli import console

import ladder_jax as lj
from ladder_jax import plots
from ladder_jax.plots.curves import NO_DATA, why_not
from ladder_jax.plots.labels import NothingToDrawError
from ladder_jax.storage.read_run import Run, mean_text, read_run, read_runs

COMPARED = "compared"
"""Default folder for pictures of several runs."""


def define() -> flags.FlagValues:
    """Defines the flags of the command."""
    values = flags.FlagValues()
    for name, text in (
        ("data_dir", "Folder of the data (or LADDER_DATA_DIR)."),
        ("output", "Folder (default: RUN/figures; compared/ for several runs; the ledger's)."),
        ("ledger", "File such as results/ledger.jsonl: error against labels, also of its runs."),
    ):
        flags.DEFINE_string(name, None, text, flag_values=values)
    return values


def main(values: flags.FlagValues) -> None:
    """Draws the pictures and prints their paths, and exits with status 1 on a user's mistake."""
    runs = _words(values)
    try:
        if len(runs) == 1 and not values.ledger:
            paths, missing = _of_one(runs[0], values.data_dir, values.output)
        else:
            paths, missing = _of_several(runs, values.ledger, values.output)
    except lj.LadderError as error:
        console.fail(str(error))
    for path in paths:
        print(path)
    if len(runs) > 1:
        print("\n".join(map(_error, read_runs(runs))))
    names: dict[str, list[str]] = {}
    for name, why in missing.items():
        names.setdefault(why, []).append(name)
    if names:
        words = "; ".join(f"{', '.join(own)} ({why})" for why, own in names.items())
        print(f"left out: {words}", file=sys.stderr)


def _error(run: Run) -> str:
    """Returns a run's error as a line, since pictures of costs do not show which run is better."""
    kind = run.train_config.statistics
    errors = run.errors(kind)
    if not errors:
        return f"{run.path}: no error"
    seeds = f"{len(errors)} seed{'s' * (len(errors) > 1)}"
    return f"{run.path}: {run.part} error {mean_text(errors)} % ({seeds}), by the {kind} statistics"


def _words(values: flags.FlagValues) -> list[str]:
    """Returns the run folders on the command line."""
    count, least = 0, 1
    with suppress(flags.Error):  # console.parse says so
        count = len(values(sys.argv)) - 1
        least = 0 if values.ledger else 1
    return console.parse(values, __doc__, ("RUN",) * max(count, least))


def _of_one(
    run: str, data_dir: str | None, output: str | None
) -> tuple[list[Path], dict[str, str]]:
    """Draws the pictures of a run and returns their paths and the reasons of the missing ones."""
    known, data, problem = read_run(run), None, ""
    needing = [name for name in plots.PICTURES if why_not(name, known) == NO_DATA]
    if needing and known.data["name"] not in lj.data.NAMES:
        problem = f"data given as arrays: use ladder_jax.plots.write_figures({run!r}, data)"
        problem = "of rows that a LadderClassifier scaled" if known.is_fit else problem
    elif needing:
        try:
            data = evaluate.data_of(known.path, data_dir)
        except lj.DataError as error:
            if data_dir:
                raise
            problem = str(error)
    reasons = {name: why_not(name, known, data) for name in plots.PICTURES}
    reasons |= {name: problem for name in needing if problem}
    missing = {name: reason for name, reason in reasons.items() if reason}
    paths = plots.write_figures(run, data, output=output)
    if output is None:  # the report shows what is in the run folder
        paths.append(lj.report.write_report(run))
    return paths, missing


def _of_several(
    runs: Sequence[str], ledger: str | None, output: str | None
) -> tuple[list[Path], dict[str, str]]:
    """Draws the joint pictures under names of their own."""
    # Not in a run's own folder: its report shows what is there.
    folder = Path(output or (COMPARED if runs else Path(ledger or "").parent))
    known, paths, missing = read_runs(runs), [], {}
    for name in ("learning_curves", "denoising_costs") if runs else ():
        reasons = [why_not(name, run) for run in known]
        if all(reasons):
            missing[name] = reasons[0]
        else:
            paths.append(plots.save(plots.PICTURES[name](runs), folder / f"compared_{name}.png"))
    name = "error_against_labels"
    try:
        paths.append(plots.save(plots.error_against_labels(runs, ledger), folder / f"{name}.png"))
    except NothingToDrawError as error:
        missing[name] = str(error)
    if not paths:
        raise lj.RunError("; ".join(missing.values()))
    return paths, missing


if __name__ == "__main__":
    sys.exit(main(define()))
