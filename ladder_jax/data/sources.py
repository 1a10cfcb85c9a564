"""Loads named data sets: MNIST and CIFAR-10 from original files, digits from scikit-learn."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ladder_jax.data import download
from ladder_jax.data.dataset import Array, Dataset, from_arrays
from ladder_jax.data.files import CIFAR10_ARCHIVE, find_cifar10, read_cifar10, read_idx
from ladder_jax.errors import ConfigError, DataError
from ladder_jax.presets import DATASETS

_MNIST_URL = "https://storage.googleapis.com/cvdf-datasets/mnist/"
_MNIST_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
NAMES = tuple(DATASETS)
"""Names of the data sets that ``load`` knows."""

_CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/"
_DIGITS_ORDER = 20150709  # any constant; changing it changes every digits result

Folder = str | os.PathLike[str]


def load(name: str, data_dir: Folder | None = None, manual_dir: Folder | None = None) -> Dataset:
    """Loads a data set by name.

    "mnist": 60 000 training and 10 000 test images, (28, 28, 1) bytes, scale 1/255. It is read from
    `data_dir`, else from $LADDER_DATA_DIR, else tensorflow-datasets downloads and caches it.
    "cifar10": 50 000 training and 10 000 test images, (32, 32, 3) bytes, red, green, blue, with
    `preprocessing="gcn_zca"`, so `prepare` is applied before training. It is read like MNIST.
    "digits": 1297 training and 500 test images, (8, 8, 1) values 0..16, scale 1/16, included in
    scikit-learn (UCI optical recognition of handwritten digits); needs neither folder nor network.

    Args:
      name: "cifar10", "digits" or "mnist".
      data_dir: folder that holds `mnist/` or its four files themselves, .gz or not; for CIFAR-10
        `cifar-10-batches-bin/`, its six files themselves or `cifar-10-binary.tar.gz`. An empty
        string means None.
      manual_dir: folder with the original files (four .gz files; the archive), which
        tensorflow-datasets checks against its checksums instead of downloading them.

    Returns:
      The data; images have a channel axis.

    Raises:
      ConfigError: the name is unknown, or both folders are given.
      DataError: files are missing, damaged or not what their names say; there is no network; a
        required package is not installed.
    """
    if name == "digits":
        return _load_digits()
    if name not in NAMES:
        raise ConfigError("dataset", name, f"choose one of {', '.join(NAMES)}")
    if data_dir and manual_dir:
        raise ConfigError("manual_dir", manual_dir, f"data_dir={data_dir} is given too; drop one")
    if not manual_dir:
        data_dir = data_dir or os.environ.get("LADDER_DATA_DIR")
    folder = Path(data_dir).expanduser() if data_dir else None
    if name == "cifar10":
        if folder is not None:
            path = find_cifar10(folder)
        else:
            [path] = download.fetch(name, _CIFAR10_URL, [CIFAR10_ARCHIVE], manual_dir or None)
        return from_arrays(*read_cifar10(path), name=name, num_classes=10, preprocessing="gcn_zca")
    if folder is not None:
        paths = _find_mnist(folder)
    else:
        names = [f"{file}.gz" for file in _MNIST_NAMES]
        paths = download.fetch(name, _MNIST_URL, names, manual_dir or None)
    train, test = _mnist_part(*paths[:2]), _mnist_part(*paths[2:])
    return from_arrays(*train, *test, name=name, num_classes=10, scale=1 / 255)


def _find_mnist(data_dir: Path) -> list[Path]:
    """Returns the paths of MNIST's four files in a folder or in its subfolder mnist."""
    if not data_dir.is_dir():
        raise DataError(f"data_dir={data_dir}: no such folder; give one that holds mnist/")
    for folder in (data_dir / "mnist", data_dir):
        found = {name: path for name in _MNIST_NAMES if (path := _find_file(folder, name))}
        if found:
            break
    missing = [name for name in _MNIST_NAMES if name not in found]
    if missing:
        where = f"{folder}" if found else f"{data_dir / 'mnist'} and {data_dir}"
        raise DataError(
            f"data_dir={data_dir}: no {', '.join(missing)} (.gz or not) in {where}; put them there"
        )
    return list(found.values())


def _find_file(folder: Path, name: str) -> Path | None:
    """Returns the path of a file, gzipped or not, or None if it is absent."""
    stems = (name, name.replace("-idx", ".idx"))  # some mirrors have a dot there
    candidates = [folder / f"{stem}{ending}" for stem in stems for ending in (".gz", "")]
    return next((path for path in candidates if path.is_file()), None)


def _mnist_part(images_path: Path, labels_path: Path) -> tuple[Array, Array]:
    """Reads and checks the images and labels of the training or the test set."""
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.ndim == 1 and labels.ndim == 3:
        raise DataError(
            f"{images_path} holds labels and {labels_path} holds images; swap the two names"
        )
    if images.shape[1:] != (28, 28):
        raise DataError(f"{images_path}: shape {images.shape}, expected images (rows, 28, 28)")
    if labels.ndim != 1:
        raise DataError(f"{labels_path}: shape {labels.shape}, expected labels (rows,)")
    if len(images) != len(labels):
        raise DataError(
            f"{labels_path}: {len(labels)} labels, but {len(images)} images in {images_path}; "
            "the two files must belong together"
        )
    if labels.max() > 9:
        row = int(labels.argmax())
        raise DataError(
            f"{labels_path}: label {labels[row]} in row {row}, expected digits 0..9; "
            "fetch the original file"
        )
    return images[..., None], labels


def _load_digits() -> Dataset:
    """Loads scikit-learn's digits and splits them into training and test images."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError(
            "digits: the data are part of scikit-learn, which is not installed: "
            "pip install scikit-learn"
        ) from error
    values, labels = load_digits(return_X_y=True)
    images = values.reshape(-1, 8, 8, 1).astype(np.uint8)  # integers 0..16
    test = _stratified(labels, len(labels) - DATASETS["digits"].rows)
    return from_arrays(
        images[~test],
        labels[~test],
        images[test],
        labels[test],
        name="digits",
        num_classes=10,
        scale=1 / 16,
    )


def _stratified(labels: Array, rows: int) -> npt.NDArray[np.bool_]:
    """Returns a mask of `rows` rows that has each class in proportion, by largest remainders."""
    counts = np.bincount(labels)
    quotas, remainders = np.divmod(counts * rows, len(labels))
    short = rows - quotas.sum()
    quotas[np.argsort(-remainders, kind="stable")[:short]] += 1
    # NumPy promises that the raw output of PCG64 never changes, unlike its permutations.
    order = np.argsort(np.random.PCG64(_DIGITS_ORDER).random_raw(len(labels)), kind="stable")
    mask = np.zeros(len(labels), dtype=bool)
    for label, quota in enumerate(quotas):
        mask[order[labels[order] == label][:quota]] = True
    return mask
