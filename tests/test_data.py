"""IDX files, the named data sets, downloads, and arrays: right contents, or one clear line."""

import gzip
import hashlib
import io
import os
import struct
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from ladder_jax.data import download, from_arrays, load
from ladder_jax.data.idx import read_idx
from ladder_jax.errors import ConfigError, DataError

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
TRAIN_ROWS, TEST_ROWS = 20, 10


def _real_mnist():
    roots = [os.environ.get("LADDER_DATA_DIR"), Path(__file__).parents[2] / "shared" / "data"]
    folders = [Path(root) / "mnist" for root in roots if root]
    complete = [f for f in folders if all((f / f"{name}.gz").is_file() for name in NAMES)]
    return complete[0] if complete else None


REAL = _real_mnist()
needs_real = pytest.mark.skipif(
    REAL is None, reason="no original MNIST files in LADDER_DATA_DIR/mnist or ../shared/data/mnist"
)


@pytest.fixture(autouse=True)
def _own_folders(monkeypatch, tmp_path):
    # What the person who runs the tests has set or cached must not answer for the code.
    monkeypatch.delenv("LADDER_DATA_DIR", raising=False)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))


def idx_bytes(array, shape=None, type_code=8):
    shape = array.shape if shape is None else shape
    header = bytes([0, 0, type_code, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    return header + array.tobytes()


def images(rows, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (rows, 28, 28), dtype=np.uint8)


def labels(rows):
    return (np.arange(rows) % 10).astype(np.uint8)


def write_mnist(folder, zipped=True, dot=False, **replaced):
    """Writes the four files of a small set; keywords replace one array each."""
    arrays = {
        "train_images": images(TRAIN_ROWS),
        "train_labels": labels(TRAIN_ROWS),
        "test_images": images(TEST_ROWS, seed=1),
        "test_labels": labels(TEST_ROWS),
    } | replaced
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(NAMES, arrays.values(), strict=True):
        name = name.replace("-idx", ".idx") if dot else name
        content = idx_bytes(array)
        path = folder / (f"{name}.gz" if zipped else name)
        path.write_bytes(gzip.compress(content, 1) if zipped else content)
    return folder


def error_of(function, *args, kind=DataError, **kwargs):
    with pytest.raises(kind) as caught:
        function(*args, **kwargs)
    text = str(caught.value)
    assert "\n" not in text
    return text


# --- IDX -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("shape", [(7,), (3, 2), (2, 5, 4), (2, 3, 2, 2)])
def test_idx_round_trip(tmp_path, shape, zipped):
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    content = idx_bytes(array)
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(content) if zipped else content)
    np.testing.assert_array_equal(read_idx(path), array)
    assert read_idx(path).dtype == np.uint8


def test_unpacked_file_that_kept_its_gz_name(tmp_path):
    path = tmp_path / "labels.gz"
    path.write_bytes(idx_bytes(labels(5)))
    np.testing.assert_array_equal(read_idx(path), labels(5))


WHOLE = idx_bytes(images(3))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not an IDX file"),
        (b"<html>404</html>", "not an IDX file .starts with b'<htm'"),
        (idx_bytes(np.zeros(4, np.float32), type_code=0x0D), "type 0x0d is not supported"),
        (b"\0\0\x08\0", "0 dimensions"),
        (b"\0\0\x08\x05" + b"\0" * 20, "5 dimensions"),
        (WHOLE[:10], "truncated inside the header"),
        (WHOLE[:-1], "truncated: 3x28x28 = 2352 bytes announced, 2351 found"),
        (WHOLE + b"x", "trailing bytes"),
        (b"\0\0\x08\x01\0\0\0\0", "holds no values"),
        (gzip.compress(WHOLE[:-1]), "truncated: 3x28x28 = 2352 bytes announced, 2351 found"),
        (gzip.compress(WHOLE + b"x"), "trailing bytes"),
        (gzip.compress(WHOLE)[:-20], "damaged or truncated gzip"),
        (gzip.compress(WHOLE)[:-8] + b"\0" * 8, "damaged or truncated gzip"),
        (b"\x1f\x8bnot really gzip", "damaged or truncated gzip"),
        (gzip.compress(WHOLE)[:10] + b"\xff" * 40, "damaged or truncated gzip"),
    ],
    # gzip writes the time into its header, and test names must be equal in every test process
    ids=lambda value: "file" if isinstance(value, bytes) else None,
)
def test_damaged_idx_is_named(tmp_path, content, says):
    path = tmp_path / "damaged-file"
    path.write_bytes(content)
    with pytest.raises(DataError, match=says) as caught:
        read_idx(path)
    assert "damaged-file" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_absent_file_and_folder(tmp_path):
    assert "cannot be read" in error_of(read_idx, tmp_path / "absent")
    assert "cannot be read" in error_of(read_idx, tmp_path)


def _peak_of_error(path):
    tracemalloc.start()
    try:
        text = error_of(read_idx, path)
        return text, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("shape", [(2**31, 28, 28), (2**32 - 1,) * 4])
def test_sizes_in_the_header_are_not_allocated(tmp_path, shape, zipped):
    content = idx_bytes(images(3), shape=shape)
    path = tmp_path / "huge"
    path.write_bytes(gzip.compress(content) if zipped else content)
    text, peak = _peak_of_error(path)
    assert "header announces" in text
    assert peak < 2**20


def test_plausible_size_that_is_not_there_is_not_allocated(tmp_path):
    """Half a gigabyte could be in a gzip file of this size, so only reading it tells."""
    noise = np.random.default_rng(0).integers(0, 256, 600_000, dtype=np.uint8)
    path = tmp_path / "large"
    path.write_bytes(gzip.compress(idx_bytes(noise, shape=(500_000_000,)), 1))
    text, peak = _peak_of_error(path)
    assert "truncated" in text
    assert peak < 2**23


def test_gzip_bomb_is_read_no_further_than_announced(tmp_path):
    path = tmp_path / "bomb"
    path.write_bytes(gzip.compress(idx_bytes(labels(1000)) + bytes(2**24), 1))
    text, peak = _peak_of_error(path)
    assert "trailing bytes" in text
    assert peak < 2**22


# --- MNIST from a folder -------------------------------------------------------------------------


@pytest.mark.parametrize("inner", ["mnist", "."])
@pytest.mark.parametrize(("zipped", "dot"), [(True, False), (False, False), (False, True)])
def test_mnist_from_a_folder(tmp_path, inner, zipped, dot):
    write_mnist(tmp_path / inner, zipped, dot)
    data = load("mnist", tmp_path)
    np.testing.assert_array_equal(data.x_train, images(TRAIN_ROWS)[..., None])
    np.testing.assert_array_equal(data.y_train, labels(TRAIN_ROWS))
    np.testing.assert_array_equal(data.x_test, images(TEST_ROWS, seed=1)[..., None])
    np.testing.assert_array_equal(data.y_test, labels(TEST_ROWS))
    assert data.x_train.dtype == np.uint8
    assert data.y_train.dtype == data.y_test.dtype == np.int32
    assert data.input_shape == (28, 28, 1)
    assert (data.name, data.num_classes, data.num_train) == ("mnist", 10, TRAIN_ROWS)
    assert data.scale == pytest.approx(1 / 255)


def test_argument_before_environment_and_empty_means_not_given(tmp_path, monkeypatch):
    write_mnist(tmp_path / "a")
    write_mnist(tmp_path / "b", train_images=images(5), train_labels=labels(5))
    monkeypatch.setenv("LADDER_DATA_DIR", str(tmp_path / "b"))
    assert load("mnist").num_train == 5
    assert load("mnist", "").num_train == 5
    assert load("mnist", tmp_path / "a").num_train == TRAIN_ROWS


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_mnist(tmp_path / "files")
    assert load("mnist", "~/files").num_train == TRAIN_ROWS


def test_missing_folder_and_missing_files(tmp_path):
    text = error_of(load, "mnist", tmp_path / "nowhere")
    assert "nowhere" in text and "no such folder" in text
    text = error_of(load, "mnist", tmp_path)
    assert str(tmp_path) in text and all(name in text for name in NAMES)
    folder = write_mnist(tmp_path / "mnist")
    (folder / f"{NAMES[1]}.gz").unlink()
    text = error_of(load, "mnist", tmp_path)
    assert NAMES[1] in text and NAMES[0] not in text


@pytest.mark.parametrize(
    ("replaced", "says"),
    [
        ({"train_images": labels(20), "train_labels": images(20)}, "swap the two names"),
        ({"test_labels": labels(9)}, "t10k-labels.*: 9 labels, but 10 images in .*t10k-images"),
        ({"test_images": np.zeros((10, 32, 32), np.uint8)}, r"\(10, 32, 32\), expected images"),
        ({"test_images": np.zeros((10, 784), np.uint8)}, r"\(10, 784\), expected images"),
        ({"train_labels": np.zeros((20, 1), np.uint8)}, "train-labels.*expected labels"),
        ({"train_labels": np.full(20, 10, np.uint8)}, "label 10 in row 0"),
    ],
)
def test_mixed_up_files_are_named(tmp_path, replaced, says):
    write_mnist(tmp_path, **replaced)
    with pytest.raises(DataError, match=says):
        load("mnist", tmp_path)


def test_unknown_name():
    assert error_of(load, "mnits", kind=ConfigError).startswith("dataset=mnits: choose one of")


# --- MNIST through the download manager ----------------------------------------------------------


class FakeNetwork:
    """Stands below both the probe and the download manager; keeps the methods asked for."""

    def __init__(self, monkeypatch, answer):
        self.methods = []
        requests = pytest.importorskip("requests")
        pytest.importorskip("tensorflow_datasets")

        def send(_, request, **kwargs):
            self.methods.append(request.method)
            response = requests.Response()
            response.url, response.request, response.status_code = request.url, request, 200
            response.raw = io.BytesIO(answer(request))
            return response

        monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)


def _refuse(request):
    import requests

    raise requests.ConnectionError("Name or service not known")


def _serve(request):
    return b"" if request.method == "HEAD" else (REAL / request.url.split("/")[-1]).read_bytes()


def test_no_network_is_one_line_with_both_ways_out(monkeypatch, capfd, tmp_path):
    network = FakeNetwork(monkeypatch, _refuse)
    text = error_of(load, "mnist")
    assert network.methods == ["HEAD"]  # one try: the manager's own retries take minutes
    for part in ("--data_dir", "LADDER_DATA_DIR", "connect to the network", "digits.py", *NAMES):
        assert part in text
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.rglob("*.tmp.*"))


def test_silent_network_is_given_up(monkeypatch):
    release = threading.Event()
    FakeNetwork(monkeypatch, lambda request: release.wait(20) and b"")
    monkeypatch.setattr(download, "PROBE_SECONDS", 0.1)
    start = time.monotonic()
    assert "no answer from storage.googleapis.com" in error_of(load, "mnist")
    assert time.monotonic() - start < 5
    release.set()


def test_wrong_download_is_refused(monkeypatch, capfd):
    network = FakeNetwork(
        monkeypatch, lambda request: b"" if request.method == "HEAD" else b"proxy page"
    )
    assert "wrong checksum" in error_of(load, "mnist")
    assert network.methods == ["HEAD", "GET"]  # nothing still runs that would delay the exit
    assert capfd.readouterr() == ("", "")


@needs_real
def test_download_once_then_the_cache(monkeypatch, capfd):
    network = FakeNetwork(monkeypatch, _serve)
    first = load("mnist")
    assert network.methods == ["HEAD"] + ["GET"] * 4
    FakeNetwork(monkeypatch, _refuse)
    assert load("mnist").fingerprint() == first.fingerprint()
    assert capfd.readouterr() == ("", "")


@needs_real
def test_manual_dir_needs_no_network(monkeypatch):
    network = FakeNetwork(monkeypatch, _refuse)
    data = load("mnist", manual_dir=REAL)
    assert network.methods == []
    assert data.x_train.shape == (60000, 28, 28, 1) and data.x_test.shape == (10000, 28, 28, 1)
    assert np.bincount(data.y_train).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert data.x_train.mean() / 255 == pytest.approx(0.1307, abs=1e-4)
    assert data.fingerprint() == load("mnist", REAL.parent).fingerprint()


def test_manual_dir_is_checked(tmp_path, monkeypatch):
    network = FakeNetwork(monkeypatch, _refuse)
    text = error_of(load, "mnist", manual_dir=write_mnist(tmp_path / "own"))
    assert "wrong checksum" in text and "own" in text
    assert f"{NAMES[0]}.gz" in error_of(load, "mnist", manual_dir=tmp_path / "empty")
    assert network.methods == []


def test_two_folders_are_one_too_many(tmp_path):
    text = error_of(load, "mnist", tmp_path, manual_dir=tmp_path, kind=ConfigError)
    assert text.startswith("manual_dir=")


def test_unusable_cache_folder(monkeypatch, tmp_path):
    pytest.importorskip("tensorflow_datasets")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "file"))
    text = error_of(load, "mnist")
    assert str(tmp_path / "file") in text and "--data_dir" in text


def test_folder_works_without_tensorflow_datasets(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    write_mnist(tmp_path)
    assert load("mnist", tmp_path).num_train == TRAIN_ROWS
    text = error_of(load, "mnist")
    assert "pip install tensorflow-datasets" in text and "--data_dir" in text


# --- digits --------------------------------------------------------------------------------------


def test_digits_split_is_fixed_stratified_and_complete():
    datasets = pytest.importorskip("sklearn.datasets")
    data = load("digits", data_dir="/a/folder/that/does/not/matter")
    assert data.x_train.shape == (1297, 8, 8, 1) and data.x_test.shape == (500, 8, 8, 1)
    assert data.x_train.dtype == np.uint8 and data.x_train.max() == 16
    assert data.scale == 1 / 16
    assert hashlib.sha256(data.x_test.tobytes()).hexdigest()[:16] == "05994fbfaf6fb83b"

    values, classes = datasets.load_digits(return_X_y=True)
    share = np.bincount(classes) * 500 / 1797
    assert (abs(np.bincount(data.y_test) - share) < 1).all()

    def rows(x, y):
        return sorted(zip(map(bytes, x.reshape(len(x), -1)), y.tolist(), strict=True))

    together = rows(data.x_train, data.y_train) + rows(data.x_test, data.y_test)
    assert sorted(together) == rows(values.astype(np.uint8), classes)


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert "pip install scikit-learn" in error_of(load, "digits")


# --- arrays --------------------------------------------------------------------------------------

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
