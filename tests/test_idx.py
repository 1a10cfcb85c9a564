"""The IDX reader: right contents, or one clear line and no memory taken for it."""

import gzip
import tracemalloc

import numpy as np
import pytest
from idx_files import error_of, idx_bytes, images, labels

from ladder_jax.data.files import read_idx
from ladder_jax.errors import DataError


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
