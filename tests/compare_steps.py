"""Times the training step of one tree for compare_commits.py, a chunk for each line it is sent.

python compare_steps.py TREE MODEL

It prints "ready" once the chunk is compiled, then milliseconds per step for each line of its input.
The chunk is the one that a run on one device calls. Each tree needs its benchmarks/layouts.py.
"""

import math
import sys
import time
from pathlib import Path

TREE, MODEL = sys.argv[1:]
OPERATIONS = 6e10  # of a chunk: short, so that the two trees take turns often

sys.path.insert(0, str(Path(TREE) / "benchmarks"))

import jax  # noqa: E402
from layouts import chunk_on  # noqa: E402

import ladder_jax as lj  # noqa: E402

try:
    from ladder_jax.train.schedule import step_operations
except ImportError:  # up to 1e7a8f2
    from ladder_jax.plan import step_operations

large = MODEL.removeprefix("conv_large_")
preset = lj.presets.get(f"mnist-{MODEL}-100" if large == MODEL else f"cifar10-{large}-4000")
rows = preset.train_config.batch_size
steps = math.ceil(min(100, OPERATIONS / step_operations(preset.config, rows, rows)))
with jax.default_matmul_precision("float32"):
    layout = lj.Parallel(devices=1).layout(1)
    chunk = chunk_on(layout, preset.config, preset.train_config, steps)
    chunk.run()
    print("ready", flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        chunk.run()
        print(1000 * (time.perf_counter() - started) / steps, flush=True)
