"""What a run is: which rows it uses, and what config.json says of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ladder_jax.checks import whole
from ladder_jax.config import LadderConfig, TrainConfig
from ladder_jax.data import Dataset, Split, make_split
from ladder_jax.errors import ConfigError

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
) -> Json:
    """What config.json holds: network, training and the data's identity.

    Args:
      config: the network.
      train_config: how it is trained.
      data: the rows.
      num_seeds: runs in the folder.
      at_once: whether they are trained by one program; their checkpoints are then one.
    """
    identity = {"name": data.name, "rows": len(data.x_train), "sha256": data.fingerprint()}
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


def split_rows(train_config: TrainConfig, data: Dataset) -> Split:
    """Training, validation and labelled rows of the data.

    Raises:
      ConfigError: labels or validation that the data can't give.
    """
    labels, validation = train_config.labels, train_config.validation
    seed = train_config.split_seed
    split = make_split(data.y_train, data.num_classes, labels, validation, seed)  # type: ignore[arg-type]
    for rows, field, value in (
        (len(split.train), "validation", validation),
        (len(split.labelled), "labels", labels),
    ):
        if rows < 2:
            raise ConfigError(field, value, f"leaves {rows} rows; batch statistics need 2 or more")
    return split
