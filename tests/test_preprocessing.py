"""Contrast normalisation and whitening against formulas written another way."""

import numpy as np
import pytest
from idx_files import error_of
from whitening_by_hand import SHAPE, D, N, gcn_by_hand, images

from ladder_jax.data import whitening
from ladder_jax.data.whitening import contrast_normalize, fit_whitening


@pytest.fixture(params=[5000, 7], ids=["one_block", "blocks"])
def block(request, monkeypatch):
    """Rows in one block, and in blocks that do not divide them."""
    monkeypatch.setattr(whitening, "_BLOCK", request.param)


# --- Contrast normalisation ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, np.int16])
def test_contrast_normalisation(dtype):
    x = images(5).astype(dtype)
    before = x.copy()
    done = contrast_normalize(x)
    assert done.shape == (5, D) and done.dtype == np.float64
    np.testing.assert_allclose(done, gcn_by_hand(x), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(contrast_normalize(x, norm=2.0), done * 2 / 55, rtol=1e-13)
    np.testing.assert_array_equal(x, before)


def test_contrast_normalisation_of_a_row_by_hand():
    # mean 2, deviations -2, 0, 0, 2, length sqrt(8)
    expected = [[-55 / np.sqrt(2), 0, 0, 55 / np.sqrt(2)]]
    np.testing.assert_allclose(contrast_normalize([[0, 2, 2, 4]]), expected, rtol=1e-15)


@pytest.mark.parametrize("value", [0, 255, 0.1, 1 / 3, 1e15 + 0.3])
def test_constant_image_stays_zero(value):
    x = np.stack([np.full(3072, value), np.linspace(0, 1, 3072)])
    done = contrast_normalize(x)
    assert not done[0].any()
    assert np.linalg.norm(done[1]) == pytest.approx(55, rel=1e-13)


def test_no_rows():
    assert contrast_normalize(np.zeros((0, *SHAPE), np.uint8)).shape == (0, D)


# --- Whitening -----------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [N, 10])  # also fewer rows than dimensions
def test_matrix_is_the_inverse_root_of_the_regularised_covariance(block, rows):
    x = gcn_by_hand(images(rows))
    mean, matrix = fit_whitening(x)
    covariance = np.cov(x, rowvar=False, bias=True)
    np.testing.assert_allclose(mean, x.mean(axis=0), rtol=1e-12, atol=1e-12)
    identity = matrix @ matrix @ (covariance + 0.1 * np.eye(D))
    np.testing.assert_allclose(identity, np.eye(D), atol=1e-10)
    np.testing.assert_array_equal(matrix, matrix.T)
    assert np.linalg.eigvalsh(matrix).min() > 0
    assert mean.dtype == matrix.dtype == np.float64


def test_variances_become_share_of_the_regularised_ones():
    x = gcn_by_hand(images(N))
    whitening = fit_whitening(x, regularisation=30.0)
    variance, U = np.linalg.eigh(np.cov(x, rowvar=False, bias=True))
    white = (x - whitening.mean) @ whitening.matrix
    in_the_basis = U.T @ np.cov(white, rowvar=False, bias=True) @ U
    np.testing.assert_allclose(in_the_basis, np.diag(variance / (variance + 30)), atol=1e-12)


def test_unusable_fits():
    assert "no rows" in error_of(fit_whitening, np.zeros((0, D)))
    for value in (0, -0.1, float("nan")):
        assert "regularisation=" in error_of(fit_whitening, np.ones((2, D)), value)
