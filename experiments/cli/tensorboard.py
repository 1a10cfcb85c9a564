"""Copies metrics.jsonl to the folder tensorboard/ of a run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import ladder_jax as lj
from ladder_jax.errors import while_writing
from ladder_jax.storage import files


class Mirror:
    """Writes new lines of a run's metrics.jsonl for TensorBoard whenever it is called."""

    def __init__(self, workdir: str):
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            problem = "needs tensorboardX: pip install tensorboardX (or the extra tensorboard)"
            raise lj.ConfigError("tensorboard", "true", problem) from None
        self._writer_of, self._metrics = SummaryWriter, Path(workdir, "metrics.jsonl")
        self._folder = Path(workdir, "tensorboard")
        self._writers: dict[int, Any] = {}
        self._done: dict[int, int] = {}

    def __call__(self, progress: lj.Progress) -> None:
        """Writes what is new after each epoch, as ``on_progress`` of ``lj.train_and_evaluate``."""
        if progress.metrics is not None:
            self.catch_up()

    def catch_up(self) -> None:
        """Writes what is new; for a finished run this is everything."""
        with while_writing(self._folder):
            # Each process writes the folder from the first epoch on: it has only metrics.jsonl.
            if not self._writers and self._folder.is_dir():
                shutil.rmtree(self._folder)
            for seed, lines in files.read_metrics(self._metrics).items():
                self._write(seed, lines)

    def close(self) -> None:
        """Completes the files."""
        for writer in self._writers.values():
            writer.close()

    def _write(self, seed: int, lines: list[dict[str, Any]]) -> None:
        """Writes the lines of a seed that are not written yet."""
        if seed not in self._writers:
            self._writers[seed] = self._writer_of(str(self._folder / f"seed{seed}"))
        for line in lines[self._done.get(seed, 0) :]:
            for name, value in line.items():
                if name not in ("seed", "epoch"):
                    self._writers[seed].add_scalar(name, value, line["epoch"])
        self._done[seed] = len(lines)
