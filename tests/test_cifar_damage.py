"""Damaged CIFAR-10 files: one clear line, at once and without memory taken for them."""

import gzip
import os
import tarfile
import tracemalloc

import pytest
from cifar_files import (
    ARCHIVE,
    FOLDER,
    NAMES,
    RECORD,
    content,
    header,
    tar_bytes,
    write_archive,
    write_folder,
)
from idx_files import error_of

from ladder_jax.data import load
from ladder_jax.data.files import read_cifar10
from ladder_jax.errors import DataError


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, r"no data_batch_3.bin in it; .*binary version"),
        (b"", "data_batch_3.bin: empty"),
        (content(2)[:-1], "data_batch_3.bin: 12291 bytes, not a multiple of 3073"),
        (content(2) + b"x", "data_batch_3.bin: 12293 bytes, not a multiple of 3073"),
        (content(2) + b"\x0a" + bytes(3072), "data_batch_3.bin: label 10 in record 4"),
    ],
    ids=["missing", "empty", "short", "long", "label"],
)
def test_damaged_file_is_named(tmp_path, archived, value, says):
    write = write_archive if archived else write_folder
    path = write(tmp_path, data_batch_3=value)
    with pytest.raises(DataError, match=says) as caught:
        load("cifar10", tmp_path)
    text = str(caught.value)
    assert str(path) in text and ARCHIVE in text and "\n" not in text
    assert "data_batch_2" not in text and "test_batch" not in text


def test_nothing_there(tmp_path):
    text = error_of(load, "cifar10", tmp_path / "nowhere")
    assert "nowhere: no such folder" in text and FOLDER in text
    (tmp_path / FOLDER).mkdir()
    text = error_of(load, "cifar10", tmp_path)
    assert f"data_dir={tmp_path}" in text and FOLDER in text and ARCHIVE in text
    (tmp_path / FOLDER / NAMES[5]).write_bytes(content(5))
    text = error_of(load, "cifar10", tmp_path)
    assert all(name in text for name in NAMES[:5]) and NAMES[5] not in text
    assert "cannot be read" in error_of(read_cifar10, tmp_path / "absent.tar.gz")


def test_every_cut_of_an_archive_is_noticed(tmp_path):
    whole = write_archive(tmp_path).read_bytes()
    for size in [0, 1, 2, 9, 10, 18, *range(19, len(whole), len(whole) // 20), len(whole) - 1]:
        (tmp_path / ARCHIVE).write_bytes(whole[:size])
        text = error_of(load, "cifar10", tmp_path)
        assert ("truncated" if size else "no data_batch_1.bin") in text
    (tmp_path / ARCHIVE).write_bytes(whole[:-8] + bytes(8))
    assert "damaged" in error_of(load, "cifar10", tmp_path)  # only gzip's checksum tells
    (tmp_path / ARCHIVE).write_bytes(whole[:10] + b"\xff" * 40)
    assert "damaged" in error_of(load, "cifar10", tmp_path)
    (tmp_path / ARCHIVE).write_bytes(b"<html>404</html>" * 100)
    assert "not a tar header" in error_of(load, "cifar10", tmp_path)


def test_unzipped_archive_that_ends_early(tmp_path):
    raw = tar_bytes()
    for size in (100, 512 + 100, 512 * 30 + 5):
        (tmp_path / ARCHIVE).write_bytes(raw[:size])
        assert "damaged or truncated" in error_of(load, "cifar10", tmp_path)
    (tmp_path / ARCHIVE).write_bytes(raw[: len(raw) // 512 * 256])
    error_of(load, "cifar10", tmp_path)
    broken = bytearray(raw)
    broken[20] ^= 1  # one bit of the first name: only the header's own checksum tells
    (tmp_path / ARCHIVE).write_bytes(broken)
    assert "not a tar header" in error_of(load, "cifar10", tmp_path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, b"S"])
def test_links_and_devices_are_not_followed(tmp_path, kind):
    outside = tmp_path / "outside.bin"
    outside.write_bytes(content(0))
    link = header(f"{FOLDER}/{NAMES[0]}", kind=kind, linkname=str(outside))
    write_archive(tmp_path, before=[(link, b"")], data_batch_1=None)
    assert f"no {NAMES[0]} in it" in error_of(load, "cifar10", tmp_path)


@pytest.mark.parametrize("folder", ["elsewhere", f"backup/{FOLDER}", f"{FOLDER}/old", "..", ""])
def test_files_of_another_folder_do_not_count(tmp_path, folder):
    value = content(0)
    other = header(f"{folder}/{NAMES[0]}", len(value))
    write_archive(tmp_path, before=[(other, value)], data_batch_1=None)
    assert f"no {NAMES[0]} in it" in error_of(load, "cifar10", tmp_path)


# --- Sizes that are not to be believed -----------------------------------------------------------


def peak_of_error(folder):
    tracemalloc.start()
    try:
        text = error_of(load, "cifar10", folder)
        return text, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_huge_file_is_not_read(tmp_path):
    write_folder(tmp_path)
    os.truncate(tmp_path / NAMES[1], 2**20 * RECORD)  # sparse: takes no room on the disk
    text, peak = peak_of_error(tmp_path)
    assert f"{NAMES[1]}: {2**20 * RECORD} bytes, more than all of CIFAR-10" in text
    assert peak < 2**20


@pytest.mark.parametrize("size", [2**20 * RECORD, 1000 * RECORD, 2**60, -512])
@pytest.mark.parametrize("name", [f"{FOLDER}/{NAMES[0]}", "other"])
@pytest.mark.parametrize("kind", [b"0", b"L", b"x", b"S", b"7"])
def test_announced_size_is_not_believed(tmp_path, size, name, kind):
    """Sizes that are not there: refused or missed at the end, at once and without memory."""
    start = header(name, size, kind).tobuf(tarfile.GNU_FORMAT)
    (tmp_path / ARCHIVE).write_bytes(gzip.compress(start + tar_bytes()))
    text, peak = peak_of_error(tmp_path)
    assert "truncated" in text or "sensible" in text
    assert peak < 2**23


@pytest.mark.parametrize("where", ["wanted", "unwanted", "behind"])
def test_gzip_bomb_is_left_early(tmp_path, monkeypatch, where):
    """300 MB of zeros in 1.3 MB: no more than the limit is unpacked, and next to nothing kept."""
    zeros = bytes(300 * 2**20)
    if where == "behind":
        raw = tar_bytes() + zeros
    else:
        name = f"{FOLDER}/{NAMES[0]}" if where == "wanted" else "other"
        raw = header(name, len(zeros)).tobuf(tarfile.GNU_FORMAT) + zeros
    (tmp_path / ARCHIVE).write_bytes(gzip.compress(raw, 1))
    del zeros, raw
    unpacked = []
    read = gzip.GzipFile.read
    monkeypatch.setattr(
        gzip.GzipFile, "read", lambda *args: unpacked.append(len(got := read(*args))) or got
    )
    text, peak = peak_of_error(tmp_path)
    assert "sensible" in text
    assert sum(unpacked) < (2**20 if where == "wanted" else 260 * 2**20)
    assert peak < 2**23
