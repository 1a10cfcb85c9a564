"""Trains on your own rows, few of them labelled, and predicts the classes of others.

python experiments/arrays.py --train=train.csv --test=test.csv --label_column=species
python experiments/arrays.py --train=data.npz

In a CSV file the first line names the columns; rows whose label is empty or -1 have none. An .npz
file has x and y, where -1 is no label. Without --test the unlabelled rows are predicted. The run
folder has predictions.csv and the trained classifier (lj.LadderClassifier.load).
"""

if __name__ == "__main__":
    from cli import signals as interrupts  # noqa: F401 - before all that takes time

import os
import statistics
import sys
from pathlib import Path

from absl import flags
from cli import console
from cli.flags import Group
from own_rows import predict as array_work
from own_rows.read import read_rows, read_training

import ladder_jax as lj


def define() -> flags.FlagValues:
    """Defines the flags of the command."""
    values = flags.FlagValues()
    group = Group(values, "Common")
    group.flag(str, "train", None, "Rows to learn from, .csv or .npz.")
    group.flag(str, "test", None, "Rows to predict; if they have labels, the error is reported.")
    group.flag(str, "label_column", None, "Of a CSV file (default: label, class, target or y).")
    group.flag(list, "ignore_columns", [], "Columns to leave out.")
    group.flag(list, "categorical", [], "Columns of numbers that are categories.")
    group.flag(
        list, "unlabelled", ["", "-1"], "Labels of the rows that have none (default: empty, -1)."
    )
    group.flag(str, "missing", "error", "Missing values: error, or median fills them.")
    group.flag(int, "folds", 0, "Estimates the error on the labelled rows, in so many parts.")
    group.flag(int, "seed", 1, "Of everything random.")
    group.flag(str, "workdir", None, "Run folder (default runs/<file>-seed<seed>).")
    group.flag(str, "output", None, "Predictions (default predictions.csv in the run folder).")
    group.flag(bool, "dry_run", False, "Read the files, print what would be done, then exit.")
    group.flag(bool, "quiet", False, "Print only the result.")
    group.flag(bool, "resume", True, "Go on with the run in the work folder; else it is set aside.")
    group = Group(values, "Network and training, unset as lj.LadderClassifier has them")
    group.flag(str, "layers", None, "Hidden layers, as 100,50, or conv_small, conv_large, conv_fc.")
    group.settings("denoising_weights", "combinator")
    group.flag(int, "steps", None, "Gradient steps.")
    group.settings("learning_rate", "decay_start", "batch_size", "labelled_batch_size")
    group.settings("input_noise", "hidden_noise")
    group.flag(str, "scaling", None, "Of each column: standard, range, none.")
    group.settings("statistics")
    return values


def main(values: flags.FlagValues) -> None:
    """Trains and predicts, and exits with status 1 on a user's mistake."""
    console.parse(values, __doc__)
    if not values.train:
        console.fail("--train is missing: a .csv or .npz file of rows; see --help")
    try:
        train, columns, notes = read_training(
            values.train,
            values.label_column,
            ignore=values.ignore_columns,
            categorical=values.categorical,
            missing=values.missing,
            unlabelled=values.unlabelled,
        )
        marked = train.x_unlabelled is None
        train, given = array_work.ready(train, values.unlabelled, marked), None
        if values.test:
            given, more = read_rows(values.test, columns)
            given = array_work.ready(given, values.unlabelled, marked)
            notes += [f"{values.test}: {note}" for note in more]
        classifier = array_work.classifier_of(values)
        stem = Path(values.train).stem
        workdir = values.workdir or os.path.join("runs", f"{stem}-seed{values.seed}")
        about = array_work.description(classifier, train)
        if given:
            array_work.check_labels(values.test, classifier, train, given)
        output = Path(values.output or os.path.join(workdir, "predictions.csv"))
        if output.is_dir():
            console.fail(f"output={values.output}: is a folder; name a file in it")
        if values.folds:
            array_work.check_folds(classifier, train, values.folds)
        if os.path.isfile(workdir):
            console.fail(f"workdir={workdir}: is a file; name a folder")
        if not values.quiet:
            print("\n".join([*notes, *about]), flush=True)
        if values.dry_run:
            return
        if values.folds:
            found = array_work.errors_by_folds(classifier, train, values.folds)
            spread = f"{min(found):.2f} to {max(found):.2f} %"
            print(f"error on hidden labelled rows {statistics.fmean(found):.2f} % ({spread})")
        with console.training(values.quiet) as watched:
            classifier.fit(*train, workdir=workdir, resume=values.resume, **watched)
        array_work.save_columns(columns, workdir)
        x, y, rows = array_work.to_predict(classifier, train, given)
        predicted = array_work.write_predictions(output, classifier, x, rows)
        if error := array_work.test_error(classifier, predicted, y):
            print(f"test error {error[0]:.2f} % of {error[1]} rows")
        print(f"{len(x)} predictions in {output}", flush=True)
        console.write_figures_and_report(workdir, None)
    except (lj.LadderError, ValueError, ImportError) as error:
        console.fail(str(error))
    except BrokenPipeError:
        console.leave_pipe()


if __name__ == "__main__":
    sys.exit(main(define()))
