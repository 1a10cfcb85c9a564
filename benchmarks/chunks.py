"""Compiled chunks of training steps on random data, as the benchmarks time them. Not a command.

Cut and compiled as in a training run: the rows' order is drawn anew in each compiled call, so
its share of a step depends on the size of the set and on the steps in a call.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import ladder_jax as lj
from ladder_jax.train.schedule import make_plan
from ladder_jax.train.step import TrainData, init_state, train_chunk


class Chunk(NamedTuple):
    """A call that trains ``steps`` further steps and waits for them; the parameters after them."""

    run: Callable[[], None]
    steps: int
    parameters: Callable[[], Any]


def random_data(input_shape: tuple[int, ...], rows: int, labelled: int) -> TrainData:
    """Random images; the time of a step does not depend on what they show."""
    rng = np.random.default_rng(0)
    return TrainData(
        x=jnp.asarray(rng.integers(0, 256, (rows, *input_shape), np.uint8)),
        y=jnp.asarray(np.arange(rows) % 10, jnp.int32),
        labelled=jnp.arange(labelled, dtype=jnp.int32),
        scale=jnp.float32(1 / 255),
    )


def chunk_of_run(
    config: lj.LadderConfig, train_config: lj.TrainConfig, data: TrainData, most_steps: int
) -> Chunk:
    """The compiled call that a run on these rows would make, of ``most_steps`` at most.

    It has fewer where ``most_steps`` does not divide an epoch.
    """
    plan = make_plan(train_config, len(data.x), len(data.labelled), most_steps)
    key = jax.random.key(0)
    state = [jax.jit(init_state, static_argnums=(0, 1))(config, plan, key)]
    train = jax.jit(train_chunk, static_argnums=(0, 1), donate_argnums=2)

    def run() -> None:
        state[0], costs = train(config, plan, state[0], data, key, False)
        jax.block_until_ready((state[0], costs))

    return Chunk(run, plan.chunk_steps, lambda: state[0].params)
