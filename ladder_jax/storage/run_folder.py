"""Writes and reads the files of one run."""

# ``config.json`` and ``label_indices.json`` are written before training, ``metrics.jsonl`` grows by
# a line each epoch, ``result.json`` ends the run, and ``train.checkpoints`` keeps ``checkpoints/``.
# Every file except metrics.jsonl is replaced as a whole. A lock keeps a second process out while
# one trains.

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self

from ladder_jax.config import LadderConfig, TrainConfig
from ladder_jax.errors import RunError, no_space
from ladder_jax.storage import files
from ladder_jax.storage.description import check_same, describe_settings, upgrade_config
from ladder_jax.storage.files import Json

CONFIG, RESULT, METRICS = "config.json", "result.json", "metrics.jsonl"
LABELS, DIVERGED, WEIGHTS = "label_indices.json", "diverged.json", "weights.msgpack"
CHECKPOINTS, FIGURES, REPORT = "checkpoints", "figures", "report.html"
CLASSIFIER = "classifier.json"
"""Names in a run folder."""

RUN_FILES = (RESULT, METRICS, CHECKPOINTS)
"""Files that show that a folder holds a run."""

# They are moved in this order, so that a run is finished or can go on if the process is killed
# between two moves.
_ALL_FILES = (
    *(CLASSIFIER, RESULT, REPORT, FIGURES, CHECKPOINTS),
    *(METRICS, DIVERGED, WEIGHTS, LABELS, CONFIG),
)


class RunFolder:
    """The files of a run, in a folder that belongs to one configuration.

    If ``path`` is None, there is no folder: metrics are kept in memory and nothing else is kept.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        config: Json,
        writes: bool = True,
        resume: bool = True,
    ):
        self.path = None if path is None else Path(path)
        self.writes = writes and path is not None  # of several hosts only one writes
        self.metrics: dict[int, list[Json]] = {}
        self._lock: IO[bytes] | None = None
        if path is None:
            return
        try:
            self._open(Path(path), config, resume)
        except OSError as error:
            self.close()
            reason = error.strerror or str(error)
            mend = "make room, or choose another" if no_space(error) else "choose another"
            raise RunError(f"workdir={path}: cannot be written ({reason}); {mend}") from None
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets other processes use the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _file(self, name: str) -> Path:
        """Returns the path of a file, which exists only if the run has a folder."""
        assert self.path is not None
        return self.path / name

    def _open(self, folder: Path, config: Json, resume: bool) -> None:
        """Creates or checks the folder and reads the metrics so far."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.writes:
            self._lock_or_fail()
            if not resume:
                self._set_aside()
        known = _read_own(folder / CONFIG)
        if known is None:
            if found := [name for name in RUN_FILES if (folder / name).exists()]:
                raise RunError(
                    f"workdir={folder}: holds {found[0]} but no config.json, so nobody knows "
                    "which run it is of; choose another work folder, or set it aside "
                    "(--noresume, in Python resume=False)"
                )
            self.write(CONFIG, config)
        elif self.writes and not os.access(folder, os.W_OK):
            raise PermissionError("no permission to write")
        else:
            check_same(folder, upgrade_config(known), config)
        self.metrics = files.read_metrics(folder / METRICS)

    def _lock_or_fail(self) -> None:
        """Locks the folder against other training processes, or raises a RunError.

        If another process has the lock and the run is finished, this one does not write its files.
        """
        # The file stays open for the whole run. It is unbuffered because closing it must not write.
        file = open(self._file(".lock"), "a+b", buffering=0)  # noqa: SIM115
        if files.lock(file, wait=False):
            self._lock = file
            with suppress(OSError):  # only to tell others which process it is
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
        self.writes = False

    def _set_aside(self) -> None:
        """Moves the files of a run into a new folder within this one."""
        found = [name for name in _ALL_FILES if self._file(name).exists()]
        if not found:
            return
        if self._lock is None:
            raise RunError(f"workdir={self.path}: another process reads that run; try again")
        number = 1
        while (aside := self._file(f"before-{number}")).exists():
            number += 1
        aside.mkdir()
        for name in found:
            os.rename(self._file(name), aside / name)

    def result(self) -> Json | None:
        """Returns the content of result.json, or None if the run has not finished."""
        return None if self.path is None else read_result(self.path)

    def write(self, name: str, values: Any) -> None:
        """Replaces a JSON file."""
        self.write_bytes(name, (json.dumps(values, indent=1, allow_nan=False) + "\n").encode())

    def write_bytes(self, name: str, content: bytes) -> None:
        """Replaces a file."""
        if self.writes:
            files.replace(self._file(name), content)

    def append_metrics(self, lines: Sequence[Json]) -> None:
        """Adds the lines of an epoch, each under its seed."""
        for line in lines:
            self.metrics.setdefault(line["seed"], []).append(line)
        if self.writes:
            files.append_metrics(self._file(METRICS), lines)

    def keep_epochs(self, seeds: Sequence[int], epochs: int, diverged: Collection[int]) -> None:
        """Drops the lines of these seeds after the first ``epochs``, to train on from there."""
        for seed in seeds:
            lines = self.metrics.get(seed, [])
            # The lines of a seed that diverged may end sooner.
            if len(lines) < epochs and seed not in diverged:
                raise RunError(
                    f"{self._file(METRICS)}: ends in epoch {len(lines)}, the checkpoint in "
                    f"{epochs}; choose another work folder, or {files.SET_IT_ASIDE}"
                )
            self.metrics[seed] = lines[:epochs]
        self.write_bytes(METRICS, files.metrics_text(self.metrics, len(seeds) > 1))

    def finish(self, weights: Callable[[], bytes], summary: Json, at_once: bool) -> None:
        """Saves the models and the result of the whole run."""
        if not self.writes:
            return
        # The lines get the order that they have if the run is never stopped.
        self.write_bytes(METRICS, files.metrics_text(self.metrics, at_once))
        self.write_bytes(WEIGHTS, weights())
        self.write(RESULT, summary)  # last, since it means that all is there

    def sync_metrics(self) -> None:
        """Waits until the lines so far are on the disk."""
        if self.writes:
            files.sync(self._file(METRICS))

    def write_diverged(self, found: dict[int, tuple[int, str]]) -> None:
        """Records which of several seeds diverged, after how many steps, and how."""
        self.write(DIVERGED, {str(seed): list(how) for seed, how in found.items()})

    def diverged(self, steps: int) -> dict[int, tuple[int, str]]:
        """Returns what ``write_diverged`` recorded of the first ``steps`` steps."""

        def parse(noted: Json) -> dict[int, tuple[int, str]]:
            return {int(seed): (int(after), reason) for seed, (after, reason) in noted.items()}

        if self.path is None:
            return {}
        problem = f"is damaged; choose another work folder, or {files.SET_IT_ASIDE}"
        found = files.read_json(self.path / DIVERGED, parse, problem)
        return {seed: how for seed, how in (found or {}).items() if how[0] <= steps}


def finished_summary(
    workdir: str | os.PathLike[str],
    config: LadderConfig,
    train_config: TrainConfig,
    num_seeds: int = 1,
) -> Json | None:
    """Returns the content of result.json if the folder has a finished run, else None.

    It needs neither the data nor a checkpoint.

    Raises:
      RunError: the run has another configuration, or a file is damaged or cannot be read.
    """
    wanted = describe_settings(config, train_config, num_seeds)
    wanted.pop("seed_mode", None)  # a finished run may have been trained in another mode
    result, known = read_result(workdir), _read_own(Path(workdir) / CONFIG)
    if result is None or known is None:
        return None
    known = upgrade_config(known)
    check_same(workdir, {field: known.get(field) for field in wanted}, wanted)
    return result


def read_result(workdir: str | os.PathLike[str]) -> Json | None:
    """Returns the content of result.json of a run folder, or None if there is none."""

    def parse(found: Json) -> Json:
        if not isinstance(found["runs"], list):
            raise TypeError("runs is no list")
        return found

    return files.read_json(Path(workdir) / RESULT, parse, "is damaged; remove it to evaluate anew")


def _read_own(path: Path) -> Json | None:
    """Returns the content of a run's config.json, or None if there is no such file."""
    problem = f"is damaged; choose another work folder, or {files.SET_IT_ASIDE}"
    return files.read_json(path, dict, problem)
