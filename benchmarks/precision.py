"""What rounded operands of matrix products do to the result, on a CPU; JSON.

python benchmarks/precision.py [--model=ladder] [--seeds=10] [--epochs=200]

Accelerators can round the operands of products to TensorFloat-32 or bfloat16 and add up in float32.
CPUs cannot, so here every product of a dense layer, forward and backward, in training and in
evaluation, gets its operands rounded by hand. Digits with 50 labels; all precisions share seeds.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import jax
from absl import app, flags

import ladder_jax as lj
from ladder_jax.layers import Dense
from ladder_jax.storage import environment

FLAGS = flags.FLAGS
MANTISSA = {"float32": 23, "tensorfloat32": 10, "bfloat16": 7}
"""Bits of the fraction; all have float32's eight bits of exponent."""


def rounded_product(bits: int) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """A @ B of rounded operands, whose derivative is made of such products too."""

    def rounded(x: jax.Array) -> jax.Array:
        return jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=bits)

    @jax.custom_vjp
    def product(a: jax.Array, b: jax.Array) -> jax.Array:
        return rounded(a) @ rounded(b)

    def forward(a: jax.Array, b: jax.Array) -> tuple:
        return product(a, b), (a, b)

    def backward(operands: tuple, g: jax.Array) -> tuple:
        a, b = operands
        return product(g, b.T), product(a.T, g)

    product.defvjp(forward, backward)
    return product


@contextmanager
def precision(bits: int) -> Iterator[None]:
    """Products of dense layers with so many bits, for what is compiled inside."""
    product = rounded_product(bits)

    def forward(layer: Dense, kernel: jax.Array, h: jax.Array, ties: str = "all") -> jax.Array:
        return product(h.reshape(len(h), -1), kernel)

    def inverse(layer: Dense, kernel: jax.Array, z_hat: jax.Array, shape: tuple) -> jax.Array:
        return product(z_hat, kernel)

    jax.clear_caches()
    try:
        with mock.patch.multiple(Dense, forward=forward, inverse=inverse):
            yield
    finally:
        jax.clear_caches()


def errors(model: str, seeds: range, epochs: int) -> dict[str, list[float]]:
    """Test error in per cent of each seed, by precision."""
    preset = lj.presets.for_labels("digits", model, 50)
    data = lj.data.load("digits")
    found: dict[str, list[float]] = {}
    for name, bits in MANTISSA.items():
        with precision(bits):
            runs = [
                dataclasses.replace(preset.train_config, seed=seed, epochs=epochs) for seed in seeds
            ]
            results = [lj.train_and_evaluate(preset.config, run, data) for run in runs]
        found[name] = [round(result.test_error_percent, 4) for result in results]
    return found


def main(_: list[str]) -> None:
    """Prints one object: errors, their means, paired differences to float32."""
    seeds = range(1, FLAGS.seeds + 1)
    found = errors(FLAGS.model, seeds, FLAGS.epochs)
    about = {"benchmark": "precision", "model": f"digits-{FLAGS.model}-50", "epochs": FLAGS.epochs}
    modes = {}
    for name, own in found.items():
        differences = [a - b for a, b in zip(own, found["float32"], strict=True)]
        modes[name] = {"error_percent": own, "mean": round(statistics.fmean(own), 3)}
        if len(own) > 1:
            modes[name] |= {
                "std": round(statistics.stdev(own), 3),
                "difference": round(statistics.fmean(differences), 3),
                "standard_error": round(statistics.stdev(differences) / len(own) ** 0.5, 3),
            }
    made = {"device": environment.device(), "versions": environment.versions()}
    print(json.dumps(about | {"precision": modes} | made))


if __name__ == "__main__":
    flags.DEFINE_string("model", "ladder", "Of the digits presets.")
    flags.DEFINE_integer("seeds", 10, "Runs with each precision.")
    flags.DEFINE_integer("epochs", 200, "Of each run.")
    app.run(main)
