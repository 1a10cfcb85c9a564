"""What LadderClassifier is made of: scaling, lists of rows, choice of the network, labels."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ladder_jax as lj
from ladder_jax.estimator import defaults as choices
from ladder_jax.estimator import labels as unlabelled
from ladder_jax.estimator import padding as buckets
from ladder_jax.estimator.scaling import fit_scaling

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(500, 3), (40, 5, 4, 3)])
def test_standard_scaling_is_of_columns_or_channels(shape):
    x = RNG.normal(size=shape) * [1, 1e-6, 1e6] + [0, 5, -1e7]
    scaled = fit_scaling(x, "standard")(x)
    axes = tuple(range(x.ndim - 1))
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled.mean(axes), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(axes), 1, rtol=1e-5)


def test_range_and_none():
    x = RNG.normal(size=(50, 3)) * 7
    scaled = fit_scaling(x, "range")(x)
    np.testing.assert_allclose(scaled.min(0), 0, atol=1e-6)
    np.testing.assert_allclose(scaled.max(0), 1, rtol=1e-6)
    np.testing.assert_array_equal(fit_scaling(x, "none")(x), x.astype(np.float32))
    with pytest.raises(lj.ConfigError, match=r"^scaling=log: choose one of: standard, range, none"):
        fit_scaling(x, "log")


@pytest.mark.parametrize("kind", ["standard", "range"])
def test_a_constant_column_is_zero_everywhere(kind):
    """Also 0.1, whose mean is not 0.1 in floating point."""
    scaling = fit_scaling(np.full((30, 1), 0.1), kind)
    np.testing.assert_array_equal(scaling(np.array([[0.1], [0.2], [1e9]])), 0)


def test_a_value_far_from_the_training_rows_is_an_error():
    scaling = fit_scaling(RNG.normal(size=(50, 2)), "standard")
    with pytest.raises(lj.DataError, match=r"^X: row 1 has a value too far"):
        scaling(np.array([[0, 0], [1e300, 0]]))


@pytest.mark.parametrize("kind", ["standard", "range"])
def test_values_too_large_to_scale_are_one_clear_error(kind):
    x = np.array([[1.0, 1e308], [2.0, -1e308], [3.0, 5.0]])
    with warnings.catch_warnings(), pytest.raises(lj.DataError, match=r"^X: column 1 .* too large"):
        warnings.simplefilter("error")
        fit_scaling(x, kind)


@given(st.integers(2, 9000), st.data())
def test_every_row_occurs_equally_often_or_once_more(rows, data):
    labelled = np.arange(data.draw(st.integers(1, min(rows, 300)))) * (rows // 300 or 1) % rows
    labelled = np.unique(labelled)
    split = buckets.epoch_split(labelled, rows, 100, 64, seed=rows)
    assert np.unique(split.labelled).tolist() == labelled.tolist()
    for found, count in ((split.train, rows), (split.labelled, len(labelled))):
        times = np.unique(found, return_counts=True)[1]
        assert len(times) == count
        assert times.max() - times.min() <= 1
        assert times.min() >= 4 or (rows > buckets.LARGEST and found is split.train)
    assert split.validation.size == 0


def test_lists_are_permutations_one_after_the_other():
    """Sorted rows would fill whole minibatches with one class."""
    split = buckets.epoch_split(np.arange(100), 100, 100, 64, seed=0)
    for start in (0, 100):
        part = split.train[start : start + 100]
        assert np.sort(part).tolist() == list(range(100)) != part.tolist()
    first = split.labelled[:100]
    assert np.sort(first).tolist() == list(range(100)) != first.tolist()


def test_few_shapes():
    def shapes(rows, labelled):
        split = buckets.epoch_split(np.arange(labelled), rows, 100, 64, seed=0)
        return buckets.padded_rows(rows), len(split.train), len(split.labelled)

    found = {shapes(n, n // 10) for n in range(20, buckets.LARGEST, 7)}
    assert len(found) < 25
    assert shapes(150, 15) == shapes(170, 16)
    exact = shapes(buckets.LARGEST + 1, 100)
    assert exact == (buckets.LARGEST + 1, buckets.LARGEST + 1, 512)


def test_padding_and_blocks():
    x = RNG.normal(size=(300, 2, 2))
    padded = buckets.padded(x)
    assert padded.shape == (512, 2, 2)
    np.testing.assert_array_equal(padded[:300], x)
    seen = []

    def double(block):
        seen.append(len(block))
        return 2 * block

    for rows in (300, 64, 1, 0):
        np.testing.assert_array_equal(buckets.in_blocks(double, x[:rows], 64), 2 * x[:rows])
    assert set(seen) == {64}


def test_networks():
    mlp = choices.network(None, None, (7,), 3)
    assert [str(layer) for layer in mlp.layers] == ["dense:100", "dense:50", "dense:3"]
    assert mlp.denoising_weights == (*choices.WEIGHTS[:2], *[choices.WEIGHTS[2]] * 2)
    assert mlp.noise_levels == (0.1, 0.3, 0.3, 0.3)
    deep = choices.network("20, 10, 5", None, (7,), 3)
    assert len(deep.denoising_weights) == 5
    conv = choices.network(["conv:8:3", "globalmean"], (1, 0, 0, 0), (9, 9, 1), 4)
    assert str(conv.layers[-1]) == "dense:4"
    assert conv.denoising_weights == (1, 0, 0, 0)
    with pytest.raises(lj.ConfigError, match=r"^layers=\(\): needs at least one hidden"):
        choices.network((), None, (7,), 3)


@pytest.mark.parametrize("name", choices.NETWORKS)
def test_networks_of_the_paper_with_other_classes(name):
    row = lj.presets.get(choices.NETWORKS[name]).config
    assert choices.network(name, None, row.input_shape, 10) == row
    noisy = choices.network(name, None, row.input_shape, 10, input_noise=0.7, hidden_noise=None)
    assert noisy.noise_levels == (0.7, *row.noise_levels[1:])
    other = choices.network(name, None, (28, 28, 3), 4)
    assert other.num_classes == 4
    assert len(other.layers) == len(row.layers)
    assert not [layer for layer in other.layers if "10" in str(layer).split(":")]


def test_images_take_the_small_network():
    assert choices.network(None, None, (28, 28, 1), 10) == choices.network(
        "conv_small", None, (28, 28, 1), 10
    )


@pytest.mark.parametrize(
    ("y", "empty", "expected"),
    [
        ([0, -1, 2], -1, [1, 0, 1]),
        ([0, -1, 2], None, [1, 1, 1]),
        ([0.0, np.nan, 2.0], np.nan, [1, 0, 1]),
        (["a", "", "b"], -1, [1, 0, 1]),
        (["a", None, "b"], -1, [1, 0, 1]),
        (["a", "?", "b"], "?", [1, 0, 1]),
        ([3, None, 5], -1, [1, 0, 1]),
        ([3, None, -1], -1, [1, 0, 0]),
        ([True, False, True], -1, [1, 1, 1]),
        (np.array([0, 255, 2], np.uint8), -1, [1, 1, 1]),
        (["-1", "a", "b"], -1, [0, 1, 1]),
        (np.array(["a", "b", "-1"]), -1, [1, 1, 0]),
        (np.array(["a", "b", "-1"]), None, [1, 1, 1]),
    ],
)
def test_rows_without_a_label(y, empty, expected):
    mask = unlabelled.has_label(unlabelled.as_array(y), empty)
    assert mask.tolist() == [bool(value) for value in expected]


def test_pandas_labels():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    for series in (
        pandas.Series(["a", None, "b"]),
        pandas.Series(["a", pandas.NA, "b"], dtype="string"),
        pandas.Series(["a", None, "b"], dtype="category"),
        pandas.Series([1, None, 2], dtype="Int64"),
    ):
        y = unlabelled.as_array(series)
        mask = unlabelled.has_label(y, -1)
        assert mask.tolist() == [True, False, True]
        assert unlabelled.known_labels(y, mask).tolist() in (["a", "b"], [1, 2])


def test_no_label_at_all_and_mixed_labels():
    with pytest.raises(lj.DataError, match=r"^y: none of its 2 rows has a label"):
        unlabelled.has_label(np.array([-1, -1]), -1)
    y = unlabelled.as_array(["a", 1, None])
    with pytest.raises(lj.DataError, match="make them alike"):
        unlabelled.known_labels(y, unlabelled.has_label(y, -1))
