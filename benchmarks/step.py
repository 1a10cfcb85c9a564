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
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging

import ladder_jax as lj
from ladder_jax import environment
from ladder_jax.plan import make_plan
from ladder_jax.training import TrainData, init_state, train_chunk

_MODEL = flags.DEFINE_enum("model", "ladder", lj.presets.MODELS, "Row of Table 1, 100 labels.")
_BLOCKS = flags.DEFINE_integer("blocks", 9, "Alternating blocks of each.", lower_bound=5)
_ROWS = 10_000  # 100 steps an epoch and chunk: about as long as a block should take


class Product(NamedTuple):
    """One forward product (rows, inputs) x (inputs, outputs) and its gradients."""

    rows: int
    inputs: int
    outputs: int
    input_gradient: bool

    @property
    def operations(self) -> int:
        """Floating-point operations of the forward product and the gradients."""
        return 2 * self.rows * self.inputs * self.outputs * (3 if self.input_gradient else 2)


def products_of_step(config: lj.LadderConfig, rows: int) -> list[Product]:
    """The forward products of a step: encoder from the bottom up, then decoder."""
    sizes = [shape[0] for shape in config.shapes]
    if config.cost_layers:
        passes = [2 * rows] + [rows] * any(i > 0 for i in config.cost_layers)
    else:
        passes = [rows]
    encoder = [
        Product(n, sizes[i], sizes[i + 1], input_gradient=i > 0)
        for i in range(len(config.layers))
        for n in passes
    ]
    decoder = [Product(rows, sizes[i], sizes[i - 1], True) for i in config.decoder_layers[1:]]
    return encoder + decoder


def floor(products: list[Product]) -> Callable[[], Any]:
    """A compiled call of these products and their gradients, each once."""
    rng = np.random.default_rng(0)
    operands = []
    for n, d_in, d_out, _ in products:
        sizes = ((n, d_in), (d_in, d_out), (n, d_out))
        operands.append(tuple(jnp.asarray(rng.normal(size=s), jnp.float32) for s in sizes))

    @jax.jit
    def multiply(operands: Any) -> list[jax.Array]:
        results = []
        for product, (h, kernel, gradient) in zip(products, operands, strict=True):
            results += [h @ kernel, h.T @ gradient]
            if product.input_gradient:
                results.append(gradient @ kernel.T)
        return results

    return lambda: jax.block_until_ready(multiply(operands))


def step(config: lj.LadderConfig, train_config: lj.TrainConfig) -> tuple[Callable[[], None], int]:
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

    def run() -> None:
        state[0], costs = chunk(config, plan, state[0], data, key, False)
        jax.block_until_ready((state[0], costs))

    return run, plan.chunk_steps


def milliseconds(call: Callable[[], Any], repeats: int = 1) -> float:
    """Wall time of ``repeats`` calls, for one."""
    started = time.perf_counter()
    for _ in range(repeats):
        call()
    return 1000 * (time.perf_counter() - started) / repeats


def main(argv: list[str]) -> None:
    """Prints the JSON object."""
    logging.set_verbosity(logging.WARNING)  # or JAX tells which backends there are not
    if argv[1:]:
        raise app.UsageError(f"unexpected word on the command line: {argv[1]}")
    preset = lj.presets.get(f"mnist-{_MODEL.value}-100")
    with jax.default_matmul_precision("float32"):
        products = products_of_step(preset.config, preset.train_config.batch_size)
        multiply = floor(products)
        run, steps = step(preset.config, preset.train_config)
        run(), multiply()  # compile
        blocks = [
            (milliseconds(run) / steps, milliseconds(multiply, steps)) for _ in range(_BLOCKS.value)
        ]
    step_ms, floor_ms = (statistics.median(times) for times in zip(*blocks, strict=True))
    report = {
        "model": _MODEL.value,
        "step_ms": round(step_ms, 3),
        "floor_ms": round(floor_ms, 3),
        "floor_gflop": round(sum(product.operations for product in products) / 1e9, 3),
        "ratio": round(step_ms / floor_ms, 3),
        "blocks": [[round(value, 3) for value in block] for block in blocks],
        "device": environment.device(),
        "versions": environment.versions(),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    app.run(main)
