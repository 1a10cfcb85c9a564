"""Moments, normalisation and the running average."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_numpy as reference
from flax import linen as nn

from ladder_jax.batchnorm import (
    Moments,
    RunningMoments,
    init_running,
    moments,
    normalize,
    update_running,
)


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
    assert np.isfinite(jax.grad(lambda x: normalize(x, moments(x)).sum())(x)).all()


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
