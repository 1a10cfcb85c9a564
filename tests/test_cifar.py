"""CIFAR-10 from its binary files or the archive: right contents, or one clear line."""

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from cifar_files import (
    ARCHIVE,
    FOLDER,
    NAMES,
    RECORD,
    content,
    header,
    part,
    write_archive,
    write_folder,
)
from idx_files import error_of

from ladder_jax.data import download, load
from ladder_jax.data.files import read_cifar10
from ladder_jax.errors import ConfigError

GIVEN = os.environ.get("LADDER_DATA_DIR")  # before the tests' own setting


@pytest.fixture(autouse=True)
def _own_folders(monkeypatch, tmp_path):
    # What the person who runs the tests has set or cached must not answer for the code.
    monkeypatch.delenv("LADDER_DATA_DIR", raising=False)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))


@pytest.fixture
def cifar_dir():
    """Folder of genuine CIFAR-10 files; the test is skipped where there is none."""
    for folder in (GIVEN, Path(__file__).parents[2] / "shared" / "data"):
        if folder and (Path(folder) / FOLDER).is_dir():
            return Path(folder)
    pytest.skip(f"no CIFAR-10 files: set LADDER_DATA_DIR to a folder that holds {FOLDER}/")


def check_small_set(data):
    x, y = zip(*(part(number) for number in range(5)), strict=True)
    np.testing.assert_array_equal(data.x_train, np.concatenate(x))
    np.testing.assert_array_equal(data.y_train, np.concatenate(y))
    np.testing.assert_array_equal(data.x_test, part(5)[0])
    np.testing.assert_array_equal(data.y_test, part(5)[1])
    assert data.x_train.dtype == data.x_test.dtype == np.uint8
    assert data.y_train.dtype == data.y_test.dtype == np.int32
    assert (data.name, data.num_classes, data.scale) == ("cifar10", 10, 1.0)
    assert data.preprocessing == "gcn_zca"


# --- Right contents ------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", [FOLDER, "."])
def test_folder(tmp_path, monkeypatch, inner):
    write_folder(tmp_path / inner)
    check_small_set(load("cifar10", tmp_path))
    monkeypatch.setenv("LADDER_DATA_DIR", str(tmp_path))
    check_small_set(load("cifar10", ""))


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize(("prefix", "zipped"), [("", True), ("./", True), ("", False)])
def test_archive(tmp_path, form, prefix, zipped):
    other = content(4)
    before = [
        (header(FOLDER, kind=tarfile.DIRTYPE), b""),
        (header(f"{FOLDER}/readme.html", 1200, pax_headers={"comment": "é"}), b"<html>" * 200),
        (header(f"elsewhere/{NAMES[0]}", len(other)), other),
    ]
    write_archive(tmp_path, form, prefix, before, zipped=zipped)
    check_small_set(load("cifar10", tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [ARCHIVE]  # nothing was unpacked


def test_planes_are_red_green_blue_row_by_row(tmp_path):
    record = bytearray(RECORD)
    record[0] = 7
    for plane, value in enumerate((10, 20, 30)):
        record[1 + plane * 1024 + 2 * 32 + 5] = value  # row 2, column 5
    record[1 + 31 * 32] = 99  # red, last row, first column
    x_train, y_train, _, _ = read_cifar10(write_folder(tmp_path, data_batch_1=bytes(record)))
    expected = np.zeros((32, 32, 3), np.uint8)
    expected[2, 5] = 10, 20, 30
    expected[31, 0, 0] = 99
    np.testing.assert_array_equal(x_train[0], expected)
    assert y_train[0] == 7


def test_genuine_files(cifar_dir):
    data = load("cifar10", cifar_dir)
    assert data.x_train.shape == (50000, 32, 32, 3) and data.x_test.shape == (10000, 32, 32, 3)
    assert np.bincount(data.y_train).tolist() == [5000] * 10
    assert np.bincount(data.y_test).tolist() == [1000] * 10
    means = data.x_train.mean(axis=(0, 1, 2))
    np.testing.assert_allclose(means, [125.31, 122.95, 113.87], atol=0.005)


# --- Download ------------------------------------------------------------------------------------


@pytest.fixture
def no_network(monkeypatch):
    requests = pytest.importorskip("requests")
    pytest.importorskip("tensorflow_datasets")
    asked = []

    def send(_, request, **kwargs):
        asked.append((request.method, request.url))
        raise requests.ConnectionError("Name or service not known")

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    return asked


def test_address_is_the_one_with_a_known_checksum(no_network):
    checksums = pytest.importorskip("tensorflow_datasets.core.download.checksums")
    text = error_of(load, "cifar10")
    [(method, url)] = no_network
    assert method == "HEAD"
    assert checksums.get_all_url_infos()[url].size == 170052171
    for part_of_it in ("--data_dir", "LADDER_DATA_DIR", "network", "digits.py", ARCHIVE):
        assert part_of_it in text


def test_downloaded_archive_is_read(tmp_path, monkeypatch):
    archive = write_archive(tmp_path)
    asked = []
    monkeypatch.setattr(download, "fetch", lambda *args: asked.append(args) or [archive])
    check_small_set(load("cifar10"))
    check_small_set(load("cifar10", manual_dir="somewhere"))
    assert [(args[0], args[2], args[3]) for args in asked] == [
        ("cifar10", [ARCHIVE], None),
        ("cifar10", [ARCHIVE], "somewhere"),
    ]


def test_manual_dir_is_checked(tmp_path, no_network):
    path = write_archive(tmp_path)
    text = error_of(load, "cifar10", manual_dir=tmp_path)
    assert "wrong checksum" in text and str(path) in text
    assert ARCHIVE in error_of(load, "cifar10", manual_dir=tmp_path / "empty")
    assert error_of(load, "cifar10", tmp_path, tmp_path, kind=ConfigError).startswith("manual_dir=")
    assert no_network == []


def test_unknown_name_lists_the_choices():
    text = error_of(load, "cifar-10", kind=ConfigError)
    assert "cifar10, digits, mnist" in text
