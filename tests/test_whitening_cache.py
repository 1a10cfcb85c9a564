"""The fit on disk: used when it is sound, replaced when not, never in the way."""

import concurrent.futures
import errno
import io
import os
import warnings

import numpy as np
import pytest

from ladder_jax.data import from_arrays, prepare, whitening

SHAPE, N = (3, 2), 40
SIZE = 6
ROWS = np.arange(0, N, 2)


def dataset(x=None):
    if x is None:
        x = np.random.default_rng(0).integers(0, 256, (N, *SHAPE), dtype=np.uint8)
    return from_arrays(x, np.arange(len(x)) % 2, preprocessing="gcn_zca")


@pytest.fixture
def fits(monkeypatch):
    """Counts the fits."""
    counted = []
    fit = whitening.fit_whitening
    monkeypatch.setattr(
        whitening, "fit_whitening", lambda *a, **k: counted.append(1) or fit(*a, **k)
    )
    return counted


def stored(folder):
    [path] = folder.iterdir()  # and no left-over temporary file
    assert path.name.startswith("whitening-") and path.suffix == ".npz"
    return path


def test_second_time_comes_from_the_file(tmp_path, fits):
    first, _ = prepare(dataset(), ROWS, tmp_path)
    second, transform = prepare(dataset(), ROWS[::-1], tmp_path)
    assert len(fits) == 1
    np.testing.assert_array_equal(first.x_train, second.x_train)
    np.testing.assert_array_equal(transform(dataset().x_train), first.x_train)
    with np.load(stored(tmp_path), allow_pickle=False) as file:
        assert file["mean"].shape == (SIZE,) and file["matrix"].shape == (SIZE, SIZE)


def test_anything_the_fit_depends_on_is_in_the_key(tmp_path, fits, monkeypatch):
    x = dataset().x_train
    other = x.copy()
    other[ROWS[3], 0, 0] ^= 1
    prepare(dataset(), ROWS, tmp_path)
    prepare(dataset(other), ROWS, tmp_path)
    prepare(dataset(x.astype(np.float32)), ROWS, tmp_path)
    prepare(dataset(x.reshape(N, 2, 3)), ROWS, tmp_path)
    prepare(dataset(), ROWS[1:], tmp_path)
    for name, value in (("NORM", 54.0), ("REGULARISATION", 0.2), ("_FORMAT", -1)):
        with monkeypatch.context() as patch:
            patch.setattr(whitening, name, value)
            prepare(dataset(), ROWS, tmp_path)
    assert len(fits) == len(list(tmp_path.iterdir())) == 8
    held_out = x.copy()
    held_out[1::2] ^= 255
    prepare(dataset(held_out), ROWS, tmp_path)
    assert len(fits) == 8


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


MEAN, MATRIX = np.zeros(SIZE), np.eye(SIZE)
GOOD = npz(mean=MEAN, matrix=MATRIX)
FLIPPED = bytes(byte ^ (position == 400) for position, byte in enumerate(GOOD))


@pytest.mark.parametrize(
    "content",
    [
        b"", b"no zip file", GOOD[:-30], GOOD[:300], FLIPPED,
        npz(mean=MEAN), npz(mean=MEAN, matrix=MATRIX[:5]), npz(mean=MEAN[:1], matrix=MATRIX),
        npz(mean=MEAN, matrix=MATRIX.astype(np.float32)), npz(mean=MEAN * np.nan, matrix=MATRIX),
        npz(mean=MEAN, matrix=np.array([[{}] * SIZE] * SIZE)),
    ],
    ids=["empty", "text", "cut_end", "cut_start", "bit", "part", "shape", "mean", "float32", "nan",
         "pickle"],
)  # fmt: skip
def test_damaged_file_is_replaced(tmp_path, fits, content):
    expected, _ = prepare(dataset(), ROWS, tmp_path)
    path = stored(tmp_path)
    path.write_bytes(content)
    again, _ = prepare(dataset(), ROWS, tmp_path)
    np.testing.assert_array_equal(again.x_train, expected.x_train)
    prepare(dataset(), ROWS, tmp_path)
    assert len(fits) == 2
    assert stored(tmp_path) == path


class Planted:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_nothing_in_the_file_is_executed(tmp_path, fits):
    prepare(dataset(), ROWS, tmp_path / "cache")
    planted = np.array([Planted(tmp_path / "planted")] * SIZE, dtype=object)
    stored(tmp_path / "cache").write_bytes(npz(mean=planted, matrix=MATRIX))
    prepare(dataset(), ROWS, tmp_path / "cache")
    assert len(fits) == 2 and not (tmp_path / "planted").exists()


def test_where_it_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("LADDER_CACHE_DIR", raising=False)
    prepare(dataset(), ROWS)
    stored(tmp_path / "home" / ".cache" / "ladder_jax")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    prepare(dataset(), ROWS)
    stored(tmp_path / "xdg" / "ladder_jax")
    monkeypatch.setenv("LADDER_CACHE_DIR", "~/own")
    prepare(dataset(), ROWS)
    stored(tmp_path / "home" / "own")
    prepare(dataset(), ROWS, str(tmp_path / "argument"))
    stored(tmp_path / "argument")


@pytest.mark.parametrize("place", ["file/below", "~no-such-user-here/cache"])
def test_unusable_folder_is_only_warned_of(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="cache folder .*LADDER_CACHE_DIR") as caught:
        prepared, _ = prepare(dataset(), ROWS, place)
    [warning] = caught
    assert place in str(warning.message) and "\n" not in str(warning.message)
    assert warning.filename == __file__
    expected, _ = prepare(dataset(), ROWS, tmp_path / "good")
    np.testing.assert_array_equal(prepared.x_train, expected.x_train)


def test_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    prepare(dataset(), ROWS, tmp_path)
    path = stored(tmp_path)
    path.write_bytes(b"older")

    def full(file, **arrays):
        file.write(b"a part")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.warns(UserWarning, match="No space left on device"):
        prepare(dataset(), ROWS, tmp_path)
    assert stored(tmp_path).read_bytes() == b"older"


def test_several_at_once(tmp_path):
    """Readers see a whole file at any moment, and writers do not meet in one temporary file."""
    whitening.save_whitening(tmp_path, "key", MEAN, MATRIX)

    def write(_):
        whitening.save_whitening(tmp_path, "key", MEAN, MATRIX)
        return True

    def read(_):
        return whitening.load_whitening(tmp_path, "key", SIZE) is not None

    with warnings.catch_warnings(), concurrent.futures.ThreadPoolExecutor(8) as pool:
        warnings.simplefilter("error")
        results = [pool.submit((write, read)[job % 2], job) for job in range(400)]
        assert all(result.result() for result in results)
    stored(tmp_path)
