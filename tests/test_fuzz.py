"""Nonsense as input: every case ends in a result or in a LadderError of one line."""

import dataclasses
import gzip
import tracemalloc

import cifar_files
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from idx_files import idx_bytes, images

import ladder_jax as lj
from ladder_jax.data.files import read_cifar10, read_idx

fuzz = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

nonsense = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from(
        [
            2**31,
            2**64,
            -(2**70),
            10**400,
            10**5000,
            1e400,
            -0.0,
            1e-320,
            float("nan"),
            "",
            "all",
            "ünï",
        ]
    ),
    st.floats(),
    st.text(max_size=6),
    st.lists(st.integers(-1, 9) | st.floats() | st.text(max_size=3), max_size=4),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
    st.binary(max_size=4),
    st.sampled_from([object(), np.float32(0.5), np.int64(3), np.ones(3), (1, 2), {1}]),
)


def ends_well(function, *args, **words):
    """The result, or None if it is an error that says in one line what to do."""
    try:
        return function(*args, **words)
    except lj.LadderError as error:
        assert str(error).strip()
        assert "\n" not in str(error)
        if isinstance(error, lj.ConfigError):
            assert error.field.strip() in str(error)
        return None


LADDER = {field.name for field in dataclasses.fields(lj.LadderConfig)}
TRAINING = {field.name for field in dataclasses.fields(lj.TrainConfig)}


@fuzz
@given(st.dictionaries(st.sampled_from(sorted(LADDER)), nonsense, min_size=1, max_size=3))
def test_any_network_settings(changes):
    values = {"layers": (6, 4), "denoising_weights": (1, 1, 1), "input_shape": (5,)} | changes
    config = ends_well(lj.LadderConfig, **values)
    if config is not None:
        assert lj.LadderConfig.from_json(config.to_json()) == config
        assert hash(config) == hash(lj.LadderConfig.from_json(config.to_json()))


@fuzz
@given(st.dictionaries(st.sampled_from(sorted(TRAINING)), nonsense, min_size=1, max_size=3))
def test_any_training_settings(changes):
    config = ends_well(lj.TrainConfig, **({"labels": 20} | changes))
    if config is not None:
        assert lj.TrainConfig.from_json(config.to_json()) == config


@fuzz
@given(st.dictionaries(st.sampled_from([*sorted(LADDER), "other"]), nonsense, max_size=6))
def test_any_json_as_network_settings(values):
    ends_well(lj.LadderConfig.from_json, values)


@fuzz
@given(nonsense)
def test_any_json_as_settings(values):
    ends_well(lj.LadderConfig.from_json, values)
    ends_well(lj.TrainConfig.from_json, values)


def changed(data, good):
    """Bytes that are cut, changed, lengthened or other ones."""
    kind = data.draw(st.sampled_from(["cut", "flipped", "longer", "bytes"]))
    if kind == "cut":
        return good[: data.draw(st.integers(0, len(good) - 1))]
    if kind == "longer":
        return good + data.draw(st.binary(min_size=1, max_size=9))
    if kind == "bytes":
        return data.draw(st.binary(max_size=40))
    content = bytearray(good)
    places = st.integers(0, min(len(good), 40) - 1) | st.integers(0, len(good) - 1)
    for at in data.draw(st.lists(places, min_size=1, max_size=4)):
        content[at] = data.draw(st.integers(0, 255))
    return bytes(content)


@fuzz
@given(st.data())
def test_any_bytes_as_idx_file(tmp_path, data):
    """Whatever the header promises, no more memory is taken than the file has."""
    raw = changed(data, idx_bytes(images(3)))
    zipped = data.draw(st.booleans())
    path = tmp_path / ("file.gz" if zipped else "file")
    content = gzip.compress(raw, 1) if zipped else raw
    if zipped and data.draw(st.booleans()):
        content = changed(data, content)
    path.write_bytes(content)
    tracemalloc.start()
    found = ends_well(read_idx, path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6
    assert found is None or found.dtype == np.uint8


@settings(fuzz, max_examples=40)
@given(st.data())
def test_any_bytes_as_part_of_cifar10(tmp_path, data):
    folder = tmp_path / cifar_files.FOLDER
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(cifar_files.NAMES, 1):
        (folder / name).write_bytes(cifar_files.content(number))
    name = data.draw(st.sampled_from(cifar_files.NAMES))
    (folder / name).write_bytes(changed(data, cifar_files.content(1)))
    found = ends_well(read_cifar10, folder)
    assert found is None or found[0].shape[1:] == (32, 32, 3)


dtypes = st.sampled_from(["f4", "f8", "f2", "i8", "u1", "?", "U2", "O", "c8", "M8[s]"])
shapes = st.sampled_from([(), (0,), (8,), (8, 3), (0, 3), (8, 0), (8, 2, 2), (7, 3), (1, 3)])


@st.composite
def arrays(draw):
    """Of any type and shape, with what may be wrong in them, contiguous or not."""
    array = np.arange(np.prod(shape := draw(shapes), dtype=int)).reshape(shape)
    array = np.asarray(array % draw(st.integers(1, 5))).astype(draw(dtypes))
    if array.dtype.kind in "f" and array.size and draw(st.booleans()):
        array.reshape(-1)[draw(st.integers(0, array.size - 1))] = draw(
            st.sampled_from([np.nan, np.inf, 1e300 if array.dtype.itemsize == 8 else -1])
        )
    if draw(st.booleans()):
        array = np.asfortranarray(array)[::-1]
    return array


label_lists = st.lists(st.integers(-2, 3) | st.just(10**12), min_size=7, max_size=8)


@fuzz
@given(arrays() | nonsense, arrays() | nonsense | label_lists, nonsense, st.data())
def test_any_arrays(x, y, scale, data):
    words = {"scale": scale} if data.draw(st.booleans()) else {}
    if data.draw(st.booleans()):
        words |= {"x_test": data.draw(arrays()), "y_test": data.draw(arrays() | label_lists)}
    found = ends_well(lj.data.from_arrays, x, y, **words)
    if found is None:
        return
    assert found.x_train.flags.c_contiguous
    assert np.isfinite(found.x_train).all()
    for labels in (2, "all"):
        settings = lj.TrainConfig(labels=labels, epochs=1, batch_size=4)
        ends_well(lj.data.make_split, found.y_train, found.num_classes, settings.labels, 0, 1)


def test_odd_but_usable_arrays_train():
    """Constant features, one class, float64, not contiguous, a huge scale of values."""
    rng = np.random.default_rng(0)
    x = np.asfortranarray(rng.normal(size=(24, 3)) * 1e6)[::-1]
    x[:, 1] = 7
    config = lj.LadderConfig((4, 2), (1, 1, 1), input_shape=(3,))
    settings = lj.TrainConfig(labels=4, epochs=2, batch_size=12)
    for y in (np.arange(24) % 2, np.zeros(24, int)):
        data = lj.data.from_arrays(x, y, x[:5], y[:5], num_classes=2)
        result = ends_well(lj.train_and_evaluate, config, settings, data)
        assert result is None or np.isfinite(result.metrics[-1]["cost/total"])
