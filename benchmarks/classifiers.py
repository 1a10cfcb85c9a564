"""Test errors of ``LadderClassifier`` and its peers on scikit-learn's embedded data; JSON.

python benchmarks/classifiers.py [--sets=digits,wine,breast_cancer] [--seeds=10]
  [--labels_per_class=5]

For each seed a stratified 30 % of the rows are the test set; of the others a few per class keep
their label. Every method gets the same rows, scaled to mean 0 and variance 1 by all training rows,
and its own defaults; the supervised ones see the labelled rows only.
"""

from __future__ import annotations

import json
import time
import warnings

import numpy as np
from absl import app, flags
from sklearn import datasets
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

import ladder_jax as lj

FLAGS = flags.FLAGS
SETS = {
    "digits": datasets.load_digits,
    "wine": datasets.load_wine,
    "breast_cancer": datasets.load_breast_cancer,
}
SUPERVISED = "MLPClassifier"


def methods(seed: int) -> dict:
    """Each with its own defaults."""
    return {
        "LadderClassifier": lj.LadderClassifier(random_state=seed),
        SUPERVISED: MLPClassifier(random_state=seed),
        "LogisticRegression": LogisticRegression(),
        "SelfTrainingClassifier": SelfTrainingClassifier(MLPClassifier(random_state=seed)),
        "LabelSpreading": LabelSpreading(kernel="knn"),
    }


def rows(name: str, seed: int, per_class: int) -> tuple:
    """Training rows, labels with −1 for none, test rows and their classes."""
    x, y = SETS[name](return_X_y=True)
    x, x_test, y, y_test = train_test_split(x, y, test_size=0.3, stratify=y, random_state=seed)
    order = np.random.default_rng(seed).permutation(len(y))
    labels = np.full(len(y), -1)
    for label in np.unique(y):
        chosen = order[y[order] == label][:per_class]
        labels[chosen] = label
    scaler = StandardScaler().fit(x)
    return scaler.transform(x), labels, scaler.transform(x_test), y_test


def errors(name: str, seed: int, per_class: int) -> dict[str, float]:
    """Test error of each method in per cent."""
    x, labels, x_test, y_test = rows(name, seed, per_class)
    known = labels >= 0
    found = {}
    for method, classifier in methods(seed).items():
        supervised = method in (SUPERVISED, "LogisticRegression")
        own = (x[known], labels[known]) if supervised else (x, labels)
        found[method] = 100 * (1 - classifier.fit(*own).score(x_test, y_test))
    return found


def summary(by_seed: list[dict[str, float]]) -> dict:
    """Mean and standard error of each, and of the difference to the supervised network."""
    found = {}
    for method in by_seed[0]:
        own = np.array([errors[method] for errors in by_seed])
        gain = np.array([errors[SUPERVISED] for errors in by_seed]) - own
        several = len(own) > 1
        found[method] = {
            "error_percent": round(own.mean(), 2),
            "standard_error": round(own.std(ddof=1) / len(own) ** 0.5, 2) if several else None,
            "gain_over_supervised": round(gain.mean(), 2),
            "standard_error_of_gain": round(gain.std(ddof=1) / len(own) ** 0.5, 2)
            if several
            else None,
        }
    return found


def main(arguments: list[str]) -> None:
    """Prints one JSON object."""
    if len(arguments) > 1:
        raise app.UsageError(f"unexpected argument {arguments[1]}")
    if unknown := set(FLAGS.sets) - set(SETS):
        raise app.UsageError(f"--sets: {', '.join(sorted(unknown))} is none of {', '.join(SETS)}")
    warnings.simplefilter("ignore")  # MLPClassifier's, that its 200 iterations are over
    started, found = time.perf_counter(), {}
    seeds = range(FLAGS.first_seed, FLAGS.first_seed + FLAGS.seeds)
    for name in FLAGS.sets:
        found[name] = summary([errors(name, seed, FLAGS.labels_per_class) for seed in seeds])
    print(
        json.dumps(
            {
                "labels_per_class": FLAGS.labels_per_class,
                "seeds": list(seeds),
                "sets": found,
                "seconds": round(time.perf_counter() - started, 1),
            }
        )
    )


if __name__ == "__main__":
    flags.DEFINE_list("sets", list(SETS), f"Of {', '.join(SETS)}.")
    flags.DEFINE_integer("seeds", 10, "How many.", lower_bound=1)
    flags.DEFINE_integer("first_seed", 0, "The first of them.", lower_bound=0)
    flags.DEFINE_integer("labels_per_class", 5, "Labelled rows of each class.", lower_bound=1)
    app.run(main)
