"""What it costs to split one run over devices, as one JSON object.

Milliseconds of a step of one run on 1, 2, 4 and 8 devices, by jit over a mesh and by pmap. On a
CPU the devices are virtual and share its cores: more of them do not compute faster, and what
their step takes longer than one device's is the cost of partitioning.

python benchmarks/scaling.py [--model=ladder|…] [--devices=1,2,4,8] [--blocks=5] [--steps=20]
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
_DEVICES = flags.DEFINE_list("devices", ["1", "2", "4", "8"], "Numbers of devices.")
_STEPS = flags.DEFINE_integer("steps", 20, "Steps in a timed block.", lower_bound=1)


def measure(preset: lj.presets.Preset, numbers: list[int], blocks: int, steps: int) -> list[dict]:
    """Times of all layouts in turn."""
    cases = [(kind, number) for number in numbers for kind in ("jit", "pmap")]
    timed = []
    for kind, number in cases:
        layout = Parallel(devices=number, kind=kind).layout()
        timed.append(layouts.chunk_on(layout, preset.config, preset.train_config, steps))
        timed[-1].run()  # compile
    times = [[step.milliseconds(chunk.run) / steps for chunk in timed] for _ in range(blocks)]
    medians = [statistics.median(own) for own in zip(*times, strict=True)]
    return [
        {
            "devices": number,
            "parallel": kind,
            "step_ms": round(median, 3),
            "times_one_device": round(median / medians[0], 3),
        }
        for (kind, number), median in zip(cases, medians, strict=True)
    ]


def main(argv: list[str]) -> None:
    """Prints the JSON object."""
    logging.set_verbosity(logging.WARNING)  # or JAX tells which backends there are not
    if argv[1:]:
        raise app.UsageError(f"unexpected word on the command line: {argv[1]}")
    numbers = [int(word) for word in _DEVICES.value]
    jax.config.update("jax_num_cpu_devices", max(numbers))
    preset = lj.presets.get(step.PRESETS[flags.FLAGS.model])
    with jax.default_matmul_precision("float32"):
        found = measure(preset, numbers, flags.FLAGS.blocks, _STEPS.value)
    report = {"model": flags.FLAGS.model, "layouts": found, "device": environment.device()}
    print(json.dumps(report | {"versions": environment.versions()}))


if __name__ == "__main__":
    app.run(main)
