"""Time of a training step against its floor, as one JSON object.

The floor is the step's own matrix products and convolutions, each once at its own shape and
nothing else: for a full ladder the forward maps of 200 corrupted and 100 clean rows in each
encoder layer and of 100 rows in each decoder layer, and of each the gradients to weights and
to inputs, save the inputs of the first layer. Convolutions are those of
ladder_jax/ops/convolution.py, since XLA's own gradients are far slower on a CPU. Step and floor
are timed in alternating blocks.

With --profile it also reports where the time of a step goes by kind of operation, which compiles
the step once more.

python benchmarks/step.py [--model=ladder|…|conv_large_gamma] [--blocks=9] [--profile]
"""

import functools
import json
import math
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging
from chunks import Chunk, chunk_of_run, random_data

import ladder_jax as lj
from ladder_jax.storage import environment
from ladder_jax.train.schedule import step_operations

PRESETS = {model: f"mnist-{model}-100" for model in lj.presets.models("mnist")} | {
    f"conv_large_{model}": f"cifar10-{model}-4000" for model in lj.presets.models("cifar10")
}
_MODEL = flags.DEFINE_enum("model", "ladder", list(PRESETS), "Row of a table, fewest labels.")
_BLOCKS = flags.DEFINE_integer("blocks", 9, "Alternating blocks of each.", lower_bound=5)
_PROFILE = flags.DEFINE_boolean("profile", False, "Report the time of each kind of operation.")
_BLOCK_OPERATIONS = 4e11  # 100 steps of the MLP ladder: about as long as a block should take


class Product(NamedTuple):
    """One forward product or convolution and its gradients.

    Attributes:
      call: (kernel, inputs) -> outputs.
      kernel: shape.
      inputs: shape, rows first.
      row_operations: floating-point operations of the forward call for one row.
      input_gradient: whether the gradient to the inputs is needed.
    """

    call: Callable[[jax.Array, jax.Array], jax.Array]
    kernel: tuple[int, ...]
    inputs: tuple[int, ...]
    row_operations: int
    input_gradient: bool

    @property
    def operations(self) -> int:
        """Floating-point operations of the forward call and the gradients."""
        return self.inputs[0] * self.row_operations * (3 if self.input_gradient else 2)


def products_of_step(config: lj.LadderConfig, rows: int) -> list[Product]:
    """The forward products of a step: encoder from the bottom up, then decoder."""
    if config.cost_layers:
        passes = [2 * rows] + [rows] * any(i > 0 for i in config.cost_layers)
    else:
        passes = [rows]
    params = jax.eval_shape(lambda key: lj.init(config, key), jax.random.key(0))["params"]
    encoder, decoder = [], []
    for i, layer in enumerate(config.layers, start=1):
        if not layer.has_weights:
            continue
        below, above = config.shapes[i - 1], config.shapes[i]
        operations = layer.operations(below)
        kernel = params["encoder"][f"layer_{i}"]["kernel"].shape
        encoder += [Product(layer.forward, kernel, (n, *below), operations, i > 1) for n in passes]
        inverse = params.get("decoder", {}).get(f"layer_{i}", {}).get("kernel")
        if inverse is not None:
            call = functools.partial(layer.inverse, shape=below)
            decoder.append(Product(call, inverse.shape, (rows, *above), operations, True))
    return encoder + decoder


def floor(products: list[Product]) -> Callable[[], Any]:
    """A compiled call of these products and their gradients, each once."""
    rng = np.random.default_rng(0)
    operands = []
    for product in products:
        out = jax.eval_shape(product.call, *map(_shaped, (product.kernel, product.inputs)))
        sizes = (product.kernel, product.inputs, out.shape)
        operands.append(tuple(jnp.asarray(rng.normal(size=s), jnp.float32) for s in sizes))

    @jax.jit
    def multiply(operands: Any) -> list[jax.Array]:
        results = []
        for product, (kernel, inputs, gradient) in zip(products, operands, strict=True):
            outputs, pull = jax.vjp(product.call, kernel, inputs)
            to_kernel, to_inputs = pull(gradient)
            results += [outputs, to_kernel] + [to_inputs] * product.input_gradient
        return results

    return lambda: jax.block_until_ready(multiply(operands))


def _shaped(shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def step(config: lj.LadderConfig, train_config: lj.TrainConfig, steps: int) -> Chunk:
    """A call that trains that many compiled steps, an epoch, on random data."""
    data = random_data(config.input_shape, steps * train_config.batch_size, 100)
    return chunk_of_run(config, train_config, data, steps)


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
    if _PROFILE.value and jax.default_backend() != "cpu":
        raise app.UsageError("--profile reads the program of a CPU; leave it out on other devices")
    preset = lj.presets.get(PRESETS[_MODEL.value])
    rows = preset.train_config.batch_size
    steps = math.ceil(min(100, _BLOCK_OPERATIONS / step_operations(preset.config, rows, rows)))
    with jax.default_matmul_precision("float32"):
        products = products_of_step(preset.config, rows)
        multiply = floor(products)
        chunk = step(preset.config, preset.train_config, steps)
        run = chunk.run
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
    if _PROFILE.value:
        with jax.default_matmul_precision("float32"):
            report["profile"] = chunk.profile()
    print(json.dumps(report))


if __name__ == "__main__":
    app.run(main)
