"""Preprocessed data sets: fitted on the training part, applied to all rows alike."""

import dataclasses
import hashlib

import numpy as np
import pytest
from idx_files import error_of
from whitening_by_hand import SHAPE, D, M, N, dataset, images, zca_by_hand

from ladder_jax.data import from_arrays, prepare, whitening


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("LADDER_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture(params=[5000, 7], ids=["one_block", "blocks"])
def block(request, monkeypatch):
    """Rows in one block, and in blocks that do not divide them."""
    monkeypatch.setattr(whitening, "_BLOCK", request.param)


def close(x, expected):
    """Equal up to the rounding of the result to float32."""
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, expected, rtol=1.2e-7, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_prepared_data(block, dtype):
    data = dataset(images(N + M).astype(dtype))
    before = data.fingerprint()
    rows = np.random.default_rng(1).permutation(N)[:45]
    prepared, transform = prepare(data, rows)
    close(prepared.x_train, zca_by_hand(data.x_train, data.x_train[rows]))  # held-out rows too
    close(prepared.x_test, zca_by_hand(data.x_test, data.x_train[rows]))
    further = images(11, seed=5)
    close(transform(further), zca_by_hand(further, data.x_train[rows]))
    np.testing.assert_array_equal(transform(data.x_train), prepared.x_train)
    assert transform(further[:0]).shape == (0, *SHAPE)
    assert (prepared.scale, prepared.preprocessing, prepared.name) == (1.0, None, "small")
    assert prepared.y_train is data.y_train and prepared.y_test is data.y_test
    assert prepared.num_classes == 4
    assert data.fingerprint() == before


def test_fit_sees_training_rows_only(tmp_path):
    x = images(N + M)
    rows = np.arange(0, N, 2)
    first, _ = prepare(dataset(x), rows, tmp_path / "a")
    others = x.copy()
    others[1:N:2] = 255 - others[1:N:2]
    others[N:] = others[N:] // 2
    second, _ = prepare(dataset(others), rows, tmp_path / "b")
    np.testing.assert_array_equal(first.x_train[rows], second.x_train[rows])
    assert (first.x_train[1::2] != second.x_train[1::2]).any()
    third, _ = prepare(dataset(x), np.arange(1, N, 2))
    assert abs(first.x_train - third.x_train).max() > 0.1


def test_order_of_the_rows_changes_no_bit_of_a_new_fit(tmp_path):
    rows = np.random.default_rng(2).permutation(N)
    one, _ = prepare(dataset(), rows, cache_dir=tmp_path / "a")
    two, _ = prepare(dataset(), np.sort(rows), cache_dir=tmp_path / "b")
    np.testing.assert_array_equal(one.x_train, two.x_train)


def test_without_preprocessing_nothing_happens(tmp_path):
    data = dataset(preprocessing=None, scale=0.5)
    prepared, transform = prepare(data, np.arange(3))
    assert prepared is data
    np.testing.assert_array_equal(transform(data.x_test), data.x_test)
    assert not list(tmp_path.iterdir())


def test_no_test_set():
    data = from_arrays(images(N), np.arange(N) % 2, preprocessing="gcn_zca")
    prepared, _ = prepare(data, np.arange(N))
    assert prepared.x_test is None and prepared.y_test is None


@pytest.mark.parametrize(
    ("rows", "says"),
    [([], "at least one row"), ([0.5], "whole numbers"), ([True], "whole numbers"),
     ([0, N], f"row {N} is outside 0..{N - 1}"), ([-1, 3], "row -1 is outside")],
)  # fmt: skip
def test_unusable_training_rows(rows, says):
    text = error_of(prepare, dataset(), rows)
    assert text.startswith("training_rows: ") and says in text


def test_rows_of_another_shape_are_refused():
    _, transform = prepare(dataset(), np.arange(N))
    text = error_of(transform, np.zeros((5, D)))
    assert "(5, 24)" in text and "(rows, 4, 3, 2)" in text
    error_of(transform, images(1)[0])


def test_settings_of_a_dataset():
    assert (
        dataset().preprocessing == "gcn_zca" and dataset(preprocessing=None).preprocessing is None
    )
    assert error_of(dataset, preprocessing="zca").startswith("preprocessing=zca: ")
    assert "gcn_zca" in error_of(dataset, preprocessing="zca")
    assert error_of(dataset, scale=1 / 255).startswith("scale=")
    odd = dataclasses.replace(dataset(), preprocessing="pca")
    assert error_of(prepare, odd, np.arange(N)).startswith("preprocessing=pca: ")


def test_fingerprint_is_the_old_one_unless_there_is_preprocessing():
    plain = dataset(preprocessing=None)
    digest = hashlib.sha256(b"4 1.0")
    for array in (plain.x_train, plain.y_train, plain.x_test, plain.y_test):
        digest.update(f"{array.shape} {array.dtype.str}".encode() + array.tobytes())
    assert plain.fingerprint() == digest.hexdigest()[:16]
    assert dataset().fingerprint() != plain.fingerprint()
    assert dataset().fingerprint() == dataset(name="other").fingerprint()
