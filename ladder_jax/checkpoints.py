"""Checkpoints of the training state; the only file that knows Orbax."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np
import orbax.checkpoint as ocp

from ladder_jax.errors import RunError
from ladder_jax.hosts import is_first_process, number_of_first_process, process_index
from ladder_jax.training import TrainState


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

    def __init__(self, folder: Path, keep: int = 2):
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
            read_only=not writes,
            multiprocessing_options=ocp.options.MultiprocessingOptions(own, {own}, f"host{own}"),
        )
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def save(self, state: TrainState) -> None:
        """Saves the state under its step; returns before it is written.

        Args:
          state: of NumPy arrays that nobody changes; of several runs at once with a leading axis.
        """
        step = int(np.ravel(state.step)[0])
        if is_first_process() and step != self._manager.latest_step():
            self._manager.save(step, args=ocp.args.StandardSave(state))

    def restore_latest(self, like: TrainState) -> TrainState | None:
        """The newest state, NumPy arrays of shapes and types as ``like``; None if there is none.

        Raises:
          RunError: it is damaged or of another network.
        """
        step = number_of_first_process(self._manager.latest_step())
        if step is None:
            return None
        try:
            return self._manager.restore(step, args=ocp.args.StandardRestore(like))
        except Exception as error:  # whatever Orbax raises, the way out is the same
            raise RunError(
                f"{self._folder / str(step)}: is not a usable checkpoint of this run "
                f"({type(error).__name__}); remove that folder to go on from an older one"
            ) from error

    def wait(self) -> None:
        """Returns once everything that was saved is on the disk."""
        self._manager.wait_until_finished()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._manager.wait_until_finished()
        self._manager.close()
