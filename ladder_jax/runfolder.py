"""The files of one run.

``config.json`` and ``label_indices.json`` are written before training, ``metrics.jsonl``
grows by a line each epoch, ``result.json`` ends the run, ``checkpoints/`` is kept by
``ladder_jax.checkpoints``. Every file but metrics.jsonl is replaced as a whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from ladder_jax.errors import RunError

Json = dict[str, Any]

_RUN_FILES = ("result.json", "metrics.jsonl", "checkpoints")


class RunFolder:
    """A folder that belongs to one configuration.

    Args:
      path: created if absent.
      config: all that identifies the run, plain JSON values.
      normal_form: brings what an older version wrote into today's form before the two are
        compared.
      writes: whether this process writes. Of a run on several hosts only one does.

    Raises:
      RunError: the folder can't be written or holds another configuration's run.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        config: Json,
        normal_form: Callable[[Json], Json] = lambda known: known,
        writes: bool = True,
    ):
        self.path, self.writes = Path(path), writes
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            known = self._read("config.json")
            if known is None:
                if found := [name for name in _RUN_FILES if (self.path / name).exists()]:
                    raise RunError(
                        f"workdir={path}: holds {found[0]} but no config.json, so nobody knows "
                        "which run it is of; choose another work folder"
                    )
                self.write("config.json", config)
            elif not os.access(self.path, os.W_OK):
                raise PermissionError("no permission to write")
        except OSError as error:
            reason = error.strerror or str(error)
            raise RunError(
                f"workdir={path}: cannot be written ({reason}); choose another"
            ) from None
        if known is not None:
            self._check_same(normal_form(known), config)

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
                + "); choose another work folder or remove this one"
            )

    @property
    def checkpoints(self) -> Path:
        """Where the training states are."""
        return self.path / "checkpoints"

    def write(self, name: str, values: Any) -> None:
        """Replaces a JSON file; a reader sees the old or the new one, never a part."""
        if not self.writes:
            return
        partial = self.path / f".{name}.partial"
        partial.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n")
        os.replace(partial, self.path / name)

    def append_metrics(self, lines: list[Json]) -> None:
        """More lines of metrics.jsonl."""
        if not self.writes:
            return
        with open(self.path / "metrics.jsonl", "a") as file:
            file.write("".join(json.dumps(line, allow_nan=False) + "\n" for line in lines))

    def metrics(self) -> dict[int, list[Json]]:
        """All whole lines of metrics.jsonl by seed, one per epoch from the first.

        Raises:
          RunError: a line is damaged or missing.
        """
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return {}
        lines = path.read_text().splitlines(keepends=True)
        found: dict[int, list[Json]] = {}
        try:
            for line in (json.loads(line) for line in lines if line.endswith("\n")):
                found.setdefault(line["seed"], []).append(line)
            whole = all(
                [line["epoch"] for line in own] == list(range(1, len(own) + 1))
                for own in found.values()
            )
        except (ValueError, TypeError, KeyError):
            whole = False
        if not whole:
            raise RunError(f"{path}: is damaged; choose another work folder or remove this one")
        return found

    def truncate_metrics(
        self, seeds: Sequence[int], epochs: int, diverged: Collection[int] = ()
    ) -> dict[int, list[Json]]:
        """Drops lines of epochs that will be trained again; returns those of the seeds that stay.

        Lines of other seeds stay as they are; those of diverged seeds may end before.

        Raises:
          RunError: lines are damaged or missing.
        """
        found = self.metrics()
        for seed in seeds:
            found[seed] = found.get(seed, [])[:epochs]
            if len(found[seed]) < epochs and seed not in diverged:
                raise RunError(
                    f"{self.path / 'metrics.jsonl'}: ends in epoch {len(found[seed])}, the "
                    f"checkpoint in {epochs}; choose another work folder or remove this one"
                )
        if self.writes:
            lines = [line for own in found.values() for line in own]
            lines.sort(key=lambda line: line["epoch"] if len(seeds) > 1 else 0)
            partial = self.path / ".metrics.jsonl.partial"
            partial.write_text("".join(json.dumps(line) + "\n" for line in lines))
            os.replace(partial, self.path / "metrics.jsonl")
        return {seed: found[seed] for seed in seeds}

    def write_diverged(self, found: dict[int, tuple[int, str]]) -> None:
        """Notes which of several seeds diverged: seed -> after how many steps, and how."""
        self.write("diverged.json", {str(seed): list(how) for seed, how in found.items()})

    def diverged(self, steps: int) -> dict[int, tuple[int, str]]:
        """What ``write_diverged`` noted of the first ``steps`` steps."""
        noted = self._read("diverged.json") or {}
        found = {int(seed): (int(after), reason) for seed, (after, reason) in noted.items()}
        return {seed: how for seed, how in found.items() if how[0] <= steps}

    def result(self) -> Json | None:
        """result.json of a finished run, None before."""
        return self._read("result.json")

    def _read(self, name: str) -> Json | None:
        path = self.path / name
        try:
            found = json.loads(path.read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise RunError(f"{path}: is damaged; choose another work folder or remove this one")
        return found


def _differences(known: Json, wanted: Json, prefix: str = "") -> list[str]:
    found = []
    for field in dict.fromkeys((*wanted, *known)):
        old, new = known.get(field), wanted.get(field)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{prefix}{field}.")
        elif old != new:
            found.append(f"{prefix}{field} is {old} there, {new} here")
    return found
