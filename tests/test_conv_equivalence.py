"""Ladders of every kind of layer and combinator against the NumPy reference.

Compiling is what takes time here: each network is compiled once per precision.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_combinators
import reference_numpy as reference
from conv_cases import (
    COMBINATORS,
    NETS,
    ROWS_L,
    for_reference,
    make_case,
    make_config,
    options,
    reference_costs,
)

import ladder_jax as lj
from ladder_jax.combinators import parse_combinator

slow = pytest.mark.slow


def assert_close(got, want, tolerance):
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


def settings(net):
    """Both activations and both kinds of top are among the networks."""
    return {
        "activation": "relu" if net in ("pools", "dense_on_image", "strides") else "leaky_relu",
        "top_scale": net not in ("mean_top", "even_kernel"),
    }


@pytest.mark.parametrize(
    ("net", "dtype", "tolerance"),
    [
        (net, np.float64, 1e-9)
        if net in ("pools", "dense_on_image", "strides", "large_kernel")
        else pytest.param(net, np.float64, 1e-9, marks=slow)
        for net in NETS
    ]
    + [("strides", np.float32, 2e-5)]
    + [pytest.param(net, np.float32, 2e-5, marks=slow) for net in ("pools", "dense_on_image")],
)
def test_every_layer_matches_reference(net, dtype, tolerance):
    """z, h and moments of both passes and halves, reconstructions and costs."""
    with jax.enable_x64(dtype == np.float64):
        config = make_config(net, **settings(net))
        variables, batch = make_case(config, dtype)
        x_l, _, x_u, noise = batch

        @jax.jit
        def everything(variables, x_l, y_l, x_u, noise):
            corrupted = lj.encode(config, variables, x_l, x_u, noise)
            clean = lj.encode(config, variables, x_l, x_u)
            z_hat = lj.decode(config, variables, corrupted)
            return corrupted, clean, z_hat, lj.costs(config, variables, x_l, y_l, x_u, noise)

        corrupted, clean, z_hat, costs = everything(variables, *batch)
    params = for_reference(config, variables["params"])
    for encoding, draws in ((corrupted, noise), (clean, None)):
        for half, x, rows in (
            ("labelled", x_l, slice(0, ROWS_L)),
            ("unlabelled", x_u, slice(ROWS_L, None)),
        ):
            own = None if draws is None else [n[rows] for n in draws]
            want = reference.encode(params, x, own, config.noise_levels, **options(config))
            part = getattr(encoding, half)
            for i in range(len(config.shapes)):
                assert part.z[i].shape[1:] == config.shapes[i]
                assert part.z[i].dtype == dtype
                assert_close(part.z[i], want["z"][i], tolerance)
                assert_close(part.h[i], want["h"][i], tolerance)
                if i > 0:
                    assert_close(part.mean[i], want["mean"][i], tolerance)
                    assert_close(part.var[i], want["var"][i], tolerance)
            if half == "unlabelled" and draws is not None:
                names = [*config.combinators]
                found = reference.decode(
                    params, want, 0, layers=options(config)["layers"], combinators=names
                )
                for own_z, ref_z in zip(z_hat, found["z_hat"], strict=True):
                    assert_close(own_z, ref_z, tolerance)
    want = reference_costs(config, variables["params"], batch)
    assert_close(costs.supervised, want["supervised"], tolerance)
    assert_close(costs.total, want["total"], tolerance)
    assert costs.total.dtype == dtype
    for own, ref in zip(costs.denoising, want["denoising"], strict=True):
        assert_close(own, ref, tolerance)


@pytest.mark.parametrize(
    "net",
    [net if net == "pools" else pytest.param(net, marks=slow) for net in NETS],
)
def test_gradient_matches_finite_differences_of_the_reference(x64, net):
    """Along a random direction in each parameter; also catches a missing or stopped gradient."""
    # Leaky, because a dead channel has no variance to speak of and slopes of 1e10.
    config = make_config(net, activation="leaky_relu")
    variables, batch = make_case(config)

    @jax.jit
    def gradient(params):
        return jax.grad(
            lambda params: lj.costs(config, variables | {"params": params}, *batch).total
        )(params)

    leaves, tree = jax.tree.flatten(variables["params"])
    slopes = jax.tree.leaves(gradient(variables["params"]))
    step = 1e-6
    for k, (leaf, slope) in enumerate(zip(leaves, slopes, strict=True)):
        direction = np.random.default_rng(k).normal(size=leaf.shape)

        def shifted(sign, k=k, direction=direction):
            moved = list(leaves)
            moved[k] = leaves[k] + sign * step * direction
            return reference_costs(config, jax.tree.unflatten(tree, moved), batch)["total"]

        numeric = (shifted(1) - shifted(-1)) / (2 * step)
        assert np.abs(slope).max() > 0
        np.testing.assert_allclose(np.sum(slope * direction), numeric, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", COMBINATORS)
def test_combinators_match_reference_per_unit_and_per_channel(precision, name):
    dtype, tolerance = precision
    combinator = parse_combinator(name)
    rng = np.random.default_rng(0)
    for shape in ((5, 7), (4, 3, 2, 6)):
        a = rng.normal(size=(len(combinator.start), shape[-1])).astype(dtype)
        z, u = (rng.normal(size=shape).astype(dtype) for _ in range(2))
        entry = reference_combinators.resolve(COMBINATORS[name])
        want = entry(z, u if combinator.uses_u else None, a)
        got = combinator.apply(jnp.asarray(a), z, u if combinator.uses_u else None)
        assert got.dtype == dtype
        assert_close(got, want, tolerance)
        assert reference_combinators.uses_u(entry) == combinator.uses_u


@pytest.mark.parametrize("name", reference_combinators.START)
def test_combinators_start_as_the_original(name):
    own = parse_combinator(name)
    assert list(own.start) == list(reference_combinators.START[name])
    if name in reference_combinators.START_WITHOUT_U:
        without = parse_combinator(f"{name}:no_u")
        assert list(without.start) == list(reference_combinators.START_WITHOUT_U[name])
    start = own.init(jax.random.key(0), 3)
    assert (start == np.array(own.start).reshape(-1, 1)).all()


@pytest.mark.parametrize(
    ("names", "weights"),
    [
        (("gaussian", "none", "vanilla", "gaussian"), (3, 0.7, 1.3, 0.4)),
        (("none", "linear", "gaussian", "identity"), (3, 0.7, 1.3, 0.4)),
        (("gaussian", "relu", "mlp:2:2", "none"), (2, 0, 0, 0.4)),
        (("gaussian", "gaussian:no_u", "none", "sigmoid"), (0, 0.7, 1, 0.4)),
        (("gaussian", "vanilla", "augmented_mlp:4", "sigmoid"), (0, 0, 1, 0)),
    ],
)
def test_one_combinator_per_layer_matches_reference(x64, names, weights):
    config = make_config("dense_on_image", weights, combinator=names)
    variables, batch = make_case(config)
    got = jax.jit(lambda *args: lj.costs(config, *args))(variables, *batch)
    want = reference_costs(config, variables["params"], batch)
    assert_close(got.total, want["total"], 1e-9)
    costs = tuple(i for i in range(4) if weights[i] > 0 and names[i] != "none")
    assert config.cost_layers == costs
    for i in range(4):
        assert (got.denoising[i] is None) == (i not in costs)
        if i in costs:
            assert_close(got.denoising[i], want["denoising"][i], 1e-9)


def test_layer_without_combinator_has_no_reconstruction_and_gives_no_u():
    config = make_config("dense_on_image", combinator=("gaussian", "none", "gaussian", "gaussian"))
    decoder = lj.init(config, jax.random.key(0))["params"]["decoder"]
    assert set(decoder) == {"layer_0", "layer_2", "layer_3"}
    assert decoder["layer_0"]["combinator"].shape == (2, 2)  # w and b per channel: no u
    assert set(decoder["layer_2"]) == {"combinator"}  # nothing below to lead down to
    assert config.decoder_layers == (0, 2, 3)


def test_nothing_is_built_that_no_cost_reads():
    """The combinator of layer 1 ignores u, so λ(0) and λ(1) need nothing above it."""
    names = ("gaussian", "linear", "gaussian", "gaussian")
    config = make_config("dense_on_image", (1, 1, 0, 0), combinator=names)
    assert config.decoder_layers == (0, 1)
    params = lj.init(config, jax.random.key(0))["params"]
    assert set(params["decoder"]) == {"layer_0", "layer_1"}
    assert set(params["decoder"]["layer_1"]) == {"combinator", "kernel"}


def test_mlp_weights_start_spread_out_and_biases_at_zero():
    start = parse_combinator("mlp:4").init(jax.random.key(0), 2000)
    assert start.shape == (2 * 4 + 4 + 4 + 1, 2000)
    biases = [8, 9, 10, 11, 16]
    for row, values in enumerate(start):
        assert (float(values.std()) == 0) == (row in biases)
        assert abs(float(values.mean())) < 0.1
