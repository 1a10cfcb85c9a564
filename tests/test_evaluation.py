"""Population statistics, predictions, error rates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_numpy as reference
from conv_cases import for_reference, make_config, options
from conv_cases import make_case as make_conv_case
from test_equivalence import make_case

import ladder_jax as lj
from ladder_jax.ladder.network import running_statistics
from ladder_jax.train.evaluation import PREDICTION_ROWS


def test_population_statistics_match_reference(precision):
    dtype, tolerance = precision
    config, variables, _ = make_case(dtype=dtype)
    x = np.random.default_rng(1).normal(size=(60, 6)).astype(dtype)
    got = lj.population_statistics(config, variables, jnp.asarray(x), jnp.ones((), dtype), 20)
    want = reference.population_moments(variables["params"], np.split(x, 3))
    for i, own in enumerate(got, start=1):
        np.testing.assert_allclose(own.mean, want[i][0], rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(own.var, want[i][1], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("rows", "sizes"), [(41, [21, 20]), (101, [21] + [20] * 4), (3, [3]), (22, [11, 11])]
)
def test_no_row_is_left_out_of_population_statistics(x64, rows, sizes):
    config, variables, _ = make_case()
    x = np.random.default_rng(1).normal(size=(rows, 6))
    got = lj.population_statistics(config, variables, jnp.asarray(x), jnp.ones(()), 21)
    batches = np.split(x, np.cumsum(sizes)[:-1])
    want = reference.population_moments(variables["params"], batches)
    for i, own in enumerate(got, start=1):
        np.testing.assert_allclose(own.mean, want[i][0], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(own.var, want[i][1], rtol=1e-9)


def test_predictions_match_reference_with_fixed_statistics(x64):
    config, variables, _ = make_case()
    rng = np.random.default_rng(1)
    x_train, x = rng.normal(size=(60, 6)), rng.normal(size=(PREDICTION_ROWS + 7, 6))
    statistics = lj.population_statistics(config, variables, jnp.asarray(x_train), jnp.ones(()), 20)
    moments = reference.population_moments(variables["params"], np.split(x_train, 3))
    want = reference.encode(variables["params"], x, moments=moments)["h"][-1]
    got = lj.predict_proba(config, variables, x, statistics)
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(lj.predict(config, variables, x, statistics), want.argmax(-1))


def test_a_row_is_classified_alike_in_any_company(x64):
    """Test-batch statistics would fail here."""
    config, variables, _ = make_case()
    x = np.random.default_rng(1).normal(size=(30, 6))
    together = lj.predict_proba(config, variables, x)
    alone = lj.predict_proba(config, variables, x[:1])[0]
    np.testing.assert_allclose(alone, together[0], rtol=1e-9)
    moved = np.concatenate([x[:1], x[1:] * 100 + 7])
    among_others = lj.predict_proba(config, variables, moved)[0]
    np.testing.assert_allclose(among_others, together[0], rtol=1e-9)


def test_predict_takes_the_running_statistics_by_default(x64):
    config, variables, (x_l, *_) = make_case()
    tracked = lj.Ladder(config).apply(variables, x_l, method="track", mutable=["batch_stats"])[1]
    variables = variables | tracked
    got = lj.predict_proba(config, variables, x_l)
    want = lj.predict_proba(config, variables, x_l, running_statistics(variables))
    np.testing.assert_array_equal(got, want)
    before = lj.predict_proba(config, lj.init(config, jax.random.key(0)), x_l)
    assert np.abs(got - before).max() > 1e-3


def test_uint8_inputs_are_scaled():
    config, variables, _ = make_case(dtype=np.float32)
    x = np.arange(30, dtype=np.uint8).reshape(5, 6)
    np.testing.assert_allclose(
        lj.predict_proba(config, variables, x, scale=1 / 255),
        lj.predict_proba(config, variables, (x / 255).astype(np.float32)),
        rtol=1e-5,
    )


def test_error_percent():
    assert lj.error_percent([0, 1, 2, 3], np.array([0, 1, 0, 0])) == 50.0


def test_rows_of_the_wrong_size_are_refused_and_images_are_flattened(x64):
    config, variables, (x_l, *_) = make_case()
    with pytest.raises(lj.DataError, match=r"rows of \(6,\)"):
        lj.predict(config, variables, x_l[:, :-1])
    got = lj.predict_proba(config, variables, x_l.reshape(-1, 2, 3))
    np.testing.assert_array_equal(got, lj.predict_proba(config, variables, x_l))


def test_a_row_never_stands_alone_in_a_minibatch(x64):
    config, variables, _ = make_case()
    x = np.random.default_rng(1).normal(size=(3, 6))
    got = lj.population_statistics(config, variables, jnp.asarray(x), jnp.ones(()), 2)
    want = reference.population_moments(variables["params"], [x])
    np.testing.assert_allclose(got[0].var, want[1][1], rtol=1e-9)


def test_no_rows_give_no_predictions():
    config, variables, _ = make_case(dtype=np.float32)
    assert lj.predict(config, variables, np.zeros((0, 6), np.float32)).shape == (0,)


def test_statistics_of_convolutional_nets_match_the_reference(x64):
    """n/(n − 1) counts rows for images too: with three rows it is 1.5, with positions near 1."""
    config = make_config("mean_top", activation="leaky_relu", top_scale=False)
    variables, (_, _, x, _) = make_conv_case(config)
    params = for_reference(config, variables["params"])
    got = lj.population_statistics(config, variables, x, np.float64(1), 3)
    words = options(config)
    batches = [x[:3], x[3:6], x[6:]]
    want = reference.population_moments(params, batches, **words)
    for own, (mean, var) in zip(got, want[1:], strict=True):
        np.testing.assert_allclose(own.mean, mean, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(own.var, var, rtol=1e-9, atol=1e-9)
    fixed = [None, *((np.asarray(own.mean), np.asarray(own.var)) for own in got)]
    clean = reference.encode(params, x, moments=fixed, **words)
    probabilities = lj.predict_proba(config, variables, x, got)
    np.testing.assert_allclose(probabilities, clean["h"][-1], rtol=1e-9, atol=1e-9)
    # and along training
    tracked = variables
    for rows in batches:
        model = lj.Ladder(config)
        tracked = variables | model.apply(tracked, rows, method="track", mutable=["batch_stats"])[1]
    passes = [reference.encode(params, rows, **words) for rows in batches]
    for i in range(1, len(config.shapes)):
        mean, var = reference.running_moments([(p["mean"][i], p["var"][i], 3) for p in passes])
        own = tracked["batch_stats"][f"layer_{i}"]
        np.testing.assert_allclose(own["mean"], mean, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(own["var"], var, rtol=1e-9, atol=1e-9)
