"""Strict settings for all tests: no silent broadcasting, no unnoticed warning."""

import os
import signal
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np
import pytest

import ladder_jax as lj
from ladder_jax.storage.environment import make_room

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's "command &" in a script
    signal.signal(signal.SIGINT, signal.default_int_handler)

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True, scope="module")
def room_for_programs():
    """A worker of pytest compiles more programs than Linux lets one process hold."""
    make_room()


@pytest.fixture(autouse=True)
def handlers_of_signals():
    """What a command in this process installs ends with its test."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(params=["float64", "float32"])
def precision(request):
    """Runs a test in both precisions; gives the dtype and the tolerance to hold."""
    with jax.enable_x64(request.param == "float64"):
        yield np.dtype(request.param), {"float64": 1e-9, "float32": 2e-5}[request.param]


@pytest.fixture(params=["jit", "no_jit"])
def maybe_jit(request):
    """``jax.jit`` and the identity."""
    return jax.jit if request.param == "jit" else lambda function: function


@pytest.fixture
def x64():
    """Double precision for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def mnist_dir():
    """Folder of genuine MNIST files; the test is skipped where there is none."""
    for folder in (os.environ.get("LADDER_DATA_DIR"), ROOT.parent / "shared" / "data"):
        if folder and (Path(folder) / "mnist").is_dir():
            return Path(folder)
    pytest.skip("no MNIST files: set LADDER_DATA_DIR to a folder that holds mnist/")


@pytest.fixture
def blobs():
    """Four well separated classes in 12 dimensions: 237 training and 80 test rows."""
    rng = np.random.default_rng(0)
    y = np.arange(317) % 4
    x = np.eye(4, 12)[y] * 2 + rng.normal(size=(317, 12)) * 0.3
    x = x.astype(np.float32)
    return lj.data.from_arrays(x[:237], y[:237], x[237:], y[237:], name="blobs")


@pytest.fixture
def tiny_config():
    """A ladder small enough for tests of the training loop."""
    return lj.LadderConfig((16, 4), (10, 1, 0.1), input_shape=(12,))
