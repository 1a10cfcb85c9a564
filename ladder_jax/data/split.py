"""Draws the labelled and the validation rows of a training set, from the data seed only."""

# Protocol of the original experiments: one permutation of the training indices, the validation rows
# from its end, the labelled subset as the first N/K rows of each class in permuted order.

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from ladder_jax.config import LadderConfig, TrainConfig
from ladder_jax.data.dataset import Dataset
from ladder_jax.errors import ConfigError
from ladder_jax.layers import by

Indices = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Row numbers into a dataset's training arrays, all in permuted order.

    Attributes:
      train: the training part, labelled or not; the unlabelled minibatches come from it.
      validation: validation rows, disjoint from `train`; may be empty.
      labelled: the part of `train` whose labels are used.
    """

    # `labelled` must stay in permuted order, never sorted by class: the evaluation statistics are
    # averages over consecutive minibatches of it, and minibatches of a single class would be wrong.
    train: Indices
    validation: Indices
    labelled: Indices

    def fingerprint(self) -> str:
        """Returns 16 hex digits of a SHA-256 over all three arrays."""
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
    """Draws validation rows and a class-balanced labelled subset.

    Args:
      y_train: (N,) integer labels, -1 for rows without one.
      num_classes: K.
      labels: size of the labelled subset, a multiple of K, or "all" for every labelled row.
      validation: number of validation rows; they are taken from rows that have a label.
      data_seed: seed of the permutation; the model's seed has no influence on it.

    Returns:
      The split, which depends on the arguments only.

    Raises:
      ConfigError: `labels`, `validation` or `data_seed` is not possible.
    """
    y_train = np.asarray(y_train)
    available = int(np.count_nonzero(y_train >= 0))
    check_counts(labels, validation, num_classes, available)
    if not _is_int(data_seed) or data_seed < 0:
        raise ConfigError("data_seed", data_seed, "must be a whole number of at least 0")

    order = np.random.default_rng(data_seed).permutation(len(y_train))
    has_label = order[y_train[order] >= 0]
    # Validation needs labels; without any -1 these are the last rows.
    held_out = has_label[len(has_label) - validation :]
    train = order[~np.isin(order, held_out)]
    labelled = train[y_train[train] >= 0]
    if labels != "all":
        labelled = _balanced(labelled, y_train, num_classes, int(labels))
    return Split(train, held_out, labelled)


def check_counts(labels: int | str, validation: int, num_classes: int, available: int) -> None:
    """Raises a ConfigError if there are too few of the ``available`` labelled rows."""
    needed = num_classes
    if labels != "all":
        if isinstance(labels, str) or not _is_int(labels) or labels <= 0:
            raise ConfigError("labels", labels, "must be a whole number above 0, or all")
        if labels > available:
            problem = f"only {available} training rows have a label; use fewer, or all"
            raise ConfigError("labels", labels, problem)
        if labels % num_classes:
            below = labels // num_classes * num_classes
            nearest = f"{below} or {below + num_classes}" if below else str(num_classes)
            problem = f"a balanced subset needs a multiple of the {num_classes} classes"
            raise ConfigError("labels", labels, f"{problem}; use {nearest}")
        needed = int(labels)
    if not _is_int(validation) or validation < 0:
        raise ConfigError("validation", validation, "must be a whole number of at least 0")
    if validation and validation > available - needed:
        raise ConfigError(
            "validation",
            validation,
            f"leaves fewer than {needed} of the {available} labelled rows for training; "
            f"hold out at most {max(available - needed, 0)}",
        )


def _balanced(rows: Indices, y_train: npt.NDArray[Any], num_classes: int, labels: int) -> Indices:
    """Returns the first rows of each class, equally many, in their order."""
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


def _is_int(value: Any) -> bool:
    """Returns whether a value is an integer and not a bool."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def check_fits(config: LadderConfig, data: Dataset) -> None:
    """Raises a ConfigError if the network does not fit the data's rows and classes."""
    if np.prod(data.input_shape) != np.prod(config.input_shape):
        problem = f"the rows of {data.name} are {data.input_shape}"
        raise ConfigError("input_shape", by(config.input_shape), problem)
    check_classes(config, data.name, data.num_classes)


def check_classes(config: LadderConfig, name: str, num_classes: int) -> None:
    """Raises a ConfigError if the network does not have one unit for each class."""
    if config.num_classes != num_classes:
        problem = f"{name} has {num_classes} classes; the last layer needs one unit each"
        raise ConfigError("layers", config.num_classes, problem)


def split_rows(train_config: TrainConfig, data: Dataset, own: Split | None = None) -> Split:
    """Returns the split that the settings draw, or the caller's ``own`` one after a check."""
    labels, validation = train_config.labels, train_config.validation
    if own is None:
        seed = train_config.split_seed
        split = make_split(data.y_train, data.num_classes, labels, validation, seed)  # type: ignore[arg-type]
    else:
        split = _checked(own, train_config, data)
    for rows, field, value in (
        (len(split.train), "validation", validation),
        (len(split.labelled), "labels", labels),
    ):
        if rows < 2:
            raise ConfigError(field, value, f"leaves {rows} rows; batch statistics need 2 or more")
    return split


def _checked(split: Split, train_config: TrainConfig, data: Dataset) -> Split:
    """Returns the caller's split as int64 arrays if it fits the data and the settings."""
    names = ("train", "validation", "labelled")
    lists = {name: np.asarray(getattr(split, name)) for name in names}
    for name, rows in lists.items():
        if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
            raise ConfigError(f"split.{name}", rows.dtype, "is a list of row numbers")
        if rows.size and not 0 <= rows.min() <= rows.max() < data.num_train:
            problem = f"row numbers are from 0 to {data.num_train - 1}"
            raise ConfigError(f"split.{name}", f"{rows.min()}…{rows.max()}", problem)
        if name != "train" and rows.size and data.y_train[rows].min() < 0:
            raise ConfigError(f"split.{name}", rows[data.y_train[rows] < 0][0], "has no label")
    split = Split(**{name: rows.astype(np.int64) for name, rows in lists.items()})
    if not np.isin(split.labelled, split.train).all():
        row = split.labelled[~np.isin(split.labelled, split.train)][0]
        raise ConfigError("split.labelled", row, "is not in split.train; it has to be")
    if np.isin(split.validation, split.train).any():
        raise ConfigError("split.validation", len(split.validation), "rows are also in split.train")
    if len(split.validation) != train_config.validation:
        problem = f"the split holds {len(split.validation)} rows out; make them equal"
        raise ConfigError("validation", train_config.validation, problem)
    same = train_config.labels == "all" and train_config.labelled_order == "same"
    alike = np.array_equal(np.sort(split.labelled), np.sort(split.train))
    if same and len(split.labelled) == len(split.train) and not alike:
        problem = "needs the labelled rows to be the training rows; set it to independent"
        raise ConfigError("labelled_order", "same", problem)
    return split
