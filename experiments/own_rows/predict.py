"""Trains on the rows that experiments/arrays.py has read, and predicts others."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from cli import console
from cli.flags import given

import ladder_jax as lj
from ladder_jax.errors import while_writing
from ladder_jax.estimator.defaults import configs
from ladder_jax.estimator.labels import has_label
from ladder_jax.storage import files
from own_rows.columns import Columns
from own_rows.read import Rows


def classifier_of(values: flags.FlagValues) -> Any:
    """Builds the classifier that the flags describe."""
    own = given(values, lj.LadderClassifier().get_params())
    # Rows without a label have None, see ready.
    return lj.LadderClassifier(random_state=values.seed, unlabeled_label=None, **own)


def ready(rows: Rows, unlabelled: Collection[str], marked: bool = True) -> Rows:
    """Marks unlabelled rows with None and adds a channel to images (N, H, W)."""
    # If not ``marked``, rows without a label are stored separately and every label is a class.
    x, y, more = rows
    if y is not None and y.dtype.kind != "O" and marked:
        none = np.array([str(label).removesuffix(".0") in unlabelled for label in y.tolist()])
        y = y.astype(object)
        y[none] = None
    if x.ndim == 3:
        x, more = x[..., None], None if more is None else more[..., None]
    return Rows(x, y, more)


def labelled_rows(classifier: Any, rows: Rows) -> np.ndarray:
    """Returns the indices of the rows of x that have a label."""
    if rows.y is None:
        raise lj.DataError("the training file has no labels; add y, with -1 where there is none")
    return np.flatnonzero(has_label(rows.y, classifier.unlabeled_label))


def description(classifier: Any, train: Rows) -> list[str]:
    """Returns lines on rows, settings and layers, and raises if the labels cannot be used."""
    labelled = labelled_rows(classifier, train)
    shape = train.x.shape[1:]
    every = len(train.x) + (0 if train.x_unlabelled is None else len(train.x_unlabelled))
    classes = np.unique(train.y[labelled].astype(str))  # type: ignore[index]
    if len(classes) < 2:
        raise lj.DataError(f"all labelled rows have the label {classes[0]}; two classes are needed")
    own = classifier.get_params()
    config, _ = configs(own, shape, len(classes), every)
    of = "x".join(map(str, shape))
    shown = {name: own[name] for name in ("steps", "learning_rate", "scaling", "statistics")}
    return [
        f"{every} rows of {of} numbers, {len(labelled)} of them labelled, {len(classes)} classes",
        ", ".join(f"{name} {value}" for name, value in shown.items()),
        console.layer_table(config),
    ]


def check_folds(classifier: Any, train: Rows, folds: int) -> np.ndarray:
    """Returns the indices of the labelled rows if each class has enough for that many folds."""
    labelled = labelled_rows(classifier, train)
    y = np.asarray(train.y)[labelled]
    least = int(np.unique(y.astype(str), return_counts=True)[1].min())
    if not 2 <= folds <= least:
        problem = f"give 2 to {least}, the labelled rows of the smallest class"
        if least < 2:
            problem = "a class has one labelled row, and each part needs one; label more of it"
        raise lj.ConfigError("folds", folds, problem)
    return labelled


def errors_by_folds(classifier: Any, train: Rows, folds: int) -> list[float]:
    """Returns the error in per cent on each fold of the labelled rows."""
    from sklearn.base import clone
    from sklearn.model_selection import StratifiedKFold

    labelled = check_folds(classifier, train, folds)
    y = np.asarray(train.y)[labelled]
    found = []
    parts = StratifiedKFold(folds, shuffle=True, random_state=classifier.random_state)
    for _, held in parts.split(labelled, y.astype(str)):
        # The fit does not see the rows of this part, not even without their labels, so this is the
        # error on new rows (but categories and medians of columns were computed from all rows).
        keep = np.setdiff1d(np.arange(len(train.x)), labelled[held])
        own = Rows(train.x[keep], np.asarray(train.y)[keep], train.x_unlabelled)
        fitted = clone(classifier).fit(*own)
        found.append(100 * (1 - fitted.score(train.x[labelled[held]], _like(fitted, y[held]))))
    return found


def to_predict(classifier: Any, train: Rows, given: Rows | None) -> tuple[Any, Any, Any]:
    """Returns rows to predict, their labels or None, and their numbers in the file, from 1."""
    if given is not None:
        return given.x, given.y, np.arange(1, len(given.x) + 1)
    if train.x_unlabelled is not None:
        return train.x_unlabelled, None, np.arange(1, len(train.x_unlabelled) + 1)
    free = np.setdiff1d(np.arange(len(train.x)), labelled_rows(classifier, train))
    return train.x[free], None, free + 1


def write_predictions(path: Path, classifier: Any, x: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Writes number, class and class probabilities of each row, and returns the classes."""
    probabilities = classifier.predict_proba(x) if len(x) else np.zeros((0, 1))
    predicted = classifier.classes_[probabilities.argmax(axis=1)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [f"probability_{name}" for name in classifier.classes_.tolist()]
    writer.writerow(["row", "prediction", *names])
    for number, label, own in zip(row, predicted, probabilities, strict=True):
        writer.writerow([number, label, *(f"{value:.6g}" for value in own)])
    with while_writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    files.replace(path, text.getvalue())
    return predicted


def test_error(classifier: Any, predicted: np.ndarray, y: Any) -> tuple[float, int] | None:
    """Returns the error in per cent and the number of labelled rows, or None without labels."""
    try:
        known = np.flatnonzero(has_label(y, classifier.unlabeled_label)) if y is not None else ()
    except lj.DataError:  # no row has one
        return None
    if not len(known):
        return None
    wrong = predicted[known] != _like(classifier, np.asarray(y)[known])
    return 100 * float(wrong.mean()), len(known)


def check_labels(path: str, classifier: Any, train: Rows, given: Rows) -> None:
    """Raises ``DataError`` if no label of the rows to predict is a class of the training file."""
    if given.y is None:
        return
    own, classes = np.asarray(given.y), np.asarray(train.y)[labelled_rows(classifier, train)]
    known = {_word(label) for label in own.tolist() if label is not None}
    if known and not known & (own_words := set(map(_word, classes.tolist()))):
        found, trained = sorted(known)[:3], sorted(own_words)[:3]
        raise lj.DataError(
            f"{path}: none of its labels ({', '.join(found)}…) is a class of the training file "
            f"({', '.join(trained)}…); write them alike, or leave them out"
        )


def save_columns(columns: Columns, folder: str | os.PathLike[str]) -> None:
    """Writes columns.json, with which other files can be read in the same way."""
    path = Path(folder) / "columns.json"
    files.replace(path, json.dumps(columns.to_json(), indent=2).encode())


def _like(classifier: Any, y: np.ndarray) -> np.ndarray:
    """Converts labels to the dtype of the classifier's classes."""
    if classifier.classes_.dtype.kind == "U":
        return y.astype(str)
    same = {_word(own): own for own in classifier.classes_.tolist()}
    return np.array([same.get(_word(label), label) for label in y.tolist()], object)


def _word(label: Any) -> str:
    """Returns a label as text, equal for 1, 1.0 and "1"."""
    return str(label).removesuffix(".0")
