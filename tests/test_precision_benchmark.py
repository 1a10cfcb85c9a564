"""benchmarks/precision.py: products of rounded operands."""

import importlib
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import ladder_jax as lj

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def benchmarks(monkeypatch):
    """Imports a file of ``benchmarks/`` by its name."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


def test_rounded_products_round_every_operand(benchmarks):
    """Of 2¹⁰ + 1 and 2⁷ + 1 a bfloat16 keeps neither last bit, forward and backward."""
    product = benchmarks("precision").rounded_product(7)
    a, b = jnp.full((1, 1), 1025.0), jnp.full((1, 1), 257.0)
    value, pull = jax.vjp(product, a, b)
    assert value.item() == 1024 * 256
    assert [g.item() for g in pull(jnp.full((1, 1), 513.0))] == [512 * 256, 1024 * 512]


def test_precision_trains_with_rounded_products(benchmarks, monkeypatch):
    precision, bits = benchmarks("precision"), []
    good = precision.rounded_product

    def counted(own):
        product = good(own)
        return lambda a, b: bits.append(own) or product(a, b)

    monkeypatch.setattr(precision, "rounded_product", counted)
    found = precision.errors("baseline", range(1, 2), 1)
    assert set(bits) == {23, 10, 7}
    assert {name: len(own) for name, own in found.items()} == dict.fromkeys(precision.MANTISSA, 1)


def test_precision_patches_dense_layers_and_puts_them_back(benchmarks):
    layer, kernel, h = lj.Dense(1), jnp.full((1, 1), 257.0), jnp.ones((1, 1))
    with benchmarks("precision").precision(7):
        assert layer.forward(kernel, h).item() == layer.inverse(kernel, h, (1,)).item() == 256
    assert layer.forward(kernel, h).item() == layer.inverse(kernel, h, (1,)).item() == 257
