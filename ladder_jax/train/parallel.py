"""Places runs on devices; the maths knows about devices through ``ops.rows`` only.

| class | runs | what is split over the devices | best for |
|---|---|---|---|
| ``Layout`` | one | the rows of each step, by the compiler | the default; a faster single run |
| ``Layout`` | several at once | the runs | the seeds of a table |
| ``PmapLayout`` | one | the rows; each device runs its own program | users of pmap |

In all of them moments, costs and gradients are those of the whole batch, and the noise is the
same draw; results differ by rounding only. Every process of a run on several hosts calls the
same functions with the same arguments.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ladder_jax.config import LadderConfig, Strengths
from ladder_jax.errors import ConfigError, choice, whole
from ladder_jax.ladder.network import Noise
from ladder_jax.train.pmap import AXIS, pmap_epoch, pmapped, replicate, unreplicate
from ladder_jax.train.schedule import Plan
from ladder_jax.train.step import (
    Batch,
    CostDict,
    Divide,
    Divided,
    TrainData,
    TrainState,
    init_state,
    train_chunk,
    whole_batch,
)

__all__ = ["Layout", "Parallel", "PmapLayout", "pmap_epoch", "replicate", "unreplicate"]

KINDS = ("jit", "pmap")
SEED_MODES = ("auto", "vmap", "sequential")


@dataclass(frozen=True)
class Parallel:
    """The devices of a run, and whether several seeds are trained at once.

    Attributes:
      devices: number of devices, taken in JAX's order, or "all". None means all of them for several
        seeds at once or several hosts, and one otherwise.
      kind: "jit" (partitioned by the compiler) or "pmap", for one run on several devices.
      seed_mode: trains several seeds at once ("vmap") or one after the other ("sequential"). "auto"
        is sequential on a single CPU device and with pmap, where at once is slower or impossible.

    Raises:
      ConfigError: a value cannot be used.
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
        """Returns whether one program trains this many seeds."""
        if num_seeds == 1 or self.kind == "pmap":
            return False
        if self.seed_mode != "auto":
            return self.seed_mode == "vmap"
        return jax.default_backend() != "cpu" or len(self._chosen(jax.device_count())) > 1

    def layout(self, runs: int = 1) -> Layout:
        """Returns the layout of this many runs at once.

        Raises:
          ConfigError: there are fewer devices than asked for; on several hosts, some devices are
            not used, or their number does not divide the number of runs.
        """
        several = runs > 1 or jax.process_count() > 1
        chosen = self._chosen(jax.device_count() if several else 1)
        if runs > 1:  # each device gets equally many
            most = max(n for n in range(1, len(chosen) + 1) if runs % n == 0)
            chosen = chosen[:most] if jax.process_count() == 1 else chosen
            if runs % len(chosen):
                problem = f"on {len(chosen)} devices of several hosts a multiple of them is needed"
                raise ConfigError("num_seeds", runs, problem)
        layout = PmapLayout if self.kind == "pmap" else Layout
        return layout(tuple(chosen), runs)

    def _chosen(self, default: int) -> list[jax.Device]:
        """Returns the devices that are asked for; by default the first ``default`` ones."""
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
    """Places runs on a mesh of devices under ``jax.jit``; hashable, so jit can cache by it."""

    devices: tuple[jax.Device, ...]  # also those of other hosts
    # With several runs, their states, keys, labelled and training rows and costs have a leading
    # axis of this size, which is split over the devices.
    runs: int = 1
    kind: ClassVar[str] = "jit"

    def sharding(self, *axes: str | None) -> NamedSharding:
        """Returns the sharding of arrays split along ``axes``, or copied whole if none is given."""
        mesh = Mesh(np.array(self.devices), (AXIS,), axis_types=(AxisType.Auto,))
        return NamedSharding(mesh, PartitionSpec(*axes))

    @property
    def by_run(self) -> NamedSharding:
        """The sharding of arrays that differ between runs."""
        return self.sharding(AXIS) if self.runs > 1 else self.sharding()

    def put_data(self, data: TrainData) -> TrainData:
        """Puts the training rows, NumPy arrays, on the devices."""
        x, y, scale = self._put((data.x, data.y, data.scale), self.sharding())
        labelled, train = self._put((data.labelled, data.train), self.by_run)
        return TrainData(x, y, labelled, scale, train)

    def put_keys(self, keys: Sequence[jax.Array]) -> jax.Array:
        """Puts the root keys of the runs on the devices, stacked if there are several."""
        stacked = self._stacked(keys)
        words = self._put(jax.random.key_data(stacked), self.by_run)
        return jax.random.wrap_key_data(words, impl=jax.random.key_impl(stacked))

    def put_state(self, state: TrainState) -> TrainState:
        """Puts a state of NumPy arrays on the devices."""
        return self._put(state, self.by_run)

    def init_state(self, config: LadderConfig, plan: Plan, keys: Sequence[jax.Array]) -> TrainState:
        """Returns the states before the first step, on the devices."""
        # It runs once: on a CPU it takes longer to compile well than to run.
        quick = self.devices[0].platform == "cpu"
        options = {"xla_backend_optimization_level": 0} if quick else None
        init = jax.jit(init_states, static_argnums=0, compiler_options=options)
        # Placed as the steps leave it, or the second call of the chunk would compile again.
        return self.put_state(jax.tree.map(np.asarray, init(config.structure, plan, keys)))

    def to_host(self, state: Any) -> Any:
        """Copies a state, or a part of it, to NumPy arrays, as a checkpoint holds it."""
        whole = state if self.runs == 1 else _gather(self, state)
        return jax.tree.map(np.array, self._one_copy(whole))

    def of_run(self, state: Any, run: int) -> Any:
        """Returns one run's part of a state, on one device of this process."""
        return self._one_copy(state if self.runs == 1 else _gather(self, state, run))

    def local_data(self, data: TrainData) -> TrainData:
        """Returns the data with what all runs share on one device of this process."""
        x, y, scale = self._one_copy((data.x, data.y, data.scale))
        return data._replace(x=x, y=y, scale=scale)

    def train_chunk(
        self,
        config: LadderConfig,
        plan: Plan,
        state: TrainState,
        data: TrainData,
        keys: jax.Array,
        track: bool,
    ) -> tuple[TrainState, dict[str, np.ndarray]]:
        """Calls ``step.train_chunk``; donates ``state`` and returns the costs, (runs, steps)."""
        state, costs = self._run(config, plan, state, data, keys, track)
        costs = jax.device_get(self._one_copy(costs))
        done = plan.chunk_steps
        return state, {name: np.atleast_2d(values)[:, :done] for name, values in costs.items()}

    def _run(self, config: LadderConfig, plan: Plan, *given: Any) -> tuple[TrainState, CostDict]:
        """Calls the compiled chunk."""
        chunk = _jitted if self.devices[0].platform == "cpu" else _jitted_apart
        program = self, config.structure, plan.costs_length
        return chunk(*program, config.strengths, plan, *given)

    def _stacked(self, keys: Sequence[jax.Array]) -> jax.Array:
        """Returns the key of the only run, or the stacked keys of several."""
        return keys[0] if self.runs == 1 else jnp.stack(list(keys))

    def _put(self, tree: Any, sharding: NamedSharding) -> Any:
        """Puts the arrays of a tree on the devices."""

        def put(leaf: Any) -> jax.Array:
            array = np.asarray(leaf)  # every process has all of it; its devices get their part
            return jax.make_array_from_callback(array.shape, sharding, lambda at: array[at])

        return jax.tree.map(put, tree)

    def _one_copy(self, tree: Any) -> Any:
        """Returns the arrays of a tree as one device of this process has them."""
        return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


class PmapLayout(Layout):
    """Places one run on devices that each run their own program, under ``jax.pmap``."""

    # The state and the data have a leading axis of this process's devices.
    kind = "pmap"

    def put_keys(self, keys: Sequence[jax.Array]) -> jax.Array:
        """Returns the root key of the run, which pmap passes to all devices."""
        (key,) = keys
        return key

    def _run(self, config: LadderConfig, plan: Plan, *given: Any) -> tuple[TrainState, CostDict]:
        """Calls the chunk under ``jax.pmap``."""
        chunk = pmapped(config.structure, plan.costs_length, self.devices)
        return chunk(config.strengths, plan, *given)

    def _put(self, tree: Any, sharding: NamedSharding) -> Any:
        """Copies the arrays of a tree to each device of this process."""
        return replicate(tree, [d for d in self.devices if d.process_index == jax.process_index()])

    def _one_copy(self, tree: Any) -> Any:
        """Returns the first device's copy of the arrays of a tree."""
        return unreplicate(tree)


def _chunk(
    layout: Layout,
    config: LadderConfig,
    costs_length: int,
    strengths: Strengths,
    plan: Plan,
    state: TrainState,
    data: TrainData,
    keys: jax.Array,
    track: bool | jax.Array,
) -> tuple[TrainState, CostDict]:
    """Trains all runs of a layout for a chunk."""

    def one(
        state: TrainState, data: TrainData, key: jax.Array, divide: Divide = whole_batch
    ) -> tuple[TrainState, CostDict]:
        words = (data, key, track, divide, strengths, costs_length)
        return train_chunk(config, plan, state, *words)

    if layout.runs > 1:
        axes = TrainData(x=None, y=None, labelled=0, scale=None, train=0)  # type: ignore[arg-type]
        state, costs = jax.vmap(one, in_axes=(0, axes, 0))(state, data, keys)
    else:
        divide = functools.partial(_spread, layout.sharding(AXIS))
        state, costs = one(state, data, keys, divide)
    constrain = jax.lax.with_sharding_constraint
    return constrain(state, layout.by_run), constrain(costs, layout.sharding())


_jitted = jax.jit(_chunk, static_argnums=(0, 1, 2), donate_argnums=5)
# On a GPU each step would ask the host which branch of ``track`` to take and whether the loop ends,
# so ``track`` and the plan are static there: one program for each of their values.
_jitted_apart = jax.jit(_chunk, static_argnums=(0, 1, 2, 4, 8), donate_argnums=5)


def _spread(sharding: NamedSharding, batch: Batch, noise: Noise) -> Divided:
    """Returns all rows, which the compiler splits over the devices (``step.Divide``)."""
    return whole_batch(*jax.lax.with_sharding_constraint((batch, noise), sharding))


@functools.partial(jax.jit, static_argnums=0)
def _gather(layout: Layout, state: Any, run: int | None = None) -> Any:
    """Returns a state, or one run's part of it, copied to all devices."""
    # One program: several hosts can block one another in a jax.device_put of many arrays.
    own = state if run is None else jax.tree.map(lambda leaf: leaf[run], state)
    return jax.lax.with_sharding_constraint(own, layout.sharding())


def init_states(config: LadderConfig, plan: Plan, keys: Sequence[jax.Array]) -> TrainState:
    """Returns the states before the first step, with a leading axis if there are several keys."""
    one = functools.partial(init_state, config, plan)
    return one(keys[0]) if len(keys) == 1 else jax.vmap(one)(jnp.stack(list(keys)))
