"""One run on devices that each run their own program, under ``jax.pmap``."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ladder_jax.config import LadderConfig, Strengths
from ladder_jax.ladder.network import Noise
from ladder_jax.ops.rows import share_of_device
from ladder_jax.train.schedule import Plan
from ladder_jax.train.step import Batch, CostDict, Divided, TrainData, TrainState, train_chunk

AXIS = "devices"


def pmap_epoch(
    config: LadderConfig,
    plan: Plan,
    state: TrainState,
    data: TrainData,
    key: jax.Array,
    track: bool = False,
    devices: Sequence[jax.Device] | None = None,
) -> tuple[TrainState, CostDict]:
    """Trains ``plan.chunk_steps`` steps under ``jax.pmap``.

    Each device takes its share of every batch. Rows of weight 0 fill up a batch whose size is not
    a multiple of the number of devices. Moments, gradients and costs are those of the whole batch.

    Args:
      config: the network.
      plan: from ``schedule.make_plan``; with ``chunk_steps=plan.steps_per_epoch`` for an epoch.
      state: with a leading axis of this process's devices, as from ``replicate``; it is donated.
      data: the training rows, with the same leading axis.
      key: root key of the run, the same on all devices.
      track: whether running statistics are collected.
      devices: all devices of the run; None is ``jax.devices()``.

    Returns:
      The state, with the leading axis, and each cost of each step, (devices, chunk_steps), which is
      the same on all devices.
    """
    chosen = tuple(jax.devices() if devices is None else devices)
    chunk = pmapped(config.structure, plan.costs_length, chosen)
    state, costs = chunk(config.strengths, plan, state, data, key, track)
    return state, {name: values[:, : plan.chunk_steps] for name, values in costs.items()}


@functools.cache
def pmapped(config: LadderConfig, costs_length: int, devices: tuple[jax.Device, ...]) -> Any:
    """Returns the chunk under ``jax.pmap`` for these devices."""
    divide = functools.partial(_share, len(devices))

    def chunk(
        strengths: Strengths,
        plan: Plan,
        state: TrainState,
        data: TrainData,
        key: jax.Array,
        track: bool,
    ) -> Any:
        words = (data, key, track, divide, strengths, costs_length)
        return train_chunk(config, plan, state, *words)

    # On several hosts all devices are used, and pmap is given no list of them.
    own = devices if jax.process_count() == 1 else None
    words: dict[str, Any] = {"devices": own, "donate_argnums": 2}
    if devices[0].platform != "cpu":
        words["static_broadcasted_argnums"] = (1, 5)
    return jax.pmap(chunk, AXIS, in_axes=(None, None, 0, 0, None, None), **words)


def _share(devices: int, batch: Batch, noise: Noise) -> Divided:
    """Returns this device's rows of a whole batch, under ``jax.pmap`` (``step.Divide``)."""
    x_l, y_l, x_u = batch
    at_l, rows_l = share_of_device(len(x_l), devices, AXIS)
    at_u, rows_u = share_of_device(len(x_u), devices, AXIS)
    with_u = len(noise[0]) > len(x_l)  # a baseline draws none for the unlabelled rows
    joint = jnp.concatenate([at_l, len(x_l) + at_u]) if with_u else at_l
    own = x_l[at_l], y_l[at_l], x_u[at_u]
    return own, tuple(draw[joint] for draw in noise), (rows_l, rows_u)


def replicate(tree: Any, devices: Sequence[jax.Device]) -> Any:
    """Copies each array to each device of this process, with a leading axis for the devices."""
    mesh = Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec(AXIS))

    def copies(leaf: Any) -> jax.Array:
        shape = (len(devices), *np.shape(leaf))
        return jax.make_array_from_callback(shape, sharding, lambda at: np.asarray(leaf)[None])

    return jax.tree.map(copies, tree)


def unreplicate(tree: Any) -> Any:
    """Returns the first device's copy of each array from ``replicate``."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0)[0], tree)
