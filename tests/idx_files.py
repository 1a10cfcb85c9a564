"""Small IDX files, and the one line that a broken one must end in."""

import gzip
import struct

import numpy as np
import pytest

from ladder_jax.errors import DataError

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
TRAIN_ROWS, TEST_ROWS = 20, 10


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
