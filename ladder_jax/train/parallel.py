"""How runs lie on devices: the only file that knows devices.

| layout | what is split | made for |
|---|---|---|
| one run, one device | nothing | the default |
| one run, several devices, ``jit`` | the rows of each step | one run sooner |
| one run, several devices, ``pmap`` | the same, each device runs its own program | users of pmap |
| several runs at once | nothing, or the runs | a table's seeds |

In all of them moments, costs and gradients are those of the whole batch, and the noise is the
same draw; results differ by rounding only. Every process of a run on several hosts calls the
same functions with the same arguments.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ladder_jax.config import LadderConfig
from ladder_jax.errors import ConfigError, choice, whole
from ladder_jax.train.schedule import Plan
from ladder_jax.train.step import CostDict, Share, TrainData, TrainState, init_state, train_chunk

AXIS = "devices"
KINDS = ("jit", "pmap")
SEED_MODES = ("auto", "vmap", "sequential")


@dataclass(frozen=True)
class Parallel:
    """What a user asks for.

    Attributes:
      devices: how many of the devices that JAX lists, or "all"; None is all of them for several
        seeds at once or several hosts, else one.
      kind: "jit" (partitioned by the compiler) or "pmap", for one run on several devices.
      seed_mode: several seeds at once ("vmap") or one after the other ("sequential"); "auto" is
        sequential on a single CPU device and with pmap, where at once is slower or impossible.

    Raises:
      ConfigError: a value that cannot be used.
    """

    devices: int | str | None = None
    kind: str = "jit"
    seed_mode: str = "auto"

    def __post_init__(self) -> None:
        if self.devices is not None and self.devices != "all":
            whole("devices", self.devices, 1, 'or "all"')
        choice("parallel", self.kind, KINDS)
        choice("seed_mode", self.seed_mode, SEED_MODES)
        if self.kind == "pmap" and self.seed_mode == "vmap":
            problem = "pmap splits single runs; use seed_mode=sequential or parallel=jit"
            raise ConfigError("seed_mode", "vmap", problem)

    def seeds_at_once(self, num_seeds: int) -> bool:
        """Whether that many seeds are trained by one program."""
        if num_seeds == 1 or self.kind == "pmap":
            return False
        if self.seed_mode != "auto":
            return self.seed_mode == "vmap"
        return jax.default_backend() != "cpu" or len(self._chosen(jax.device_count())) > 1

    def layout(self, runs: int = 1) -> Layout:
        """The layout of that many runs at once.

        Raises:
          ConfigError: fewer devices than asked for, or not all of several hosts'.
        """
        several = runs > 1 or jax.process_count() > 1
        chosen = self._chosen(jax.device_count() if several else 1)
        if runs > 1:  # each device gets equally many
            most = max(n for n in range(1, len(chosen) + 1) if runs % n == 0)
            chosen = chosen[:most] if jax.process_count() == 1 else chosen
            if runs % len(chosen):
                problem = f"on {len(chosen)} devices of several hosts a multiple of them is needed"
                raise ConfigError("num_seeds", runs, problem)
        return Layout(tuple(chosen), self.kind, runs)

    def _chosen(self, default: int) -> list[jax.Device]:
        available = jax.devices()
        count = default if self.devices is None else self.devices
        count = len(available) if count == "all" else int(count)
        if count > len(available):
            found = f"JAX finds {len(available)} ({available[0].device_kind}); use that or all"
            raise ConfigError("devices", count, found)
        if jax.process_count() > 1 and count != len(available):
            raise ConfigError("devices", count, "on several hosts it is all of them; leave it out")
        return available[:count]


@dataclass(frozen=True)
class Layout:
    """Runs on devices, by default one on the first device; hashable.

    Attributes:
      devices: all devices of the runs, also those of other hosts.
      kind: one of ``KINDS``.
      runs: runs at once. If more than one, states, keys, labelled and training rows and costs
        have a leading axis of that size.
    """

    devices: tuple[jax.Device, ...]
    kind: str = "jit"
    runs: int = 1

    @property
    def _spread(self) -> bool:
        return len(self.devices) > 1 or self.kind == "pmap" or jax.process_count() > 1

    @property
    def _local(self) -> list[jax.Device]:
        return [d for d in self.devices if d.process_index == jax.process_index()]

    def sharding(self, *axes: str | None) -> NamedSharding:
        """Of arrays that all devices have a whole copy of, or that are split along ``axes``."""
        mesh = Mesh(np.array(self.devices), (AXIS,), axis_types=(AxisType.Auto,))
        return NamedSharding(mesh, PartitionSpec(*axes))

    def put_data(self, data: TrainData) -> TrainData:
        """The training rows, NumPy arrays, on the devices."""
        if not self._spread:
            return jax.tree.map(lambda a: jax.device_put(jnp.asarray(a), self.devices[0]), data)
        if self.kind == "pmap":
            return replicate(data, self._local)
        whole = jax.tree.map(lambda a: _put(a, self.sharding()), data)
        if self.runs == 1:
            return whole
        split = [_put(a, self.sharding(AXIS)) for a in (data.labelled, data.train)]
        return whole._replace(labelled=split[0], train=split[1])

    def put_keys(self, keys: Sequence[jax.Array]) -> jax.Array:
        """The root keys of the runs, stacked if there are several."""
        stacked = keys[0] if self.runs == 1 else jnp.stack(list(keys))
        if not self._spread:
            return jax.device_put(stacked, self.devices[0])
        words: Any = np.asarray(jax.random.key_data(stacked))
        if self.kind == "jit":
            words = _put(words, self.sharding(*[AXIS] * (self.runs > 1)))
        return jax.random.wrap_key_data(words, impl=jax.random.key_impl(stacked))

    def put_state(self, state: TrainState) -> TrainState:
        """A state of NumPy arrays on the devices."""
        if not self._spread:
            return jax.tree.map(lambda a: jax.device_put(jnp.asarray(a), self.devices[0]), state)
        if self.kind == "pmap":
            return replicate(state, self._local)
        sharding = self.sharding(*[AXIS] * (self.runs > 1))
        return jax.tree.map(lambda a: _put(a, sharding), state)

    def init_state(self, config: LadderConfig, plan: Plan, keys: Sequence[jax.Array]) -> TrainState:
        """The states before the first step."""
        stacked = keys[0] if self.runs == 1 else jnp.stack(list(keys))
        # Put where the steps leave it, else the second call of the compiled chunk compiles anew.
        return self.put_state(jax.tree.map(np.asarray, _init(config, plan, stacked)))

    def to_host(self, state: Any) -> Any:
        """A state, or a part of it, as NumPy arrays of its own; what a checkpoint holds."""
        if self.kind == "pmap":
            state = unreplicate(state)
        elif self._spread:
            state = jax.tree.map(_first, _gathering(self)(state))
        return jax.tree.map(lambda a: np.array(a), state)

    def of_run(self, state: Any, run: int) -> Any:
        """What a run has of a state, or of a part of it, on one device of this process."""
        if self.kind == "pmap":
            return unreplicate(state)
        if self.runs == 1 and not self._spread:
            return state
        return jax.tree.map(_first, _picking(self)(state, run))

    def local_data(self, data: TrainData) -> TrainData:
        """One device's copy of the data that do not differ between runs; others as they are."""
        if self.kind == "pmap":
            return unreplicate(data)
        return data._replace(
            x=data.x.addressable_data(0), y=data.y.addressable_data(0), scale=_first(data.scale)
        )

    def train_chunk(
        self,
        config: LadderConfig,
        plan: Plan,
        state: TrainState,
        data: TrainData,
        keys: jax.Array,
        track: bool,
    ) -> tuple[TrainState, dict[str, np.ndarray]]:
        """``training.train_chunk`` of all runs; ``state`` is donated.

        Returns:
          State, and each cost of each step, NumPy arrays (runs, chunk_steps).
        """
        if self.kind == "pmap":
            run = _pmapped(config, plan, self.devices)
            state, costs = run(state, data, keys, track)
            return state, {name: np.asarray(_first(c)) for name, c in costs.items()}
        chunk = _jitted if self.devices[0].platform == "cpu" else _jitted_apart
        state, costs = chunk(self, config, plan, state, data, keys, track)
        costs = jax.device_get({name: _first(c) for name, c in costs.items()})
        return state, {name: np.atleast_2d(values) for name, values in costs.items()}


def _chunk(
    layout: Layout,
    config: LadderConfig,
    plan: Plan,
    state: TrainState,
    data: TrainData,
    keys: jax.Array,
    track: bool | jax.Array,
) -> tuple[TrainState, CostDict]:
    constrain = jax.lax.with_sharding_constraint
    spread = len(layout.devices) > 1
    if layout.runs > 1:
        one = lambda state, data, key: train_chunk(config, plan, state, data, key, track)  # noqa: E731
        axes = TrainData(x=None, y=None, labelled=0, scale=None, train=0)  # type: ignore[arg-type]
        state, costs = jax.vmap(one, in_axes=(0, axes, 0))(state, data, keys)
        state = constrain(state, layout.sharding(AXIS)) if spread else state
    else:
        rows = functools.partial(constrain, shardings=layout.sharding(AXIS))
        place = rows if spread else None
        state, costs = train_chunk(config, plan, state, data, keys, track, place=place)
        state = constrain(state, layout.sharding()) if spread else state
    return state, constrain(costs, layout.sharding()) if spread else costs


_jitted = jax.jit(_chunk, static_argnums=(0, 1, 2), donate_argnums=3)
# A GPU asks the host which branch of a condition to take, in each step: a program for each there.
_jitted_apart = jax.jit(_chunk, static_argnums=(0, 1, 2, 6), donate_argnums=3)


@functools.cache
def _gathering(layout: Layout) -> Any:
    return jax.jit(lambda tree: tree, out_shardings=layout.sharding())


@functools.cache
def _picking(layout: Layout) -> Any:
    several = layout.runs > 1
    pick = lambda tree, run: jax.tree.map(lambda leaf: leaf[run] if several else leaf, tree)  # noqa: E731
    return jax.jit(pick, out_shardings=layout.sharding() if layout._spread else None)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _init(config: LadderConfig, plan: Plan, keys: jax.Array) -> TrainState:
    one = functools.partial(init_state, config, plan)
    return one(keys) if keys.ndim == 0 else jax.vmap(one)(keys)


def pmap_epoch(
    config: LadderConfig,
    plan: Plan,
    state: TrainState,
    data: TrainData,
    key: jax.Array,
    track: bool = False,
    devices: Sequence[jax.Device] | None = None,
) -> tuple[TrainState, CostDict]:
    """``plan.chunk_steps`` steps under ``jax.pmap``: an epoch, if the plan says so.

    Each device takes its share of every batch; one that the devices do not divide is filled up
    with rows of weight 0. Moments, gradients and costs are those of the whole batch.

    Args:
      config: the network.
      plan: as from ``plan.make_plan``; ``plan._replace(chunk_steps=plan.steps_per_epoch)`` makes a
        call an epoch.
      state: with a leading axis of this process's devices, as from ``replicate``; it is donated.
      data: likewise.
      key: root key of the run, the same on all devices.
      track: whether running statistics are collected.
      devices: all devices of the run; None is ``jax.devices()``.

    Returns:
      State, with the leading axis, and each cost of each step (devices, chunk_steps), all devices
      alike.
    """
    chosen = tuple(jax.devices() if devices is None else devices)
    return _pmapped(config, plan, chosen)(state, data, key, track)


@functools.cache
def _pmapped(config: LadderConfig, plan: Plan, devices: tuple[jax.Device, ...]) -> Any:
    share = Share(AXIS, len(devices))

    def chunk(state: TrainState, data: TrainData, key: jax.Array, track: bool) -> Any:
        return train_chunk(config, plan, state, data, key, track, share=share)

    # Of several hosts, all devices: then pmap wants none named.
    own = devices if jax.process_count() == 1 else None
    words: dict[str, Any] = {"devices": own, "donate_argnums": 0}
    if devices[0].platform == "cpu":
        return jax.pmap(chunk, AXIS, in_axes=(0, 0, None, None), **words)
    return jax.pmap(chunk, AXIS, in_axes=(0, 0, None, None), static_broadcasted_argnums=3, **words)


def replicate(tree: Any, devices: Sequence[jax.Device]) -> Any:
    """A copy of each array on each device of this process, with a leading axis for them."""
    mesh = Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec(AXIS))

    def copies(leaf: Any) -> jax.Array:
        shape = (len(devices), *np.shape(leaf))
        return jax.make_array_from_callback(shape, sharding, lambda at: np.asarray(leaf)[None])

    return jax.tree.map(copies, tree)


def unreplicate(tree: Any) -> Any:
    """The first device's copy of each array of ``replicate``."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0)[0], tree)


def _put(array: Any, sharding: NamedSharding) -> jax.Array:
    array = np.asarray(array)  # every process has the whole array and gives its devices' part
    return jax.make_array_from_callback(array.shape, sharding, lambda at: array[at])


def _first(array: jax.Array) -> jax.Array:
    return array.addressable_data(0)
