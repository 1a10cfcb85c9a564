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
from typing import IO, Any, Self

from ladder_jax.config import LadderConfig, TrainConfig
from ladder_jax.errors import RunError, no_space
from ladder_jax.storage import files
from ladder_jax.storage.description import check_same, describe_settings, upgrade_config

Json = dict[str, Any]

CONFIG, RESULT, METRICS = "config.json", "result.json", "metrics.jsonl"
LABELS, DIVERGED, WEIGHTS = "label_indices.json", "diverged.json", "weights.msgpack"
CHECKPOINTS, FIGURES, REPORT = "checkpoints", "figures", "report.html"
CLASSIFIER = "classifier.json"
"""Names in a run folder. Whoever writes such a file takes its name from here."""

RUN_FILES = (RESULT, METRICS, CHECKPOINTS)
"""Files that say that a folder holds a run."""

# In the order in which they can go, one by one, and what is left is an unfinished run.
_ALL_FILES = (
    *(CLASSIFIER, RESULT, REPORT, FIGURES, CHECKPOINTS),
    *(METRICS, DIVERGED, WEIGHTS, LABELS, CONFIG),
)


class MemoryFolder:
    """A run that leaves nothing on the disk: what a run folder keeps is kept in memory.

    Attributes:
      path: None.
      metrics: seed -> one line of metrics for each epoch.
    """

    path: Path | None = None

    def __init__(self) -> None:
        self.metrics: dict[int, list[Json]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets others have the folder."""

    def result(self) -> Json | None:
        """What result.json holds if the run has finished, else None."""
        return None

    def write(self, name: str, values: Any) -> None:
        """Replaces a JSON file."""

    def write_bytes(self, name: str, content: bytes) -> None:
        """Replaces a file."""

    def append_metrics(self, lines: Sequence[Json]) -> None:
        """Adds lines of an epoch, each under its seed."""
        for line in lines:
            self.metrics.setdefault(line["seed"], []).append(line)

    def keep_epochs(self, seeds: Sequence[int], epochs: int, diverged: Collection[int]) -> None:
        """Drops the lines of epochs that will be trained again.

        Lines of other seeds stay as they are; those of diverged seeds may end sooner.

        Args:
          seeds: the runs that go on.
          epochs: how many of each are kept.
          diverged: seeds whose lines may end sooner.

        Raises:
          RunError: lines are missing, or the file cannot be written.
        """
        for seed in seeds:
            self.metrics[seed] = self.metrics.get(seed, [])[:epochs]

    def finish(self, weights: Callable[[], bytes], summary: Json, at_once: bool) -> None:
        """Keeps the models and the result of the whole run.

        Args:
          weights: packs the models.
          summary: content of result.json.
          at_once: whether seeds are trained at once: the lines of metrics.jsonl are then in the
            order of epochs, else in that of seeds, as if the run had never been stopped.
        """

    def sync_metrics(self) -> None:
        """Returns once the lines so far are on the disk."""

    def write_diverged(self, found: dict[int, tuple[int, str]]) -> None:
        """Notes which of several seeds diverged: seed -> after how many steps, and how."""

    def diverged(self, steps: int) -> dict[int, tuple[int, str]]:
        """What ``write_diverged`` noted of the first ``steps`` steps."""
        return {}


class RunFolder(MemoryFolder):
    """A folder on the disk that belongs to one configuration.

    Args:
      path: created if absent.
      config: all that identifies the run, plain JSON values.
      writes: whether this process writes. If a run has several hosts, only one does.
      resume: if false, what there is of a run is moved into before-1, before-2, … within.

    Raises:
      RunError: the folder can't be written, holds another configuration's run or damaged files,
        or another process is at work in it.
    """

    path: Path

    def __init__(
        self,
        path: str | os.PathLike[str],
        config: Json,
        writes: bool = True,
        resume: bool = True,
    ):
        super().__init__()
        self.path, self.writes = Path(path), writes
        self._lock: IO[bytes] | None = None
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if writes:
                self._lock_or_fail()
            if not resume and writes:
                self._set_aside()
            known = read_json(self.path / CONFIG)
            if known is None:
                if found := [name for name in RUN_FILES if (self.path / name).exists()]:
                    raise RunError(
                        f"workdir={path}: holds {found[0]} but no config.json, so nobody knows "
                        "which run it is of; choose another work folder, or set it aside "
                        "(--noresume, in Python resume=False)"
                    )
                self.write(CONFIG, config)
            elif not os.access(self.path, os.W_OK):
                raise PermissionError("no permission to write")
            else:
                check_same(path, upgrade_config(known), config)
            self.metrics = files.read_metrics(self.path / METRICS)
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

    def _lock_or_fail(self) -> None:
        """Keeps others from training here; a finished run may be read by many."""
        # It is held for the whole run. Unbuffered: closing it must not write.
        file = open(self.path / ".lock", "a+b", buffering=0)  # noqa: SIM115
        if files.lock(file, wait=False):
            self._lock = file
            with suppress(OSError):  # only for others to see who it is
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

    def result(self) -> Json | None:
        """What result.json holds if the run has finished, else None."""
        return read_result(self.path)

    def write(self, name: str, values: Any) -> None:
        """Replaces a JSON file; see ``files.replace``."""
        self.write_bytes(name, (json.dumps(values, indent=1, allow_nan=False) + "\n").encode())

    def write_bytes(self, name: str, content: bytes) -> None:
        """Replaces a file; see ``files.replace``."""
        if self.writes:
            files.replace(self.path / name, content)

    def append_metrics(self, lines: Sequence[Json]) -> None:
        """Adds lines of an epoch, each under its seed."""
        super().append_metrics(lines)
        if self.writes:
            files.append_metrics(self.path / METRICS, lines)

    def keep_epochs(self, seeds: Sequence[int], epochs: int, diverged: Collection[int]) -> None:
        """Drops the lines of epochs that will be trained again, see ``MemoryFolder``."""
        for seed in seeds:
            found = len(self.metrics.get(seed, []))
            if found < epochs and seed not in diverged:
                raise RunError(
                    f"{self.path / METRICS}: ends in epoch {found}, the checkpoint in {epochs}; "
                    f"choose another work folder, or {files.SET_IT_ASIDE}"
                )
        super().keep_epochs(seeds, epochs, diverged)
        self.write_bytes(METRICS, files.metrics_text(self.metrics, len(seeds) > 1))

    def finish(self, weights: Callable[[], bytes], summary: Json, at_once: bool) -> None:
        """Keeps the models and the result of the whole run, see ``MemoryFolder``."""
        path, text = self.path / METRICS, files.metrics_text(self.metrics, at_once)
        if (path.read_bytes() if path.exists() else b"") != text:
            self.write_bytes(METRICS, text)
        self.write_bytes(WEIGHTS, weights())
        self.write(RESULT, summary)  # last: it says that all is there

    def sync_metrics(self) -> None:
        """Returns once the lines so far are on the disk."""
        if self.writes:
            files.sync(self.path / METRICS)

    def write_diverged(self, found: dict[int, tuple[int, str]]) -> None:
        """Notes which of several seeds diverged: seed -> after how many steps, and how."""
        self.write(DIVERGED, {str(seed): list(how) for seed, how in found.items()})

    def diverged(self, steps: int) -> dict[int, tuple[int, str]]:
        """What ``write_diverged`` noted of the first ``steps`` steps."""
        noted = read_json(self.path / DIVERGED) or {}
        try:
            found = {int(seed): (int(after), reason) for seed, (after, reason) in noted.items()}
        except (TypeError, ValueError):
            raise RunError(f"{self.path / DIVERGED}: is damaged; remove it") from None
        return {seed: how for seed, how in found.items() if how[0] <= steps}


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
    wanted.pop("seed_mode", None)  # how it was trained, which a finished run need not share
    result, known = read_result(workdir), read_json(Path(workdir) / CONFIG)
    if result is None or known is None:
        return None
    known = upgrade_config(known)
    check_same(workdir, {field: known.get(field) for field in wanted}, wanted)
    return result


def read_result(workdir: str | os.PathLike[str]) -> Json | None:
    """What result.json of a run folder holds; None if there is none.

    Raises:
      RunError: it is damaged or cannot be read.
    """
    path = Path(workdir) / RESULT
    found = read_json(path)
    if found is not None and not isinstance(found.get("runs"), list):
        raise RunError(f"{path}: is damaged; remove it to evaluate anew")
    return found


def read_json(path: Path) -> Json | None:
    """The object in a JSON file; None if there is none.

    Raises:
      RunError: it is damaged or cannot be read.
    """
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RunError(f"{path}: is damaged; choose another work folder, or {files.SET_IT_ASIDE}")
    return found
