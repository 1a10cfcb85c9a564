"""Which training rows carry labels and which are held out: a function of the data seed only.

Protocol of the original experiments: one permutation of the training indices, the held-out rows
from its end, the labelled subset as the first N/K rows of each class in permuted order.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from ladder_jax.errors import ConfigError

Indices = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Row numbers into a dataset's training arrays, all in permuted order.

    Attributes:
      train: the training part, labelled or not: the unlabelled minibatches come from it.
      validation: held-out rows, disjoint from `train`; maybe empty.
      labelled: the part of `train` whose labels are used.
    """

    # `labelled` must stay in permuted order, never sorted by class: the evaluation statistics are
    # averages over consecutive minibatches of it, and minibatches of a single class would be wrong.
    train: Indices
    validation: Indices
    labelled: Indices

    def fingerprint(self) -> str:
        """16 hex digits of a SHA-256 over all three."""
        digest = hashlib.sha256()
        for rows in (self.train, self.validation, self.labelled):
            digest.update(f"{len(rows)} ".encode())
            digest.update(np.ascontiguousarray(rows, dtype="<i8").data)
        return digest.hexdigest()[:16]


def make_split(
    y_train: npt.NDArray[Any],
    num_classes: int,
    labels: int | str,
    validation: int,
    data_seed: int,
) -> Split:
    """Draws held-out rows and a class-balanced labelled subset.

    Args:
      y_train: (N,) integer labels, -1 for rows without one.
      num_classes: K.
      labels: size of the labelled subset, a multiple of K, or "all" for every labelled row.
      validation: number of rows to hold out; they are taken from rows that have a label.
      data_seed: seed of the permutation; the model's seed has no part in this.

    Returns:
      The split; the same for the same arguments.

    Raises:
      ConfigError: for `labels`, `validation` or `data_seed`, where they cannot be met.
    """
    y_train = np.asarray(y_train)
    available = int(np.count_nonzero(y_train >= 0))
    check_counts(labels, validation, num_classes, available)
    if not _is_int(data_seed) or data_seed < 0:
        raise ConfigError("data_seed", data_seed, "must be a whole number of at least 0")

    order = np.random.default_rng(data_seed).permutation(len(y_train))
    has_label = order[y_train[order] >= 0]
    # Only rows with a known answer can be validated on; without any -1 these are the last rows.
    held_out = has_label[len(has_label) - validation :]
    train = order[~np.isin(order, held_out)]
    labelled = train[y_train[train] >= 0]
    if labels != "all":
        labelled = _balanced(labelled, y_train, num_classes, int(labels))
    return Split(train, held_out, labelled)


def check_counts(labels: int | str, validation: int, num_classes: int, available: int) -> None:
    """Checks that so many labelled and held-out rows can be taken.

    Args:
      labels: size of the labelled subset, or "all".
      validation: number of rows held out.
      num_classes: K.
      available: training rows with a label.

    Raises:
      ConfigError: they cannot.
    """
    _check_labels(labels, num_classes, available)
    _check_validation(validation, labels, num_classes, available)


def _balanced(rows: Indices, y_train: npt.NDArray[Any], num_classes: int, labels: int) -> Indices:
    per_class = labels // num_classes
    y_rows = y_train[rows]
    counts = np.bincount(y_rows, minlength=num_classes)
    if counts.min() < per_class:
        raise ConfigError(
            "labels",
            labels,
            f"class {counts.argmin()} has only {counts.min()} labelled training rows; a balanced "
            f"subset of {num_classes} classes can have at most {num_classes * counts.min()}, "
            "or use all",
        )
    chosen = np.zeros(len(rows), dtype=bool)
    for label in range(num_classes):
        chosen[np.flatnonzero(y_rows == label)[:per_class]] = True
    return rows[chosen]


def _check_labels(labels: int | str, num_classes: int, available: int) -> None:
    if labels == "all":
        return
    if isinstance(labels, str) or not _is_int(labels) or labels <= 0:
        raise ConfigError("labels", labels, "must be a whole number above 0, or all")
    if labels > available:
        raise ConfigError(
            "labels", labels, f"only {available} training rows have a label; use fewer, or all"
        )
    if labels % num_classes:
        below = labels // num_classes * num_classes
        nearest = f"{below} or {below + num_classes}" if below else str(num_classes)
        raise ConfigError(
            "labels",
            labels,
            f"a balanced subset needs a multiple of the {num_classes} classes; use {nearest}",
        )


def _check_validation(validation: int, labels: int | str, num_classes: int, available: int) -> None:
    if not _is_int(validation) or validation < 0:
        raise ConfigError("validation", validation, "must be a whole number of at least 0")
    needed = num_classes if labels == "all" else int(labels)
    if validation and validation > available - needed:
        raise ConfigError(
            "validation",
            validation,
            f"leaves fewer than {needed} of the {available} labelled rows for training; "
            f"hold out at most {max(available - needed, 0)}",
        )


def _is_int(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
