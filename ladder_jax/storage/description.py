"""What config.json says of a run, and whether it is the run that is asked for."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ladder_jax.config import LadderConfig, TrainConfig
from ladder_jax.data import Dataset, Split
from ladder_jax.errors import ConfigError, RunError
from ladder_jax.storage import files

Json = dict[str, Any]


def describe_run(
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
    return describe_settings(config, train_config, num_seeds, at_once) | {"data": identity}


def describe_settings(
    config: LadderConfig, train_config: TrainConfig, num_seeds: int = 1, at_once: bool = False
) -> Json:
    """The part of config.json that is known without the data."""
    training = train_config.to_json()
    found: Json = {"model": config.to_json(), "training": training, "num_seeds": num_seeds}
    if num_seeds == 1:
        return found | {"training": training | {"data_seed": train_config.split_seed}}
    mode = "vmap" if at_once else "sequential"
    return found | {"seed_mode": mode}


def upgrade_config(known: Json) -> Json:
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


def check_same(workdir: str | os.PathLike[str], known: Json, wanted: Json) -> None:
    """Checks that the configuration of a folder is the wanted one.

    Raises:
      RunError: it is not; the fields that differ are named.
    """
    if differing := _differences(known, wanted):
        raise RunError(
            f"workdir={workdir}: holds a run with another configuration ("
            + "; ".join(differing)
            + f"); choose another work folder, or {files.SET_IT_ASIDE}"
        )


def _differences(known: Json, wanted: Json, prefix: str = "") -> list[str]:
    found = []
    for field in dict.fromkeys((*wanted, *known)):
        old, new = known.get(field), wanted.get(field)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{prefix}{field}.")
        elif old != new:
            found.append(f"{prefix}{field} is {old} there, {new} here")
    return found
