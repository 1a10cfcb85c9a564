"""The noise is that of jax.random.normal, whatever draws it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ladder_jax.ops.noise import standard_normal

SHAPES = [(), (0, 4), (3,), (200, 784), (5, 28, 28, 1), (3, 2, 7, 5, 2)]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_numbers_are_those_of_the_library(shape, maybe_jit):
    for seed in (0, 1, 2**31):
        key = jax.random.key(seed)
        got = maybe_jit(lambda key: standard_normal(key, shape))(key)
        np.testing.assert_array_equal(got, jax.random.normal(key, shape))
        assert got.dtype == jnp.float32


def test_tails_are_those_of_the_library():
    key = jax.random.key(7)
    want = jax.random.normal(key, (2_000_000,))
    assert np.abs(want).max() > 4.5  # beyond the centre of the inverse error function
    np.testing.assert_array_equal(standard_normal(key, (2_000_000,)), want)


def test_on_a_cpu_there_is_no_loop_over_the_rounds():
    draw = jax.jit(lambda key: standard_normal(key, (200, 784)))
    assert "while" not in draw.lower(jax.random.key(0)).compile().as_text()


def test_draws_that_do_not_count_are_not_made(maybe_jit):
    key, draw = jax.random.key(0), lambda key, used: standard_normal(key, (200, 784), used)
    want = jax.random.normal(key, (200, 784))
    np.testing.assert_array_equal(maybe_jit(draw)(key, jnp.array(True)), want)
    np.testing.assert_array_equal(maybe_jit(draw)(key, jnp.array(False)), 0)


def test_draws_that_may_not_count_are_made_once():
    """The fused operations that read them do not draw again; each round has one shift left."""

    @jax.jit
    def read(key, used):
        draws = standard_normal(key, (200, 784), used)
        return draws[:100] * 0.3, jnp.sin(draws[100:])

    program = read.lower(jax.random.key(0), jnp.array(True)).compile().as_text()
    assert program.count("shift-left(") == 20


def test_double_precision_and_other_generators(x64):
    for key in (jax.random.key(3), jax.random.key(3, impl="rbg")):
        got = standard_normal(key, (50, 4))
        assert got.dtype == jnp.float64
        np.testing.assert_array_equal(got, jax.random.normal(key, (50, 4)))


@pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg"])
def test_other_generators_in_single_precision(impl):
    key = jax.random.key(3, impl=impl)
    np.testing.assert_array_equal(standard_normal(key, (50, 4)), jax.random.normal(key, (50, 4)))


def test_many_keys_at_once():
    keys = jax.random.split(jax.random.key(0), 3)
    got = jax.vmap(lambda key: standard_normal(key, (20, 4)))(keys)
    want = jax.vmap(lambda key: jax.random.normal(key, (20, 4)))(keys)
    np.testing.assert_array_equal(got, want)
