"""Arrays given by the caller: a data set, or one clear line."""

import numpy as np
import pytest
from idx_files import error_of

from ladder_jax.data import from_arrays
from ladder_jax.errors import DataError

X, Y = np.arange(24.0).reshape(6, 4), [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (np.uint8, np.uint8), (bool, np.uint8), (np.float32, np.float32), (np.float64, np.float64),
        (np.float16, np.float32), (np.int64, np.float32), (">f4", np.float32), (">f8", np.float64),
    ],
)  # fmt: skip
def test_dtypes(given, kept):
    data = from_arrays(X.astype(given), Y)
    assert data.x_train.dtype == kept and data.x_train.dtype.isnative
    np.testing.assert_array_equal(data.x_train, X.astype(given))


def test_arrays_become_a_dataset():
    data = from_arrays(X[:, ::2].tolist(), np.array([0.0, 1, -1, 3, -1, 1]), X[:1, :2], [3])
    assert data.num_classes == 4 and data.input_shape == (2,) and data.num_train == 6
    assert data.y_train.tolist() == [0, 1, -1, 3, -1, 1] and data.y_train.dtype == np.int32
    assert from_arrays(X[:, ::2], Y).x_train.flags.c_contiguous
    assert from_arrays(X, Y).x_test is None and from_arrays(X, Y).y_test is None
    assert from_arrays(X, Y, num_classes=7).num_classes == 7
    mixed = from_arrays(X.astype(np.uint8), Y, X.astype(np.float32), Y)
    assert mixed.x_train.dtype == mixed.x_test.dtype == np.float32


def _with(value):
    x = X.copy()
    x[4, 1] = value
    return x


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((X[:, 0], Y), "x_train: shape .6,. has no feature axis"),
        (([[1, 2], [3]], [0, 1]), "x_train: not an array; all rows must have the same shape"),
        ((X.astype(str), Y), "x_train: dtype <U32 is not numeric"),
        ((X.astype(complex), Y), "x_train: dtype complex128 is not numeric"),
        ((X.astype(object), Y), "x_train: dtype object is not numeric"),
        ((X[:0], []), "x_train: shape .0, 4. holds no values"),
        ((_with(np.nan), Y), "x_train: NaN or infinity in row 4"),
        ((_with(-np.inf), Y), "x_train: NaN or infinity in row 4"),
        ((X, Y[:5]), "y_train: 5 labels for 6 rows of x_train"),
        ((X, [[label] for label in Y]), "y_train: shape .6, 1., expected one class number"),
        ((X, ["a"] * 6), "y_train: dtype <U1 is not numeric"),
        ((X, [0, 1, 0.5, 0, 1, 1]), "y_train: 0.5 is not a whole number"),
        ((X, [0, 1, np.nan, 0, 1, 1]), "y_train: NaN or infinity in row 2"),
        ((X, [0, 1, -2, 0, 1, 1]), "y_train: label -2 is outside 0..1"),
        ((X, [0] * 6), "num_classes=1: must be from 2"),
        ((X, [-1] * 6), "y_train: every label is below 0"),
        ((X, [0, 1, 2**40, 0, 1, 1]), "num_classes=1099511627777: must be from 2"),
        ((X, Y, X), "one of them is None; give both"),
        ((X, Y, None, Y), "one of them is None; give both"),
        ((X, Y, X[:, :3], Y), "x_test: rows of shape .3,., but x_train has rows of shape .4,."),
        ((X, Y, X, [0, 1, 2, 0, 1, -1]), "y_test: label -1 is outside 0..2 .every test row"),
        ((X, Y, X, [0, 1, 2, 0, 1, 3]), "y_test: label 3 is outside 0..2 .*num_classes"),
        ((X, Y, X, Y[:5]), "y_test: 5 labels for 6 rows of x_test"),
        ((X, Y, _with(np.inf), Y), "x_test: NaN or infinity in row 4"),
    ],
)
def test_unusable_arrays(args, says):
    with pytest.raises(DataError, match=says) as caught:
        from_arrays(*args)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "setting",
    [{"num_classes": 2}, {"num_classes": 1}, {"num_classes": 3.0}, {"num_classes": True},
     {"scale": 0}, {"scale": -1}, {"scale": float("nan")}, {"scale": "1"}],
)  # fmt: skip
def test_unusable_settings(setting):
    error_of(from_arrays, X, Y, **setting)


def test_fingerprint_follows_the_contents_and_nothing_else():
    base = from_arrays(X, Y, X, Y)
    assert base.fingerprint() == from_arrays(X.copy(), list(Y), X, Y, name="other").fingerprint()
    others = [
        from_arrays(_with(99.0), Y, X, Y),
        from_arrays(X, Y[::-1], X, Y),
        from_arrays(X, Y, _with(99.0), Y),
        from_arrays(X, Y, X, Y[::-1]),
        from_arrays(X, Y),
        from_arrays(X.reshape(6, 2, 2), Y, X.reshape(6, 2, 2), Y),
        from_arrays(X.astype(np.float32), Y, X.astype(np.float32), Y),
        from_arrays(X, Y, X, Y, num_classes=4),
        from_arrays(X, Y, X, Y, scale=0.5),
    ]
    assert len({data.fingerprint() for data in [base, *others]}) == len(others) + 1
