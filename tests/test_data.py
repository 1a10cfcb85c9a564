"""The named data sets and downloads: right contents, or one clear line."""

import hashlib
import io
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from idx_files import NAMES, TEST_ROWS, TRAIN_ROWS, error_of, images, labels, write_mnist

from ladder_jax.data import download, load
from ladder_jax.errors import ConfigError, DataError


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
