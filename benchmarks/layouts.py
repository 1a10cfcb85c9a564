"""Compiled chunks of runs on devices, as seeds.py and scaling.py time them. Not a command."""

import jax
import numpy as np
from chunks import Chunk

import ladder_jax as lj
from ladder_jax.train.parallel import Layout
from ladder_jax.train.schedule import make_plan
from ladder_jax.train.step import TrainData


def chunk_on(
    layout: Layout, config: lj.LadderConfig, train_config: lj.TrainConfig, steps: int
) -> Chunk:
    """A call that trains so many steps of the layout's runs on random images."""
    rng = np.random.default_rng(0)
    rows, runs = steps * train_config.batch_size, layout.runs
    labelled = np.arange(train_config.labelled_batch_size, dtype=np.int32)
    train = np.arange(rows, dtype=np.int32)
    data = layout.put_data(
        TrainData(
            x=rng.integers(0, 256, (rows, *config.input_shape), np.uint8),
            y=(np.arange(rows) % 10).astype(np.int32),
            labelled=labelled if runs == 1 else np.tile(labelled, (runs, 1)),
            scale=np.float32(1 / 255),
            train=train if runs == 1 else np.tile(train, (runs, 1)),
        )
    )
    plan = make_plan(train_config, rows, len(labelled), steps)
    keys = [jax.random.key(seed) for seed in range(runs)]
    put_keys, state = layout.put_keys(keys), [layout.init_state(config, plan, keys)]

    def run() -> None:
        # The costs of a chunk come back to the host, as in a run.
        state[0], _ = layout.train_chunk(config, plan, state[0], data, put_keys, False)

    return Chunk(run, plan.chunk_steps, lambda: layout.to_host(state[0]).params)
