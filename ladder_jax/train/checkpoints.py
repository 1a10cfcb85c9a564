"""Checkpoints of the training state; the only file that knows Orbax.

A checkpoint is one array of bytes: the state as MessagePack, behind its SHA-256. One that cannot be
read, or whose digest does not fit, is passed over for the one before it. (With an array for each
parameter, one that cannot be written or read leaves the others' callbacks in Orbax without an event
loop, and each prints a traceback.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from flax import serialization

from ladder_jax.errors import RunError, no_space
from ladder_jax.train.hosts import (
    any_process,
    is_first_process,
    number_of_first_process,
    process_index,
)
from ladder_jax.train.step import TrainState

_NAME, _DIGEST = "state", hashlib.sha256().digest_size

KEEP = 2
"""How many checkpoints are kept, so that a damaged one costs little."""


class Checkpoints:
    """The newest states of one run, by step. Saves in the background; a context manager.

    Of a run on several hosts the first process alone saves and all read: none waits here for
    another one, which may be lost.

    Args:
      folder: created if absent.
      keep: how many of the newest are kept.

    Raises:
      RunError: the folder cannot be made.
    """

    def __init__(self, folder: Path, keep: int = KEEP):
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{folder}: cannot be used for checkpoints ({error.strerror})") from None
        own, writes = process_index(), is_first_process()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep if writes else None,
            save_interval_steps=1 if writes else 0,
            create=False,
            cleanup_tmp_directories=writes,
            read_only=not writes,
            multiprocessing_options=ocp.options.MultiprocessingOptions(own, {own}, f"host{own}"),
        )
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def save(self, state: TrainState) -> None:
        """Saves the state under its step; returns before it is written.

        Args:
          state: of NumPy arrays that nobody changes; of several runs at once with a leading axis.

        Raises:
          RunError: this or the last state could not be written, for instance on a full disk.
        """
        step = int(np.ravel(state.step)[0])
        if is_first_process() and step != self._manager.latest_step():
            with self._saving():
                self._manager.save(step, args=ocp.args.StandardSave({_NAME: _pack(state)}))

    def restore_latest(self, like: TrainState) -> TrainState | None:
        """The newest state that is whole, NumPy arrays as in ``like``; None if there is none.

        Where a newer one is damaged it is renamed to damaged-<step>, with a warning.

        Raises:
          RunError: there are some, but all are damaged or of another network.
        """
        found: tuple[int, TrainState] | None = None
        problem: RunError | None = None
        if is_first_process():
            try:
                found = self._newest_whole(like)
            except RunError as error:
                problem = error
        if any_process(problem is not None):
            raise problem or RunError(f"{self._folder}: the first process can use none of them")
        step = number_of_first_process(found and found[0])
        if step is None:
            return None
        return found[1] if found else self._restore(step, like)

    def wait(self) -> None:
        """Returns once everything that was saved is on the disk.

        Raises:
          RunError: it could not be written.
        """
        with self._saving():
            self._manager.wait_until_finished()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            with self._saving():
                self._manager.close()  # waits for what is being saved
        except RunError as late:
            if kind is None:
                raise
            logging.warning("%s", late)  # beside what ended the run

    def _newest_whole(self, like: TrainState) -> tuple[int, TrainState] | None:
        problems: list[tuple[int, RunError]] = []
        found = None
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                found = step, self._restore(step, like)
                break
            except RunError as error:
                problems.append((step, error))
        if problems and not found:
            raise RunError(
                f"{problems[0][1]}; nor is an older one: set this run aside "
                f"(--noresume, in Python resume=False), or remove {self._folder} to train anew"
            )
        for step, problem in problems:
            try:
                (self._folder / str(step)).rename(self._unused(f"damaged-{step}"))
            except OSError as error:
                raise RunError(f"{problem}; it cannot be renamed ({error.strerror})") from None
            logging.warning("%s; going on from the one before it", problem)
        if problems:
            self._manager.reload()
        return found

    def _unused(self, name: str) -> Path:
        path, number = self._folder / name, 1
        while path.exists():
            number += 1
            path = self._folder / f"{name}-{number}"
        return path

    def _restore(self, step: int, like: TrainState) -> TrainState:
        where = f"{self._folder / str(step)}: is not a usable checkpoint of this run"
        try:
            found = self._manager.restore(step, args=ocp.args.StandardRestore())
            state: TrainState = _unpack(found[_NAME], like)
        except Exception as error:  # whatever Orbax raises, the way out is the same
            reason = str(error) if isinstance(error, _UnusableError) else type(error).__name__
            raise RunError(f"{where} ({reason})") from error
        return state

    @contextmanager
    def _saving(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of Orbax or TensorStore; some say it in their text only
            mend = "make room" if no_space(error) else "see to it that it can be written"
            reason = " ".join(str(error).split())[:200]
            raise RunError(
                f"{self._folder}: a checkpoint cannot be written ({reason}); {mend} and start "
                "again: the run goes on from the one before it"
            ) from error


class _UnusableError(Exception):
    """What was read is not such a state."""


def _pack(state: TrainState) -> np.ndarray:
    content = serialization.msgpack_serialize(serialization.to_state_dict(state))
    return np.frombuffer(hashlib.sha256(content).digest() + content, np.uint8)


def _unpack(packed: np.ndarray, like: TrainState) -> TrainState:
    packed = np.asarray(packed)
    digest, content = packed[:_DIGEST].tobytes(), packed[_DIGEST:].tobytes()
    if hashlib.sha256(content).digest() != digest:
        raise _UnusableError("its content has changed")
    found = serialization.from_state_dict(like, serialization.msgpack_restore(content))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(like), strict=True):
        if (one.shape, one.dtype) != (other.shape, other.dtype):
            raise _UnusableError(f"it has an array {one.shape} where {other.shape} is needed")
    return found
