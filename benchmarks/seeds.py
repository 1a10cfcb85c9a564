"""Runs per hour against the number of seeds trained at once, as one JSON object.

A run is the row's epochs of 60 000 rows (CIFAR-10: 50 000). Times are those of compiled chunks on
random images; evaluation and start-up are left out. "sequential" is one seed at a time.

python benchmarks/seeds.py [--model=ladder|…] [--seeds=1,2,5,10] [--blocks=5] [--steps=50]
"""

import json
import statistics

import jax
import layouts
import step
from absl import app, flags, logging

import ladder_jax as lj
from ladder_jax.storage import environment
from ladder_jax.train.parallel import Parallel

flags.declare_key_flag("model")
flags.declare_key_flag("blocks")
_SEEDS = flags.DEFINE_list("seeds", ["1", "2", "5", "10"], "Numbers of seeds at once.")
_STEPS = flags.DEFINE_integer("steps", 50, "Steps in a timed block.", lower_bound=1)


def measure(preset: lj.presets.Preset, numbers: list[int], blocks: int, steps: int) -> list[dict]:
    """Times of the numbers of seeds in turn; each on as many devices as its seeds go into."""
    config, train_config = preset.config, preset.train_config
    chosen = [Parallel(seed_mode="vmap").layout(number) for number in numbers]
    timed = [layouts.chunk_on(layout, config, train_config, steps) for layout in chosen]
    for chunk in timed:
        chunk.run()  # compile
    times = [[step.milliseconds(chunk.run) / steps for chunk in timed] for _ in range(blocks)]
    rows = 60_000 if preset.dataset == "mnist" else 50_000
    steps_of_run = train_config.epochs * (rows // train_config.batch_size)
    results = []
    for number, layout, own in zip(numbers, chosen, zip(*times, strict=True), strict=True):
        step_ms = statistics.median(own)
        results.append(
            {
                "seeds": number,
                "devices": len(layout.devices),
                "step_ms": round(step_ms, 3),
                "step_ms_per_seed": round(step_ms / number, 3),
                "runs_per_hour": round(3.6e6 * number / (step_ms * steps_of_run), 3),
            }
        )
    return results


def main(argv: list[str]) -> None:
    """Prints the JSON object."""
    logging.set_verbosity(logging.WARNING)  # or JAX tells which backends there are not
    if argv[1:]:
        raise app.UsageError(f"unexpected word on the command line: {argv[1]}")
    preset = lj.presets.get(step.PRESETS[flags.FLAGS.model])
    numbers = [int(word) for word in _SEEDS.value]
    with jax.default_matmul_precision("float32"):
        found = measure(preset, numbers, flags.FLAGS.blocks, _STEPS.value)
    report = {"model": flags.FLAGS.model, "at_once": found, "device": environment.device()}
    print(json.dumps(report | {"versions": environment.versions()}))


if __name__ == "__main__":
    app.run(main)
