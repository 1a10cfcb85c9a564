"""What must hold whatever the parameters: symmetries, independence, what is not computed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from test_equivalence import ROWS_L, ROWS_U, WEIGHTS, make_case

import ladder_jax as lj
from ladder_jax.ladder.costs import combine


def products(config, variables, batch):
    """Row counts of the matrix products in the jaxpr of the total cost."""
    jaxpr = jax.make_jaxpr(lambda v: lj.costs(config, v, *batch).total)(variables)
    found = []

    def visit(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "dot_general":
                found.append(equation.invars[0].aval.shape[0])
            for inner in jaxprs_in_params(equation.params):
                visit(inner)

    visit(jaxpr.jaxpr)
    return found


def test_corrupted_pass_is_the_clean_pass_at_zero_noise(x64):
    config, variables, (x_l, _, x_u, noise) = make_case()
    silent = [np.zeros_like(n) for n in noise]
    jax.tree.map(
        np.testing.assert_array_equal,
        lj.encode(config, variables, x_l, x_u, silent),
        lj.encode(config, variables, x_l, x_u),
    )


def test_noise_enters_every_layer(x64):
    config, variables, (x_l, _, x_u, noise) = make_case()
    clean = lj.encode(config, variables, x_l, x_u)
    for i in range(len(config.shapes)):
        only = [n if k == i else np.zeros_like(n) for k, n in enumerate(noise)]
        noisy = lj.encode(config, variables, x_l, x_u, only)
        np.testing.assert_allclose(
            noisy.unlabelled.z[i] - clean.unlabelled.z[i],
            config.noise_levels[i] * noise[i][ROWS_L:],
            atol=1e-12,
        )


def test_labelled_rows_do_not_touch_the_unlabelled_half(x64):
    config, variables, (x_l, y_l, x_u, noise) = make_case()
    one = lj.encode(config, variables, x_l, x_u, noise).unlabelled
    other = lj.encode(config, variables, x_l * 3 + 1, x_u, noise).unlabelled
    jax.tree.map(np.testing.assert_array_equal, one, other)
    before = lj.costs(config, variables, x_l, y_l, x_u, noise)
    after = lj.costs(config, variables, x_l * 3 + 1, y_l, x_u, noise)
    np.testing.assert_array_equal(before.denoising, after.denoising)
    assert before.supervised != after.supervised


def test_gradient_flows_through_clean_targets_and_their_moments(x64):
    config, variables, (x_l, y_l, x_u, noise) = make_case()

    def total(params, stop):
        own = variables | {"params": params}
        corrupted = lj.encode(config, own, x_l, x_u, noise)
        clean = lj.encode(config, own, None, x_u).unlabelled
        z_hat = lj.decode(config, own, corrupted)
        clean = clean._replace(
            **{name: jax.lax.stop_gradient(getattr(clean, name)) for name in stop}
        )
        return combine(config, corrupted.labelled.logits, y_l, x_u, clean, z_hat).total

    def slope(function):
        return jax.jit(jax.grad(function))(variables["params"])["encoder"]["layer_1"]["kernel"]

    ours = slope(
        lambda params: lj.costs(config, variables | {"params": params}, x_l, y_l, x_u, noise).total
    )
    np.testing.assert_allclose(ours, slope(lambda params: total(params, ())), rtol=1e-9)
    for name in ("z", "mean", "var"):
        stopped = slope(lambda params, name=name: total(params, (name,)))
        assert np.abs(stopped - ours).max() > 1e-3 * np.abs(ours).max(), name


def test_gamma_model_and_baseline_have_no_lower_decoder():
    full, gamma, baseline = (make_case(kind)[1]["params"] for kind in ("full", "gamma", "baseline"))
    assert set(full["decoder"]) == {f"layer_{i}" for i in range(5)}
    assert set(gamma["decoder"]) == {"layer_4"}
    assert set(gamma["decoder"]["layer_4"]) == {"combinator"}
    assert "decoder" not in baseline


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        # The encoder's four products over corrupted labelled, corrupted unlabelled and clean
        # unlabelled rows, then the decoder's over unlabelled rows.
        ("full", [ROWS_L + 2 * ROWS_U] * 4 + [ROWS_U] * 4),
        ("middle", [ROWS_L + 2 * ROWS_U] * 4 + [ROWS_U] * 2),
        ("gamma", [ROWS_L + 2 * ROWS_U] * 4),
        ("bottom", [ROWS_L + ROWS_U] * 4 + [ROWS_U] * 4),
        ("baseline", [ROWS_L] * 4),
    ],
)
def test_nothing_is_multiplied_that_no_cost_reads(kind, rows):
    config, variables, batch = make_case(kind, np.float32)
    assert products(config, variables, batch) == rows


def test_permuting_pixels_permutes_the_reconstruction_and_keeps_the_costs(x64):
    config, variables, (x_l, y_l, x_u, noise) = make_case()
    order = np.random.default_rng(5).permutation(6)
    params = jax.tree.map(np.asarray, variables["params"])
    encoder, decoder = dict(params["encoder"]), dict(params["decoder"])
    encoder["layer_1"] = encoder["layer_1"] | {"kernel": encoder["layer_1"]["kernel"][order]}
    decoder["layer_1"] = decoder["layer_1"] | {"kernel": decoder["layer_1"]["kernel"][:, order]}
    decoder["layer_0"] = {"combinator": decoder["layer_0"]["combinator"][:, order]}
    moved = variables | {"params": {"encoder": encoder, "decoder": decoder}}
    moved_noise = (noise[0][:, order], *noise[1:])
    z_hat = lj.decode(config, variables, lj.encode(config, variables, x_l, x_u, noise))
    moved_z_hat = lj.decode(
        config, moved, lj.encode(config, moved, x_l[:, order], x_u[:, order], moved_noise)
    )
    np.testing.assert_allclose(moved_z_hat[0], z_hat[0][:, order], rtol=1e-9, atol=1e-9)
    before = lj.costs(config, variables, x_l, y_l, x_u, noise)
    after = lj.costs(config, moved, x_l[:, order], y_l, x_u[:, order], moved_noise)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), before, after)


@pytest.mark.parametrize("kind", WEIGHTS)
def test_start_values(kind):
    """W, V ~ N(0, 1)/√(fan in); β 0, γ 1; a2 = a7 = 1, the other a 0."""
    config = lj.LadderConfig((400, 300), _three(WEIGHTS[kind]), input_shape=(500,))
    params = lj.init(config, jax.random.key(0))["params"]
    for name, fan_in in (("layer_1", 500), ("layer_2", 400)):
        layer = params["encoder"][name]
        assert abs(float(layer["kernel"].std()) * fan_in**0.5 - 1) < 0.01
        assert not layer["beta"].any()
    assert "gamma" not in params["encoder"]["layer_1"]
    assert (params["encoder"]["layer_2"]["gamma"] == 1).all()
    for name, layer in params.get("decoder", {}).items():
        start = np.array([0, 1, 0, 0, 0, 0, 1, 0, 0, 0])[:, None]
        assert (layer["combinator"] == start).all()
        if "kernel" in layer:
            fan_in = {"layer_1": 400, "layer_2": 300}[name]
            assert abs(float(layer["kernel"].std()) * fan_in**0.5 - 1) < 0.01


def _three(weights):
    return (weights[0], sum(weights[1:4]), weights[4])


def test_noise_draws_are_standard_normal_reproducible_and_distinct():
    config = lj.LadderConfig((600, 600), (1, 1, 1), input_shape=(600,))
    draws = lj.draw_noise(config, jax.random.key(1), 40, 60)
    assert [n.shape for n in draws] == [(100, 600)] * 3
    for draw in draws:
        assert abs(float(draw.mean())) < 0.02
        assert abs(float(draw.std()) - 1) < 0.02
    jax.tree.map(
        np.testing.assert_array_equal, draws, lj.draw_noise(config, jax.random.key(1), 40, 60)
    )
    assert jnp.abs(draws[0] - draws[1]).max() > 1


def test_wrong_shapes_are_refused_at_the_door():
    config, variables, (x_l, y_l, x_u, noise) = make_case()
    with pytest.raises(AssertionError):
        lj.costs(config, variables, x_l[:, :-1], y_l, x_u, noise)
    with pytest.raises(AssertionError):
        lj.costs(config, variables, x_l, y_l, x_u, noise[:-1])
    with pytest.raises(AssertionError):
        lj.encode(config, variables, x_l, x_u, tuple(n[:-1] for n in noise))
