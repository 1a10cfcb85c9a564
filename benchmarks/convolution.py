"""The three operations of a convolution, ours and the library's, as one JSON object.

For layers of the paper's networks: milliseconds of the forward map, of the gradient to the
inputs and of that to the kernel, for ladder_jax/ops/convolution.py and for XLA's own convolution
with its own gradients. On accelerators the two are the same operations.

python benchmarks/convolution.py [--repeats=3]
"""

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging
from jax import lax

from ladder_jax.ops.convolution import convolve
from ladder_jax.storage import environment

_REPEATS = flags.DEFINE_integer("repeats", 3, "Timed calls of each.", lower_bound=1)

# name: (rows, height, channels, units, kernel size, padding)
LAYERS = {
    "conv-large 2": (100, 30, 96, 96, 3, 2),
    "conv-large 7": (100, 17, 192, 192, 3, 0),
    "conv-large 10": (100, 6, 192, 192, 1, 0),
    "conv-small 1": (100, 28, 1, 32, 5, 4),
    "conv-small 4": (100, 14, 64, 64, 3, 2),
    "conv-fc 1": (100, 28, 1, 1000, 26, 0),
}


def library(x: jax.Array, kernel: jax.Array, pad: int) -> jax.Array:
    """XLA's convolution, differentiated by JAX."""
    return lax.conv_general_dilated(
        x, kernel, (1, 1), [(pad, pad)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def operations(convolution: Callable[..., jax.Array], pad: int) -> dict[str, Callable[..., Any]]:
    """The three operations as compiled functions of inputs, kernel and gradient."""

    def pull(x: jax.Array, kernel: jax.Array, g: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.vjp(lambda x, w: convolution(x, w, pad), x, kernel)[1](g)

    return {
        "forward": jax.jit(lambda x, kernel, g: convolution(x, kernel, pad)),
        "to_inputs": jax.jit(lambda x, kernel, g: pull(x, kernel, g)[0]),
        "to_kernel": jax.jit(lambda x, kernel, g: pull(x, kernel, g)[1]),
    }


def milliseconds(call: Callable[..., Any], arguments: tuple[Any, ...]) -> float:
    """Median wall time of a call, compiled before."""
    jax.block_until_ready(call(*arguments))
    times = []
    for _ in range(_REPEATS.value):
        started = time.perf_counter()
        jax.block_until_ready(call(*arguments))
        times.append(1000 * (time.perf_counter() - started))
    return round(statistics.median(times), 1)


def measure(rows: int, side: int, channels: int, units: int, k: int, pad: int) -> dict[str, Any]:
    """All times of one layer."""
    rng = np.random.default_rng(0)
    out = side + 2 * pad - k + 1
    shapes = ((rows, side, side, channels), (k, k, channels, units), (rows, out, out, units))
    arguments = tuple(jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes)
    found: dict[str, Any] = {"gflop": round(2 * rows * out**2 * k * k * channels * units / 1e9, 2)}
    for name, convolution in (("ours_ms", convolve), ("library_ms", library)):
        calls = operations(convolution, pad)
        found[name] = {kind: milliseconds(call, arguments) for kind, call in calls.items()}
    return found


def main(argv: list[str]) -> None:
    """Prints the JSON object."""
    logging.set_verbosity(logging.WARNING)  # or JAX tells which backends there are not
    if argv[1:]:
        raise app.UsageError(f"unexpected word on the command line: {argv[1]}")
    with jax.default_matmul_precision("float32"):
        layers = {name: measure(*shape) for name, shape in LAYERS.items()}
    report = {
        "layers": layers,
        "device": environment.device(),
        "versions": environment.versions(),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    app.run(main)
