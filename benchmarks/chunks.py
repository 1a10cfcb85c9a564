"""Compiled chunks of training steps on random data, as the benchmarks time them. Not a command.

Cut and compiled as in a training run: the rows' order is drawn anew in each compiled call, so
its share of a step depends on the size of the set and on the steps in a call.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import operations

import ladder_jax as lj
from ladder_jax.train import parallel
from ladder_jax.train.schedule import make_plan
from ladder_jax.train.step import TrainData


class Chunk(NamedTuple):
    """A call that trains ``steps`` further steps and waits for them; the parameters after them.

    ``profile`` says where a step's time goes (see operations.py) and takes the state with it.
    """

    run: Callable[[], None]
    steps: int
    parameters: Callable[[], Any]
    profile: Callable[[], Any] | None = None


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
    layout, keys = lj.Parallel(devices=1).layout(), [jax.random.key(0)]
    state = [layout.init_state(config, plan, keys)]
    on_device, put_keys = layout.put_data(data), layout.put_keys(keys)

    def run() -> None:
        # The costs of a chunk come back to the host, as in a run.
        state[0], _ = layout.train_chunk(config, plan, state[0], on_device, put_keys, False)

    def profile() -> list[dict[str, Any]]:
        given = config.strengths, plan, state[0], on_device, put_keys, False
        program = layout, config.structure, plan.costs_length
        compiled = parallel._jitted.lower(*program, *given).compile()
        return operations.profile(compiled, *given, donated=2, steps=plan.chunk_steps)

    return Chunk(run, plan.chunk_steps, lambda: layout.to_host(state[0]).params, profile)
