"""Property tests over random small stacks of layers."""

import dataclasses
import math

import jax
import numpy as np
import pytest
from conv_cases import COMBINATORS, make_case
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ladder_jax as lj
from ladder_jax.combinators import parse_combinator

OF_U_ALONE = ("relu", "sigmoid")
WITH_U = [name for name in COMBINATORS if parse_combinator(name).uses_u]


@st.composite
def ladders(draw, combinators=("gaussian",)):
    """A ladder that fits together, from a random input and random layers."""
    side = st.integers(3, 7)
    shape = draw(st.tuples(side, side, st.integers(1, 3)) | st.tuples(st.integers(2, 6)))
    layers, own = [], shape
    for _ in range(draw(st.integers(0, 3))):
        dense = st.builds(lj.Dense, st.integers(2, 6))
        kinds = [dense]
        if len(own) == 3:
            most = min(own[:2])
            mode = st.sampled_from(["valid", "full"])
            conv = st.builds(
                lj.Conv, st.integers(1, 4), st.integers(1, most), mode, st.integers(1, 2)
            )
            kinds += [conv, conv, st.builds(lj.MaxPool, st.integers(1, 3))]
        layers.append(draw(st.one_of(kinds)))
        own = layers[-1].output_shape(own)
    if len(own) == 3 and draw(st.booleans()):
        layers += [lj.Conv(3, 1), lj.GlobalMeanPool()]
    else:
        layers.append(lj.Dense(3))
    levels = len(layers) + 1
    weights = draw(st.lists(st.sampled_from([0.0, 0.5, 2.0]), min_size=levels, max_size=levels))
    names = draw(st.lists(st.sampled_from(list(combinators)), min_size=levels, max_size=levels))
    for i, above in enumerate(names[1:]):
        if above == "none" and names[i] in OF_U_ALONE:  # there is no u under a layer without ẑ
            names[i] = "gaussian"
    return lj.LadderConfig(
        tuple(layers),
        weights,
        combinator=names,
        top_scale=draw(st.booleans()),
        input_shape=shape,
        activation=draw(st.sampled_from(["relu", "leaky_relu"])),
        pool_ties=draw(st.sampled_from(["all", "first"])),
    )


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ladders(combinators=[*WITH_U, "none", "linear", "gaussian:no_u"]))
def test_encoder_and_decoder_agree_on_shapes(config):
    """By abstract evaluation: nothing is compiled, so many ladders can be tried."""
    variables = jax.eval_shape(lambda key: lj.init(config, key), jax.random.key(0))
    x_l, x_u = np.zeros((6, *config.input_shape)), np.zeros((9, *config.input_shape))
    y_l, noise = np.zeros(6, int), [np.zeros((15, *shape)) for shape in config.shapes]
    corrupted = jax.eval_shape(lambda v: lj.encode(config, v, x_l, x_u, noise), variables)
    z_hat = jax.eval_shape(lambda v, c: lj.decode(config, v, c), variables, corrupted)
    for i, shape in enumerate(config.shapes):
        assert corrupted.unlabelled.z[i].shape == (len(x_u), *shape)
        assert (z_hat[i] is None) == (i not in config.decoder_layers)
        assert z_hat[i] is None or z_hat[i].shape == (len(x_u), *shape)
    costs = jax.eval_shape(lambda v: lj.costs(config, v, x_l, y_l, x_u, noise), variables)
    assert {i for i, cost in enumerate(costs.denoising) if cost is not None} == set(
        config.cost_layers
    )
    layers = tuple(map(str, config.layers))
    assert lj.LadderConfig.from_json(config.to_json() | {"layers": layers}) == config


def check_gradient(config, seed):
    """At random values no parameter that was built is without effect on the total.

    Leaky, because all of a layer's few units may be dead.
    """
    config = dataclasses.replace(config, activation="leaky_relu")
    with jax.enable_x64(True):
        variables, batch = make_case(config, seed=seed)

        @jax.jit
        def total(params):
            costs = lj.costs(config, variables | {"params": params}, *batch)
            return costs.total, costs

        gradient, costs = jax.grad(total, has_aux=True)(variables["params"])
    assert all(np.isfinite(cost) for cost in jax.tree.leaves(costs))
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        name = jax.tree_util.keystr(path)
        assert np.isfinite(leaf).all(), name
        # The normalisation takes the scale out of a unit with a single weight.
        if not ("kernel" in name and math.prod(leaf.shape[:-1]) == 1):
            assert np.abs(leaf).max() > 1e-10, name


few = settings(
    max_examples=2, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


@few
@given(ladders(), st.integers(0, 1000))
def test_every_parameter_has_a_gradient_and_costs_are_finite(config, seed):
    check_gradient(config, seed)


@pytest.mark.slow
@settings(few, max_examples=15, derandomize=False)
@given(ladders(), st.integers(0, 1000))
def test_every_parameter_of_many_ladders_has_a_gradient(config, seed):
    check_gradient(config, seed)
