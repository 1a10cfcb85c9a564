"""What a run is: which rows it uses, and what config.json says of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ladder_jax.config import LadderConfig, TrainConfig
from ladder_jax.data import Dataset, Split, make_split
from ladder_jax.errors import ConfigError, whole

Json = dict[str, Any]


def with_seeds(train_config: TrainConfig, num_seeds: int) -> list[TrainConfig]:
    """The settings of each of several runs, with seeds from ``train_config.seed`` up.

    Raises:
      ConfigError: not a whole number of at least 1.
    """
    count = whole("num_seeds", num_seeds, 1)
    seeds = range(train_config.seed, train_config.seed + count)
    return [dataclasses.replace(train_config, seed=seed) for seed in seeds]


def run_config(
    config: LadderConfig,
    train_config: TrainConfig,
    data: Dataset,
    num_seeds: int = 1,
    at_once: bool = False,
    split: Split | None = None,
) -> Json:
    """What config.json holds: network, training and the data's identity.

    Args:
      config: the network.
      train_config: how it is trained.
      data: the rows.
      num_seeds: runs in the folder.
      at_once: whether they are trained by one program; their checkpoints are then one.
      split: the caller's own choice of rows.
    """
    identity: Json = {"name": data.name, "rows": len(data.x_train), "sha256": data.fingerprint()}
    if split is not None:
        identity |= {"rows": len(np.unique(split.train)), "split": split.fingerprint()}
    return settings(config, train_config, num_seeds, at_once) | {"data": identity}


def settings(
    config: LadderConfig, train_config: TrainConfig, num_seeds: int = 1, at_once: bool = False
) -> Json:
    """The part of config.json that is known without the data."""
    training = train_config.to_json()
    found: Json = {"model": config.to_json(), "training": training, "num_seeds": num_seeds}
    if num_seeds == 1:
        return found | {"training": training | {"data_seed": train_config.split_seed}}
    mode = "vmap" if at_once else "sequential"
    return found | {"seed_mode": mode}


def normal_form(known: Json) -> Json:
    """A config.json as this version would write it: fields added since have their default.

    What this version cannot read is returned as it is.
    """
    try:
        return (
            {"num_seeds": 1}
            | known
            | {
                "model": LadderConfig.from_json(known["model"]).to_json(),
                "training": TrainConfig.from_json(known["training"]).to_json(),
            }
        )
    except (KeyError, TypeError, ConfigError):
        return known


def check_fits(config: LadderConfig, data: Dataset) -> None:
    """Checks that the network takes the data's rows and has a unit for each class.

    Raises:
      ConfigError: it does not.
    """
    if np.prod(data.input_shape) != np.prod(config.input_shape):
        shape = "x".join(map(str, config.input_shape))
        raise ConfigError("input_shape", shape, f"the rows of {data.name} are {data.input_shape}")
    check_classes(config, data.name, data.num_classes)


def check_classes(config: LadderConfig, name: str, num_classes: int) -> None:
    """Checks that the network has a unit for each class of the data set of that name.

    Raises:
      ConfigError: it does not.
    """
    if config.num_classes != num_classes:
        problem = f"{name} has {num_classes} classes; the last layer needs one unit each"
        raise ConfigError("layers", config.num_classes, problem)


def split_rows(train_config: TrainConfig, data: Dataset, own: Split | None = None) -> Split:
    """Training, validation and labelled rows of the data.

    Args:
      train_config: ``labels``, ``validation`` and ``data_seed`` choose them.
      data: the rows.
      own: the caller's choice, which is then checked and taken. Rows may occur repeatedly.

    Raises:
      ConfigError: labels or validation that the data can't give; a split that does not fit.
    """
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
    names = ("train", "validation", "labelled")
    split = Split(*(np.asarray(getattr(split, name)) for name in names))
    for name in names:
        rows = getattr(split, name)
        if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
            raise ConfigError(f"split.{name}", rows.dtype, "is a list of row numbers")
        if rows.size and not 0 <= rows.min() <= rows.max() < data.num_train:
            problem = f"row numbers are from 0 to {data.num_train - 1}"
            raise ConfigError(f"split.{name}", f"{rows.min()}…{rows.max()}", problem)
        if name != "train" and rows.size and data.y_train[rows].min() < 0:
            raise ConfigError(f"split.{name}", rows[data.y_train[rows] < 0][0], "has no label")
    split = Split(*(getattr(split, name).astype(np.int64) for name in names))
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
