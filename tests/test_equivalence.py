"""The library against the NumPy reference, layer by layer, and its gradients."""

import jax
import numpy as np
import pytest
import reference_numpy as reference
from jax.test_util import check_grads

import ladder_jax as lj

LAYERS = (9, 7, 5, 4)
ROWS_L, ROWS_U = 8, 13
WEIGHTS = {
    "full": (3.0, 0.7, 1.3, 0.4, 0.9),
    "bottom": (5.0, 0, 0, 0, 0),
    "middle": (0, 0, 2.0, 0, 0),
    "gamma": (0, 0, 0, 0, 0.5),
    "baseline": (0, 0, 0, 0, 0),
}


def make_case(kind="full", dtype=np.float64, top_scale=True, seed=0):
    """Configuration, variables with every parameter at a random value, and a batch."""
    config = lj.LadderConfig(
        LAYERS,
        WEIGHTS[kind],
        input_noise=0.25,
        hidden_noise=(0.2, 0.35, 0.3, 0.15),
        top_scale=top_scale,
        input_shape=(6,),
    )
    rng = np.random.default_rng(seed)
    variables = lj.init(config, jax.random.key(seed))
    params = jax.tree.map(
        lambda leaf: (0.1 + 0.6 * rng.normal(size=leaf.shape)).astype(dtype), variables["params"]
    )
    x_l, x_u = (rng.normal(size=(rows, 6)).astype(dtype) for rows in (ROWS_L, ROWS_U))
    y_l = rng.integers(0, LAYERS[-1], ROWS_L)
    noise = tuple(
        rng.normal(size=(ROWS_L + ROWS_U, *shape)).astype(dtype) for shape in config.shapes
    )
    return config, variables | {"params": params}, (x_l, y_l, x_u, noise)


def reference_costs(config, params, batch):
    x_l, y_l, x_u, noise = batch
    return reference.costs(
        params, x_l, y_l, x_u, list(noise), config.noise_levels, config.denoising_weights
    )


def assert_close(got, want, tolerance):
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("noisy", [True, False], ids=["corrupted", "clean"])
def test_encoder_matches_reference_per_layer(precision, maybe_jit, noisy):
    dtype, tolerance = precision
    config, variables, (x_l, _, x_u, noise) = make_case(dtype=dtype)
    encode = maybe_jit(lambda *args: lj.encode(config, *args))
    got = encode(variables, x_l, x_u, noise if noisy else None)
    halves = {"labelled": (x_l, slice(None, ROWS_L)), "unlabelled": (x_u, slice(ROWS_L, None))}
    for half, (x, rows) in halves.items():
        want = reference.encode(
            variables["params"], x, [n[rows] for n in noise] if noisy else None, config.noise_levels
        )
        part = getattr(got, half)
        for i in range(len(config.shapes)):
            assert part.z[i].dtype == dtype
            assert_close(part.z[i], want["z"][i], tolerance)
            assert_close(part.h[i], want["h"][i], tolerance)
            if i > 0:
                assert_close(part.mean[i], want["mean"][i], tolerance)
                assert_close(part.var[i], want["var"][i], tolerance)
        assert_close(part.logits, want["logits"], tolerance)


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("top_scale", [True, False])
def test_costs_match_reference(precision, maybe_jit, kind, top_scale):
    dtype, tolerance = precision
    config, variables, batch = make_case(kind, dtype, top_scale)
    got = maybe_jit(lambda *args: lj.costs(config, *args))(variables, *batch)
    want = reference_costs(config, variables["params"], batch)
    assert_close(got.supervised, want["supervised"], tolerance)
    assert_close(got.total, want["total"], tolerance)
    assert got.total.dtype == dtype
    for i, weight in enumerate(config.denoising_weights):
        if weight:
            assert_close(got.denoising[i], want["denoising"][i], tolerance)
        else:
            assert got.denoising[i] is None


@pytest.mark.parametrize("kind", ["full", "bottom", "middle", "gamma"])
def test_reconstructions_match_reference(precision, maybe_jit, kind):
    dtype, tolerance = precision
    config, variables, (x_l, _, x_u, noise) = make_case(kind, dtype)
    corrupted = lj.encode(config, variables, x_l, x_u, noise)
    got = maybe_jit(lambda *args: lj.decode(config, *args))(variables, corrupted)
    corrupted_u = reference.encode(
        variables["params"], x_u, [n[ROWS_L:] for n in noise], config.noise_levels
    )
    want = reference.decode(variables["params"], corrupted_u, config.decoder_layers[0])
    for i in range(len(config.shapes)):
        if i in config.decoder_layers:
            assert_close(got[i], want["z_hat"][i], tolerance)
        else:
            assert got[i] is None
            assert want["z_hat"][i] is None


@pytest.mark.slow
@pytest.mark.parametrize("kind", WEIGHTS)
def test_gradient_by_check_grads(x64, kind):
    config, variables, batch = make_case(kind)

    def total(params):
        return lj.costs(config, variables | {"params": params}, *batch).total

    check_grads(total, (variables["params"],), order=1, modes=["rev"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["full", "gamma"])
def test_gradient_matches_finite_differences_of_the_reference(x64, kind):
    """Would catch a stop-gradient: the reference has none to offer."""
    config, variables, batch = make_case(kind)

    def total(params):
        return lj.costs(config, variables | {"params": params}, *batch).total

    gradient = jax.grad(total)(variables["params"])
    leaves, tree = jax.tree.flatten(variables["params"])
    step = 1e-6
    for k, (leaf, slope) in enumerate(zip(leaves, jax.tree.leaves(gradient), strict=True)):
        direction = np.random.default_rng(k).normal(size=leaf.shape)

        def shifted(sign, k=k, direction=direction):
            moved = list(leaves)
            moved[k] = leaves[k] + sign * step * direction
            return reference_costs(config, jax.tree.unflatten(tree, moved), batch)["total"]

        numeric = (shifted(1) - shifted(-1)) / (2 * step)
        np.testing.assert_allclose(np.sum(slope * direction), numeric, rtol=1e-5, atol=1e-7)
