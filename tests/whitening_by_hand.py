"""Small images and their preprocessing, written another way than in the library."""

import numpy as np

from ladder_jax.data import from_arrays

SHAPE, D, N, M = (4, 3, 2), 24, 60, 9


def images(rows, seed=0):
    """Bytes with unequal variances and some correlation, so that whitening has work to do."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(rows, D)) @ np.random.default_rng(99).normal(size=(D, D))
    return np.clip(128 + 12 * mixed, 0, 255).astype(np.uint8).reshape(rows, *SHAPE)


def dataset(x=None, **settings):
    x = images(N + M) if x is None else x
    y = np.arange(len(x)) % 4
    settings = {"preprocessing": "gcn_zca", "name": "small"} | settings
    return from_arrays(x[:N], y[:N], x[N:], y[N:], **settings)


def gcn_by_hand(x):
    """One image at a time: mean off, then length 55."""
    rows = []
    for image in np.asarray(x, dtype=np.float64).reshape(len(x), -1):
        deviation = image - sum(image) / len(image)
        length = np.linalg.norm(deviation)
        rows.append(55 * deviation / length if length else deviation)
    return np.array(rows)


def zca_by_hand(x_raw, fitted_on):
    """From the singular values of the centred data: Λ = S²/n, and 0 in every other direction."""
    g = gcn_by_hand(fitted_on)
    _, S, Vt = np.linalg.svd(g - g.mean(axis=0), full_matrices=True)
    variance = np.zeros(g.shape[1])
    variance[: len(S)] = S**2 / len(g)
    rotated = (gcn_by_hand(x_raw) - g.mean(axis=0)) @ Vt.T
    return ((rotated / np.sqrt(variance + 0.1)) @ Vt).reshape(x_raw.shape)
