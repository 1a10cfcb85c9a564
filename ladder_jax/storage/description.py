"""Describes a run for config.json and checks whether a folder holds the requested run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from ladder_jax.config import LadderConfig, TrainConfig
from ladder_jax.data import Dataset, Split
from ladder_jax.errors import ConfigError, RunError
from ladder_jax.storage import files
from ladder_jax.storage.files import Json


def describe_run(
    config: LadderConfig,
    train_config: TrainConfig,
    data: Dataset,
    num_seeds: int = 1,
    at_once: bool = False,
    split: Split | None = None,
) -> Json:
    """Returns the content of config.json: network, training and the data's identity."""
    identity: Json = {"name": data.name, "rows": len(data.x_train), "sha256": data.fingerprint()}
    if split is not None:
        identity |= {"rows": len(np.unique(split.train)), "split": split.fingerprint()}
    return describe_settings(config, train_config, num_seeds, at_once) | {"data": identity}


def describe_settings(
    config: LadderConfig, train_config: TrainConfig, num_seeds: int = 1, at_once: bool = False
) -> Json:
    """Returns the part of config.json that is known without the data."""
    training = train_config.to_json()
    found: Json = {"model": config.to_json(), "training": training, "num_seeds": num_seeds}
    if num_seeds == 1:
        return found | {"training": training | {"data_seed": train_config.split_seed}}
    # Runs that are trained at once share their checkpoints, so the way of training has to match.
    mode = "vmap" if at_once else "sequential"
    return found | {"seed_mode": mode}


def upgrade_config(known: Json) -> Json:
    """Returns a config.json as this version would write it, or unchanged if it is unreadable."""
    try:
        return (
            # Fields that were added later get their defaults.
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
    """Raises a RunError that names the fields in which two configurations differ."""
    if found := list(differences(known, wanted)):
        differing = "; ".join(f"{field} is {old} there, {new} here" for field, old, new in found)
        raise RunError(
            f"workdir={workdir}: holds a run with another configuration ({differing}); "
            f"choose another work folder, or {files.SET_IT_ASIDE}"
        )


def differences(known: Json, wanted: Json, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yields the fields that differ, with both values; nested ones have dotted names."""
    for field in dict.fromkeys((*wanted, *known)):
        old, new = known.get(field), wanted.get(field)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from differences(old, new, f"{prefix}{field}.")
        elif old != new:
            yield f"{prefix}{field}", old, new
