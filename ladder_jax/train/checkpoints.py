"""Saves the newest training states of a run, one MessagePack file per step, and restores them."""

# This uses Flax's serialization with a SHA-256 instead of Orbax. Orbax (0.12.8, both of its
# interfaces) restores a flipped bit in a data file as another number without an error. If a disk is
# full, it prints tracebacks from its own threads, which a caller cannot catch. Importing it would
# also add seconds to ``import ladder_jax``. To read a state elsewhere:
#     flax.serialization.msgpack_restore(flax.serialization.msgpack_restore(content)["state"])

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

import jax
import numpy as np
from absl import logging
from flax import serialization

from ladder_jax.errors import RunError, no_space
from ladder_jax.storage import files, packed
from ladder_jax.train.hosts import any_process, is_first_process, number_of_first_process
from ladder_jax.train.step import TrainState

KEEP = 2
"""How many of the newest checkpoints are kept; with two, a damaged one costs little."""

FORMAT = 1
"""Version of the checkpoint files."""


class Checkpoints:
    """Saves the newest states of a run in the background, and restores them.

    If ``folder`` is None, nothing is saved and there is nothing to restore.
    """

    def __init__(self, folder: Path | None, keep: int = KEEP):
        self._folder, self._keep = folder, keep
        self._writer = futures.ThreadPoolExecutor(max_workers=1)
        self._pending: futures.Future[None] | None = None
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if is_first_process():
                for partial in folder.glob(".*.partial"):  # left by a process that was killed
                    partial.unlink()
            of_orbax = any(path.name.isdecimal() and path.is_dir() for path in folder.iterdir())
        except OSError as error:
            raise RunError(f"{folder}: cannot be used for checkpoints ({error.strerror})") from None
        if of_orbax:
            raise RunError(
                f"{folder}: holds checkpoints of an older version of ladder_jax, which this one "
                f"cannot read; start the run with that version, or {files.SET_IT_ASIDE}"
            )

    def save(self, state: TrainState) -> None:
        """Starts to write a state under its step and returns before it is on the disk."""
        # With several hosts only the first process saves. It does not wait for the others here,
        # since one of them may be lost.
        if self._folder is None or not is_first_process():
            return
        self.wait()
        # Several seeds have a leading axis; their steps are equal.
        step = int(np.ravel(state.step)[0])
        if step not in self._steps():
            # The writer reads the arrays later, so nobody may change them.
            self._pending = self._writer.submit(self._write, step, state)

    def restore_latest(self, like: TrainState) -> TrainState | None:
        """Returns the newest undamaged state, or None; ``like`` has its shapes and dtypes."""
        found: tuple[int, TrainState] | None = None
        problem: RunError | None = None
        if is_first_process():
            try:
                found = self._newest_whole(like)
            except RunError as error:
                problem = error
        # If the first process fails, all must raise: the others would wait for it in the next call.
        if any_process(problem is not None):
            raise problem or RunError(f"{self._folder}: the first process can use none of them")
        step = number_of_first_process(found and found[0])
        if step is None:
            return None
        return found[1] if found else self._restore(step, like)

    def wait(self) -> None:
        """Waits until everything that was saved is on the disk."""
        if (pending := self._pending) is not None:
            with self._saving():
                futures.wait([pending])  # after Ctrl-C here, closing waits for it again
                self._pending = None
                pending.result()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.wait()
        except RunError as late:
            if kind is None:
                raise
            logging.warning("%s", late)  # must not hide the error that ended the run
        finally:
            self._writer.shutdown()

    def _steps(self) -> list[int]:
        """Returns the steps of the files, newest first."""
        if self._folder is None:
            return []
        names = [path.stem for path in self._folder.glob("*.msgpack")]
        return sorted((int(name) for name in names if name.isdecimal()), reverse=True)

    def _path(self, step: int) -> Path:
        """Returns the file of a step."""
        assert self._folder is not None  # without one there are no steps
        return self._folder / f"{step}.msgpack"

    def _write(self, step: int, state: TrainState) -> None:
        """Writes a checkpoint and removes all but the newest ``keep``."""
        content = packed.pack("state", serialization.to_state_dict(state), FORMAT)
        files.replace(self._path(step), content)
        for old in self._steps()[self._keep :]:
            with suppress(OSError):  # the new one is on the disk, so nothing is lost
                self._path(old).unlink()

    def _newest_whole(self, like: TrainState) -> tuple[int, TrainState] | None:
        """Returns the newest undamaged state and its step, and renames newer damaged ones."""
        problems: list[tuple[int, RunError]] = []
        found = None
        for step in self._steps():
            try:
                found = step, self._restore(step, like)
                break
            except RunError as error:
                problems.append((step, error))
        if problems and not found:
            raise RunError(
                f"{problems[0][1]}; nor is an older one: {files.SET_IT_ASIDE}, or remove "
                f"{self._folder} to train anew"
            )
        for step, problem in problems:
            try:
                self._set_aside(step)
            except OSError as error:
                raise RunError(f"{problem}; it cannot be renamed ({error.strerror})") from None
            logging.warning("%s; going on from the one before it", problem)
        return found

    def _set_aside(self, step: int) -> None:
        """Renames the damaged file of a step, so that it is not tried again."""
        aside, number = self._path(step).with_name(f"damaged-{step}"), 1
        while aside.exists():
            number += 1
            aside = aside.with_name(f"damaged-{step}-{number}")
        self._path(step).rename(aside)

    def _restore(self, step: int, like: TrainState) -> TrainState:
        """Reads the state of a step and checks its arrays against those of ``like``."""
        try:
            content = packed.unpack("state", self._path(step).read_bytes(), FORMAT)
            state: TrainState = serialization.from_state_dict(like, content)
            for one, other in zip(jax.tree.leaves(state), jax.tree.leaves(like), strict=True):
                if (one.shape, one.dtype) != (other.shape, other.dtype):
                    raise ValueError(f"it has an array {one.shape} where {other.shape} is needed")
        except Exception as error:  # whatever damaged bytes lead to, the way out is the same
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            where = f"{self._path(step)}: is not a usable checkpoint of this run"
            raise RunError(f"{where} ({reason})") from error
        return state

    @contextmanager
    def _saving(self) -> Iterator[None]:
        """Turns an error in writing into a RunError that says what to do."""
        try:
            yield
        except Exception as error:  # of any kind: a state may also be too large for its format
            mend = "make room" if no_space(error) else "see to it that it can be written"
            reason = getattr(error.__cause__ or error, "strerror", None) or str(error)
            raise RunError(
                f"{self._folder}: a checkpoint cannot be written ({reason}); {mend} and start "
                "again: the run goes on from the one before it"
            ) from error
