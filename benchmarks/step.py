"""Time of a training step of the MNIST network against its floor, as one JSON object.

The floor is the step's own matrix products, each once at its own shape and nothing else:
for the full ladder the forward products of 200 corrupted and 100 clean rows in each encoder
layer and of 100 rows in each decoder layer, and of each the gradients to weights and to
inputs, save the inputs of the first layer. Step and floor are timed in alternating blocks.

python benchmarks/step.py [--model=ladder|bottom|gamma|baseline] [--blocks=9]
"""

import json
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

import ladder_jax as lj
from ladder_jax import environment
from ladder_jax.plan import make_plan
from ladder_jax.training import TrainData, init_state, train_chunk

_MODEL = flags.DEFINE_enum("model", "ladder", lj.presets.MODELS, "Row of Table 1, 100 labels.")
_BLOCKS = flags.DEFINE_integer("blocks", 9, "Alternating blocks of each.", lower_bound=5)
_ROWS = 10_000  # 100 steps an epoch and chunk: about as long as a block should take


def product_shapes(config: lj.LadderConfig, rows: int) -> list[tuple[int, int, int]]:
    """(rows, inputs, outputs) of each forward product: encoder first, then decoder."""
    labelled_only = not config.cost_layers
    clean = any(i > 0 for i in config.cost_layers)
    encoder_rows = [rows] if labelled_only else [2 * rows] + [rows] * clean
    sizes = [shape[0] for shape in config.shapes]
    below = zip(sizes[:-1], sizes[1:], strict=True)
    shapes = [(n, d_in, d_out) for d_in, d_out in below for n in encoder_rows]
    return shapes + [(rows, sizes[i], sizes[i - 1]) for i in config.decoder_layers[1:]]


def floor(config: lj.LadderConfig, rows: int):
    """A compiled call of all products of a step, and the floating-point operations in it."""
    rng = np.random.default_rng(0)
    shapes = product_shapes(config, rows)
    operands, operations = [], 0
    for n, d_in, d_out in shapes:
        sizes = ((n, d_in), (d_in, d_out), (n, d_out))
        operands.append(tuple(jnp.asarray(rng.normal(size=s), jnp.float32) for s in sizes))
    depth = len(config.layers)
    first_layer = [k for k in range(len(shapes) - max(0, len(config.decoder_layers) - 1))]
    first_layer = first_layer[: len(first_layer) // depth]
    for k, (n, d_in, d_out) in enumerate(shapes):
        operations += 2 * n * d_in * d_out * (2 if k in first_layer else 3)

    @jax.jit
    def products(operands):
        results = []
        for k, (h, kernel, gradient) in enumerate(operands):
            results += [h @ kernel, h.T @ gradient]
            if k not in first_layer:
                results.append(gradient @ kernel.T)
        return results

    return lambda: jax.block_until_ready(products(operands)), operations


def step(config: lj.LadderConfig, train_config: lj.TrainConfig):
    """A call that trains one compiled epoch of random data, and its number of steps."""
    rng = np.random.default_rng(0)
    data = TrainData(
        x=jnp.asarray(rng.integers(0, 256, (_ROWS, *config.input_shape)), jnp.uint8),
        y=jnp.asarray(np.arange(_ROWS) % 10, jnp.int32),
        labelled=jnp.arange(100, dtype=jnp.int32),
        scale=jnp.float32(1 / 255),
    )
    plan, key = make_plan(train_config, _ROWS, 100), jax.random.key(0)
    state = [jax.jit(init_state, static_argnums=(0, 1))(config, plan, key)]
    chunk = jax.jit(train_chunk, static_argnums=(0, 1), donate_argnums=2)

    def run():
        state[0], costs = chunk(config, plan, state[0], data, key, False)
        jax.block_until_ready((state[0], costs))

    return run, plan.chunk_steps


def milliseconds(call, repeats: int = 1) -> float:
    """Wall time of ``repeats`` calls, for one."""
    started = time.perf_counter()
    for _ in range(repeats):
        call()
    return 1000 * (time.perf_counter() - started) / repeats


def main(argv: list[str]) -> None:
    """Prints the JSON object."""
    if argv[1:]:
        raise app.UsageError(f"unexpected word on the command line: {argv[1]}")
    preset = lj.presets.get(f"mnist-{_MODEL.value}-100")
    with jax.default_matmul_precision("float32"):
        products, operations = floor(preset.config, preset.train_config.batch_size)
        run, steps = step(preset.config, preset.train_config)
        run(), products()  # compile
        blocks = [
            (milliseconds(run) / steps, milliseconds(products, steps)) for _ in range(_BLOCKS.value)
        ]
    step_ms, floor_ms = (statistics.median(times) for times in zip(*blocks, strict=True))
    report = {
        "model": _MODEL.value,
        "step_ms": round(step_ms, 3),
        "floor_ms": round(floor_ms, 3),
        "floor_gflop": round(operations / 1e9, 3),
        "ratio": round(step_ms / floor_ms, 3),
        "blocks": [[round(value, 3) for value in block] for block in blocks],
        "device": environment.device(),
        "versions": environment.versions(),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    app.run(main)
