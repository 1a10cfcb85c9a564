"""The files of one run.

``config.json`` and ``label_indices.json`` are written before training, ``metrics.jsonl``
grows by a line each epoch, ``result.json`` ends the run, ``checkpoints/`` is kept by
``ladder_jax.train.checkpoints``. Every file but metrics.jsonl is replaced as a whole. A lock
keeps a second process out while one trains.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from ladder_jax.config import LadderConfig, TrainConfig
from ladder_jax.data import Dataset, Split
from ladder_jax.errors import ConfigError, RunError, no_space
from ladder_jax.storage import files
from ladder_jax.storage.files import lock

Json = dict[str, Any]

CLASSIFIER = "classifier.json"
"""What a ``LadderClassifier`` has beside its network."""

RUN_FILES = ("result.json", "metrics.jsonl", "checkpoints")

# In the order in which they can go, one by one, and what is left is an unfinished run.
_ALL_FILES = (
    *("classifier.json", "result.json", "report.html", "figures", "checkpoints", "metrics.jsonl"),
    *("diverged.json", "weights.msgpack", "label_indices.json", "config.json"),
)


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


class RunFolder:
    """A folder that belongs to one configuration.

    Args:
      path: created if absent.
      config: all that identifies the run, plain JSON values.
      normal_form: brings what an older version wrote into today's form before the two are
        compared.
      writes: whether this process writes. Of a run on several hosts only one does.
      resume: else what there is of a run is moved into a folder before-1, before-2, … within.

    Raises:
      RunError: the folder can't be written, holds another configuration's run, or another
        process is at work in it.
    """

    _lock: IO[bytes] | None = None

    def __init__(
        self,
        path: str | os.PathLike[str],
        config: Json,
        normal_form: Callable[[Json], Json] = lambda known: known,
        writes: bool = True,
        resume: bool = True,
    ):
        self.path, self.writes = Path(path), writes
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if writes:
                self._lock_or_fail()
            if not resume and writes:
                self._set_aside()
            known = self._read("config.json")
            if known is None:
                if found := [name for name in RUN_FILES if (self.path / name).exists()]:
                    raise RunError(
                        f"workdir={path}: holds {found[0]} but no config.json, so nobody knows "
                        "which run it is of; choose another work folder, or set it aside "
                        "(--noresume, in Python resume=False)"
                    )
                self.write("config.json", config)
            elif not os.access(self.path, os.W_OK):
                raise PermissionError("no permission to write")
            else:
                self._check_same(normal_form(known), config)
        except OSError as error:
            self.close()
            reason = error.strerror or str(error)
            mend = "make room, or choose another" if no_space(error) else "choose another"
            raise RunError(f"workdir={path}: cannot be written ({reason}); {mend}") from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Lets others have the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _lock_or_fail(self) -> None:
        """Keeps others from training here; a finished run may be read by many."""
        # It is held for the whole run. Unbuffered: closing it must not write.
        file = open(self.path / ".lock", "a+b", buffering=0)  # noqa: SIM115
        if lock(file, wait=False):
            self._lock = file
            with suppress(OSError):  # only to tell others who it is
                file.truncate(0)
                file.write(f"process {os.getpid()} on {platform.node()}".encode())
            return
        file.seek(0)
        holder = file.read(200).decode(errors="replace") or "another process"
        file.close()
        if self.result() is None:
            raise RunError(
                f"workdir={self.path}: {holder} is at work there; wait for it to end or "
                "choose another work folder"
            )

    def _set_aside(self) -> None:
        """Moves what there is of a run into a folder of its own within this one."""
        found = [name for name in _ALL_FILES if (self.path / name).exists()]
        if not found:
            return
        if self._lock is None:
            raise RunError(f"workdir={self.path}: another process reads that run; try again")
        number = 1
        while (aside := self.path / f"before-{number}").exists():
            number += 1
        aside.mkdir()
        for name in found:
            os.rename(self.path / name, aside / name)

    @classmethod
    def finished(
        cls,
        path: str | os.PathLike[str],
        settings: Json,
        normal_form: Callable[[Json], Json] = lambda known: known,
    ) -> Json | None:
        """result.json of a finished run with these settings, a part of config.json.

        Raises:
          RunError: the run there has other settings.
        """
        folder = cls.__new__(cls)  # only looks: makes no folder, needs no permission to write
        folder.path = Path(path)
        result, known = folder.result(), folder._read("config.json")
        if result is None or known is None:
            return None
        known = normal_form(known)
        folder._check_same({field: known.get(field) for field in settings}, settings)
        return result

    def _check_same(self, known: Json, wanted: Json) -> None:
        if differing := _differences(known, wanted):
            raise RunError(
                f"workdir={self.path}: holds a run with another configuration ("
                + "; ".join(differing)
                + "); choose another work folder, or set this run aside "
                "(--noresume, in Python resume=False)"
            )

    @property
    def checkpoints(self) -> Path:
        """Where the training states are."""
        return self.path / "checkpoints"

    def write(self, name: str, values: Any) -> None:
        """Replaces a JSON file; see ``files.replace``."""
        if self.writes:
            text = json.dumps(values, indent=1, allow_nan=False) + "\n"
            files.replace(self.path / name, text)

    def write_bytes(self, name: str, content: bytes) -> None:
        """Replaces a file, likewise."""
        if self.writes:
            files.replace(self.path / name, content)

    def append_metrics(self, lines: list[Json]) -> None:
        """More lines of metrics.jsonl."""
        if self.writes:
            files.append(self.path / "metrics.jsonl", lines)

    def metrics(self) -> dict[int, list[Json]]:
        """All whole lines of metrics.jsonl by seed, see ``files.read``."""
        return files.read(self.path / "metrics.jsonl")

    def truncate_metrics(
        self, seeds: Sequence[int], epochs: int, diverged: Collection[int] = ()
    ) -> dict[int, list[Json]]:
        """Drops lines of epochs that will be trained again, see ``files.truncate``."""
        path = self.path / "metrics.jsonl"
        return files.truncate(path, seeds, epochs, diverged, self.writes)

    def order_metrics(self, at_once: bool) -> None:
        """Puts the lines of several seeds in order, see ``files.order``."""
        if self.writes:
            files.order(self.path / "metrics.jsonl", at_once)

    def sync_metrics(self) -> None:
        """Returns once the lines so far are on the disk."""
        if self.writes:
            files.sync(self.path / "metrics.jsonl")

    def write_diverged(self, found: dict[int, tuple[int, str]]) -> None:
        """Notes which of several seeds diverged: seed -> after how many steps, and how."""
        self.write("diverged.json", {str(seed): list(how) for seed, how in found.items()})

    def diverged(self, steps: int) -> dict[int, tuple[int, str]]:
        """What ``write_diverged`` noted of the first ``steps`` steps."""
        noted = self._read("diverged.json") or {}
        try:
            found = {int(seed): (int(after), reason) for seed, (after, reason) in noted.items()}
        except (TypeError, ValueError):
            raise RunError(f"{self.path / 'diverged.json'}: is damaged; remove it") from None
        return {seed: how for seed, how in found.items() if how[0] <= steps}

    def result(self) -> Json | None:
        """result.json of a finished run, None before."""
        found = self._read("result.json")
        if found is not None and not isinstance(found.get("runs"), list):
            raise RunError(f"{self.path / 'result.json'}: is damaged; remove it to evaluate anew")
        return found

    def _read(self, name: str) -> Json | None:
        path = self.path / name
        try:
            found = json.loads(path.read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise RunError(f"{path}: cannot be read ({error.strerror})") from None
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise RunError(
                f"{path}: is damaged; choose another work folder, or set this run aside "
                "(--noresume, in Python resume=False)"
            )
        return found


def finished_summary(
    workdir: str | os.PathLike[str],
    config: LadderConfig,
    train_config: TrainConfig,
    num_seeds: int = 1,
) -> Json | None:
    """What result.json holds if the folder has a finished run; needs no data, no checkpoint.

    Raises:
      RunError: the run there is of another configuration.
    """
    wanted = describe_settings(config, train_config, num_seeds)
    wanted.pop("seed_mode", None)  # how it was made, of a finished run
    return RunFolder.finished(workdir, wanted, upgrade_config)


def _differences(known: Json, wanted: Json, prefix: str = "") -> list[str]:
    found = []
    for field in dict.fromkeys((*wanted, *known)):
        old, new = known.get(field), wanted.get(field)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{prefix}{field}.")
        elif old != new:
            found.append(f"{prefix}{field} is {old} there, {new} here")
    return found
