"""One training step, and a chunk of steps as one loop.

These are pure functions of state, data and key; nothing is jitted here and no device is known.
All randomness comes from one root key: the noise of a step depends on (root, step), and the order
of the rows on (root, epoch), so a resumed run needs no key state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from ladder_jax.config import LadderConfig, Strengths
from ladder_jax.ladder.costs import Costs
from ladder_jax.ladder.network import Ladder, Noise, draw_noise
from ladder_jax.ops.noise import fold_in_each
from ladder_jax.ops.rows import ALL_ROWS, Rows
from ladder_jax.train.schedule import Plan, learning_rate

Batch = tuple[jax.Array, jax.Array, jax.Array]
"""x_l (B_l, *input_shape), y_l (B_l,), x_u (B_u, *input_shape)."""


Divided = tuple[Batch, Noise, tuple[Rows, Rows]]
"""This device's rows of a batch and its noise, and which labelled and unlabelled rows these are."""

Divide = Callable[[Batch, Noise], Divided]
"""Takes this device's rows from the whole batch; ``train.parallel`` has those for many devices."""


def whole_batch(batch: Batch, noise: Noise) -> Divided:
    """Returns all rows of a batch and its noise, for a single device."""
    return batch, noise, (ALL_ROWS, ALL_ROWS)


CostDict = dict[str, jax.Array]


class TrainState(struct.PyTreeNode):
    """Everything that changes during training; a checkpoint is exactly this.

    Attributes:
      step: number of steps done, scalar int32.
      params: see ``ladder_jax.ladder.network``.
      batch_stats: running moments, see ``ladder_jax.ladder.network``.
      opt_state: Adam's moments and step count.
      cost_sums: sum of each cost over the steps of the current epoch.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    cost_sums: CostDict


class TrainData(NamedTuple):
    """The training rows, first as NumPy arrays, then as arrays on the devices.

    Attributes:
      x: (M, *input_shape), as stored (uint8 or floating).
      y: (M,) int32 classes; −1 if unknown.
      labelled: (N_l,) int32 indices into x of the labelled rows.
      scale: scalar; x·scale is the network's input.
      train: (N,) int32 indices into x of the unlabelled set, which includes the labelled rows; None
        is all of x. With it, runs with different validation rows can share x.
    """

    x: Any
    y: Any
    labelled: Any
    scale: Any
    train: Any = None


def make_optimizer(plan: Plan) -> optax.GradientTransformation:
    """Returns Adam with the paper's annealing.

    β1 is 0.9, β2 0.999, and ε = 1e-8 is added to the bias-corrected √v (Kingma and Ba). The
    original adds ε to the uncorrected √v: a known deviation that matters only for gradients around
    ε in the first steps.
    """
    return optax.adam(lambda count: learning_rate(plan, count))


def init_state(config: LadderConfig, plan: Plan, key: jax.Array) -> TrainState:
    """Returns the state before the first step."""
    variables = Ladder(config).init(split_key(key)["init"], method="declare")
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state=make_optimizer(plan).init(variables["params"]),
        cost_sums={name: jnp.zeros(()) for name in cost_names(config)},
    )


def split_key(key: jax.Array) -> dict[str, jax.Array]:
    """Returns the independent streams of a root key: init, order and noise."""
    init, order, noise = fold_in_each(key, 3)
    return {"init": init, "order": order, "noise": noise}


def cost_names(config: LadderConfig) -> tuple[str, ...]:
    """Returns the names of the costs computed in training, as in metrics.jsonl."""
    return ("total", "supervised", *(f"denoising_{i}" for i in config.cost_layers))


def cost_dict(costs: Costs) -> CostDict:
    """Returns the costs by name."""
    named = {"total": costs.total, "supervised": costs.supervised}
    for i, cost in enumerate(costs.denoising):
        if cost is not None:
            named[f"denoising_{i}"] = cost
    return named


def train_step(
    config: LadderConfig,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batch: Batch,
    noise_key: jax.Array,
    track: bool | jax.Array = False,
    divide: Divide = whole_batch,
    strengths: Strengths | None = None,
) -> tuple[TrainState, CostDict]:
    """Takes one gradient step.

    Args:
      config: the network.
      optimizer: from ``make_optimizer``.
      state: the state before the step.
      batch: the whole batch: x_l (B_l, *input_shape), y_l (B_l,) and x_u (B_u, *input_shape).
      noise_key: root of the noise; the step's own key is folded in here.
      track: whether the labelled rows' clean moments enter the running statistics, which takes
        one more forward pass, with the parameters before the step. An array needs one program for
        both cases. A bool needs one for each; it is for GPUs, where a branch waits for the host.
      divide: takes this device's rows; moments, gradients and costs are those of the whole batch.
      strengths: the network's numbers, which may be arrays; None is those of ``config``.

    Returns:
      The state after the step, and its costs by name.
    """
    model: Any = Ladder(config)
    # The noise is drawn for the whole batch, so that a row's noise does not depend on its device.
    count_l, count_u = len(batch[0]), len(batch[2]) if config.cost_layers else 0
    levels = strengths.noise if strengths else None
    noise = draw_noise(config, jax.random.fold_in(noise_key, state.step), count_l, count_u, levels)
    batch, noise, rows = divide(batch, noise)

    def loss(params: Any) -> tuple[jax.Array, CostDict]:
        variables = {"params": params, "batch_stats": state.batch_stats}
        costs = model.apply(variables, *batch, noise, rows, strengths)
        return costs.total, cost_dict(costs)

    def tracked(batch_stats: Any) -> Any:
        variables = {"params": state.params, "batch_stats": batch_stats}
        x_l, rows_l = batch[0], rows[0]
        _, changed = model.apply(variables, x_l, rows_l, method="track", mutable=["batch_stats"])
        return changed["batch_stats"]

    gradients, costs = jax.grad(loss, has_aux=True)(state.params)
    gradients, costs = rows[0].mean_over_devices((gradients, costs))
    with jax.named_scope("adam"):  # for benchmarks/operations.py and anyone's profiler
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        updated = optax.apply_updates(state.params, updates)
    if isinstance(track, bool):
        batch_stats = tracked(state.batch_stats) if track else state.batch_stats
    else:
        batch_stats = jax.lax.cond(track, tracked, lambda stats: stats, state.batch_stats)
    state = state.replace(
        step=state.step + 1,
        params=updated,
        batch_stats=batch_stats,
        opt_state=opt_state,
        cost_sums={name: state.cost_sums[name] + costs[name] for name in costs},
    )
    return state, costs


def epoch_orders(key: jax.Array, plan: Plan, data: TrainData, epoch: jax.Array) -> tuple:
    """Returns the orders of the unlabelled and labelled rows in an epoch, as indices into x."""
    key = jax.random.fold_in(split_key(key)["order"], epoch)
    rows = len(data.x) if data.train is None else len(data.train)
    order_u = jax.random.permutation(jax.random.fold_in(key, 0), rows)
    order_u = order_u if data.train is None else data.train[order_u]
    if plan.same_rows:
        return order_u, order_u
    order_l = jax.random.permutation(jax.random.fold_in(key, 1), len(data.labelled))
    return order_u, data.labelled[order_l]


def train_chunk(
    config: LadderConfig,
    plan: Plan,
    state: TrainState,
    data: TrainData,
    key: jax.Array,
    track: bool | jax.Array,
    divide: Divide = whole_batch,
    strengths: Strengths | None = None,
    costs_length: int | None = None,
) -> tuple[TrainState, CostDict]:
    """Takes ``plan.chunk_steps`` steps, all within one epoch, as one loop.

    The labelled minibatches of an epoch's order are repeated, in the same order, until the
    unlabelled pass ends.

    Args:
      config: the network.
      plan: from ``make_plan``; its numbers may be arrays, so that one program serves many plans.
      state: the state before the chunk, at least ``plan.chunk_steps`` steps before an epoch's end.
      data: the training rows.
      key: root key of the run.
      track: whether running statistics are collected, as for ``train_step``.
      divide: as for ``train_step``.
      strengths: as for ``train_step``.
      costs_length: length of the costs, at least ``plan.chunk_steps``, which is what None means;
        it must be given if the plan's numbers are arrays.

    Returns:
      The state after the chunk, and each cost of each step, (costs_length,), with zeros at the end.
    """
    optimizer = make_optimizer(plan)
    noise_key = split_key(key)["noise"]
    epoch, first = jnp.divmod(state.step, plan.steps_per_epoch)
    order_u, order_l = epoch_orders(key, plan, data, epoch)
    state = _start_epoch_if(first == 0, config, state)

    def rows(order: jax.Array, step: jax.Array, count: int) -> jax.Array:
        return order[(step * count + jnp.arange(count)) % len(order)]

    def inputs(at: jax.Array) -> jax.Array:
        return data.x[at].astype(data.scale.dtype) * data.scale

    def body(i: jax.Array, carried: tuple[TrainState, CostDict]) -> tuple[TrainState, CostDict]:
        (state, costs), step = carried, first + i
        at_l, at_u = rows(order_l, step, plan.rows_l), rows(order_u, step, plan.rows_u)
        batch = inputs(at_l), data.y[at_l], inputs(at_u)
        words = (optimizer, state, batch, noise_key, track, divide, strengths)
        state, own = train_step(config, *words)
        return state, {name: costs[name].at[i].set(own[name]) for name in costs}

    length = plan.chunk_steps if costs_length is None else costs_length
    costs = {name: jnp.zeros(length) for name in cost_names(config)}
    return jax.lax.fori_loop(0, plan.chunk_steps, body, (state, costs))


def _start_epoch_if(starts: jax.Array, config: LadderConfig, state: TrainState) -> TrainState:
    """Resets the running statistics and the cost sums if an epoch starts."""
    variables = {"batch_stats": state.batch_stats, "params": state.params}
    fresh = Ladder(config).apply(variables, method="restart_tracking", mutable=["batch_stats"])[1]
    pick = lambda new, old: jnp.where(starts, new, old)  # noqa: E731
    return state.replace(
        batch_stats=jax.tree.map(pick, fresh["batch_stats"], state.batch_stats),
        cost_sums=jax.tree.map(lambda old: pick(jnp.zeros_like(old), old), state.cost_sums),
    )
