"""What a checkpoint costs a training run, as one JSON object.

Alternates blocks of training steps without and with one save at their start, as a run saves:
the state is copied to the host, written in the background while training goes on, and waited for.
The share is that of a run that saves every ``--checkpoint_every`` epochs.

python benchmarks/checkpoint.py [--model=ladder] [--steps=200] [--blocks=5]
"""

import json
import statistics
import tempfile
import time
from pathlib import Path

import jax
from absl import app, flags, logging
from chunks import random_data

import ladder_jax as lj
from ladder_jax.storage import environment
from ladder_jax.train.checkpoints import Checkpoints
from ladder_jax.train.schedule import make_plan

_MODEL = flags.DEFINE_string("model", "ladder", "An MNIST model.")
_STEPS = flags.DEFINE_integer("steps", 200, "Steps in a block.", lower_bound=1)
_BLOCKS = flags.DEFINE_integer("blocks", 5, "Pairs of blocks.", lower_bound=1)
_EVERY = flags.DEFINE_integer("checkpoint_every", lj.CHECKPOINT_EVERY, "Epochs.", lower_bound=1)
_EPOCH = 600  # steps of an MNIST epoch


def measure(preset: lj.presets.Preset, steps: int, blocks: int, every: int) -> dict[str, object]:
    """Seconds of a save and its share of training."""
    data = random_data((28, 28, 1), 100 * steps, 100)
    data = data._replace(x=data.x.reshape(-1, *preset.config.input_shape))
    plan = make_plan(preset.train_config, 100 * steps, 100, steps)
    layout, keys = lj.Parallel(devices=1).layout(), [jax.random.key(0)]
    state = layout.init_state(preset.config, plan, keys)
    given = layout.put_data(data), layout.put_keys(keys), False
    times: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as folder, Checkpoints(Path(folder)) as checkpoints:
        for block in range(2 * blocks + 1):
            saves = bool(block % 2)
            started = time.perf_counter()
            if saves:
                checkpoints.save(layout.to_host(state))
            for _ in range(steps // plan.chunk_steps):
                state, _ = layout.train_chunk(preset.config, plan, state, *given)
            if saves:
                checkpoints.wait()
            if block:  # the first compiles
                times[saves].append(time.perf_counter() - started)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    without, with_save = (statistics.median(times[saves]) for saves in (False, True))
    seconds = max(0.0, with_save - without)
    interval = without / steps * _EPOCH * every
    return {
        "model": preset.model,
        "save_seconds": round(seconds, 3),
        "interval_seconds": round(interval, 1),
        "overhead_percent": round(100 * seconds / interval, 2),
        "megabytes": round(size / 1e6 / min(blocks, lj.KEEP), 1),
    }


def main(argv: list[str]) -> None:
    """Prints the JSON object."""
    logging.set_verbosity(logging.WARNING)
    preset = lj.presets.get(f"mnist-{_MODEL.value}-100")
    found = measure(preset, _STEPS.value, _BLOCKS.value, _EVERY.value)
    print(json.dumps(found | {"device": environment.device(), "versions": environment.versions()}))


if __name__ == "__main__":
    app.run(main)
