"""Moments, normalisation and the running average."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_numpy as reference
from flax import linen as nn

from ladder_jax.ops.batchnorm import (
    Moments,
    RunningMoments,
    init_running,
    moments,
    normalize,
    per_unit,
    standardize,
    update_running,
)
from ladder_jax.ops.rows import Rows


@pytest.mark.parametrize("shape", [(50, 7), (6, 5, 4, 3)])
def test_standardize_has_the_derivatives_of_the_separate_steps(x64, shape):
    rng = np.random.default_rng(0)
    x, direction = rng.normal(3, 2, shape), rng.normal(size=shape)
    weights = rng.normal(size=shape), rng.normal(size=shape[-1]), rng.normal(size=shape[-1])

    def separate(x):
        by = moments(x)
        return (x - per_unit(by.mean, x)) / jnp.sqrt(per_unit(by.var, x) + 1e-10), by

    def cost(function, x):
        z, by = function(x)
        sums = (z**2 * weights[0]).sum(), (by.mean**3 * weights[1]).sum(), (by.var @ weights[2])
        return sum(sums) * by.var.sum()

    for derivative in (
        lambda f: f(x),
        lambda f: jax.jvp(f, (x,), (direction,)),
        lambda f: jax.grad(lambda x: cost(f, x))(x),
        lambda f: jax.jvp(jax.grad(lambda x: cost(f, x)), (x,), (direction,)),
    ):
        for got, want in zip(
            jax.tree.leaves(derivative(standardize)),
            jax.tree.leaves(derivative(separate)),
            strict=True,
        ):
            np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9 * np.abs(want).max())


@pytest.mark.parametrize("weighted", [False, True])
def test_moments_over_pmap_devices_are_those_of_the_whole_batch(x64, weighted):
    x = np.random.default_rng(0).normal(3, 2, (2, 10, 4))  # ten rows on each of two devices
    weight = np.ones((2, 10)) if weighted else None
    own = jax.pmap(lambda x, w: standardize(x, Rows(w, "devices")), "devices")(x, weight)
    want = standardize(jnp.asarray(x.reshape(20, 4)))
    np.testing.assert_allclose(own[0].reshape(20, 4), want[0], rtol=1e-9)
    for got, moment in zip(own[1], want[1], strict=True):
        np.testing.assert_allclose(got, np.stack([moment] * 2), rtol=1e-9)


def test_gradient_of_standardize_takes_two_sums_over_the_batch(x64):
    """Not three and more, as that of the separate steps."""
    pull = lambda g: jax.vjp(lambda x: standardize(x)[0], jnp.ones((50, 7)))[1](g)  # noqa: E731
    backward = str(jax.make_jaxpr(pull)(jnp.ones((50, 7)))).count("reduce_sum")
    forward = str(jax.make_jaxpr(standardize)(jnp.ones((50, 7)))).count("reduce_sum")
    assert (forward, backward) == (2, forward + 2)


@pytest.mark.parametrize("shape", [(50, 7), (6, 5, 4, 3)])
def test_matches_flax_with_two_pass_variance(shape):
    x = np.random.default_rng(0).normal(3, 2, shape).astype(np.float32)
    layer = nn.BatchNorm(
        use_running_average=False,
        use_fast_variance=False,
        epsilon=1e-10,
        use_bias=False,
        use_scale=False,
    )
    want, _ = layer.apply({}, x, mutable=["batch_stats"])
    np.testing.assert_allclose(normalize(x, moments(x)), want, rtol=2e-5, atol=2e-6)


def test_small_variance_survives_a_large_mean():
    x = np.random.default_rng(0).normal(10, 0.01, (100, 5))
    got = moments(jnp.asarray(x, jnp.float32)).var
    np.testing.assert_allclose(got, x.astype(np.float32).astype(float).var(0), rtol=1e-3)


def test_constant_unit_becomes_zero():
    x = jnp.ones((10, 2))
    np.testing.assert_array_equal(normalize(x, moments(x)), 0)
    np.testing.assert_array_equal(standardize(x)[0], 0)
    assert np.isfinite(jax.grad(lambda x: (standardize(x)[0] ** 2).sum())(x)).all()


def test_running_average_matches_reference(x64):
    rng = np.random.default_rng(0)
    batches = [(rng.normal(size=3), rng.uniform(size=3), 7) for _ in range(25)]
    running = init_running(3)
    for mean, var, rows in batches:
        running = update_running(running, Moments(mean, var), rows)
    want = reference.running_moments(batches)
    np.testing.assert_allclose(running.mean, want[0], rtol=1e-12)
    np.testing.assert_allclose(running.var, want[1], rtol=1e-12)
    assert running.batches == 25


def test_running_average_forgets_when_its_count_is_reset():
    old = RunningMoments(jnp.full(2, 9.0), jnp.full(2, 9.0), jnp.zeros((), jnp.int32))
    new = update_running(old, Moments(jnp.zeros(2), jnp.ones(2)), 2)
    np.testing.assert_array_equal(new.mean, 0)
    np.testing.assert_array_equal(new.var, 2)  # 1 · n/(n − 1)
