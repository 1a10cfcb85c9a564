"""Whole runs: reproducible, resumable, honest about what they looked at."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import ladder_jax as lj
from ladder_jax.train.parallel import Layout

SETTINGS = lj.TrainConfig(labels=20, epochs=6, batch_size=40, learning_rate=0.01)


def without_seconds(metrics):
    return [{k: v for k, v in line.items() if k != "seconds"} for line in metrics]


def read_lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_run_learns_and_writes_its_folder(tiny_config, blobs, tmp_path):
    result = lj.train_and_evaluate(tiny_config, SETTINGS, blobs, workdir=tmp_path)
    summary = json.loads((tmp_path / "result.json").read_text())
    assert summary == result.summary
    assert summary["test_error_percent"] == summary["runs"][0]["test_error_percent"]["labelled"]
    assert summary["test_error_percent"] < 10
    assert summary["test_error_percent_std"] is None
    assert summary["validation_error_percent"] is None
    assert set(summary["runs"][0]["test_error_percent"]) == {"labelled", "unlabelled", "running"}
    assert summary["versions"]["jax"] == jax.__version__
    assert summary["wall_seconds"] > 0
    config = json.loads((tmp_path / "config.json").read_text())
    assert config == summary["config"]
    assert lj.LadderConfig.from_json(config["model"]) == tiny_config
    resolved = dataclasses.replace(SETTINGS, data_seed=SETTINGS.seed)
    assert lj.TrainConfig.from_json(config["training"]) == resolved
    error = lj.error_percent(result.predict(blobs.x_test), blobs.y_test)
    assert error == result.test_error_percent
    lines = read_lines(tmp_path)
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4, 5, 6]
    costs = {f"cost/denoising_{i}" for i in range(3)} | {"cost/total", "cost/supervised"}
    assert set(lines[0]) == costs | {"seed", "epoch", "learning_rate", "seconds"}
    assert lines[0]["learning_rate"] > lines[-1]["learning_rate"]
    indices = json.loads((tmp_path / "label_indices.json").read_text())
    assert list(indices) == ["1"]
    assert np.bincount(blobs.y_train[indices["1"]]).tolist() == [5, 5, 5, 5]


def test_same_seed_gives_the_same_bits_and_another_seed_does_not(tiny_config, blobs):
    one, two, other = (
        lj.train_and_evaluate(tiny_config, dataclasses.replace(SETTINGS, seed=seed), blobs)
        for seed in (1, 1, 2)
    )
    assert without_seconds(one.metrics) == without_seconds(two.metrics)
    jax.tree.map(np.testing.assert_array_equal, one.variables, two.variables)
    assert one.metrics[0]["cost/total"] != other.metrics[0]["cost/total"]


def test_seed_and_data_seed_are_apart(tiny_config, blobs):
    fixed = dataclasses.replace(SETTINGS, data_seed=7)
    one, two = (
        lj.train_and_evaluate(tiny_config, dataclasses.replace(fixed, seed=seed), blobs)
        for seed in (1, 2)
    )
    np.testing.assert_array_equal(one.split.labelled, two.split.labelled)
    assert one.metrics[0]["cost/total"] != two.metrics[0]["cost/total"]


def test_finished_run_is_returned_without_training(tiny_config, blobs, tmp_path):
    first = lj.train_and_evaluate(tiny_config, SETTINGS, blobs, workdir=tmp_path)
    calls = []
    again = lj.train_and_evaluate(
        tiny_config, SETTINGS, blobs, workdir=tmp_path, on_progress=calls.append
    )
    assert not calls
    assert again.summary == first.summary
    assert again.metrics == first.metrics
    jax.tree.map(np.testing.assert_array_equal, first.variables, again.variables)


class Untouchable:
    """Stands for a test set: any look at it is an error."""

    shape = (80, 12)
    dtype = np.dtype(np.float32)

    def __array__(self, *args, **kwargs):
        raise AssertionError("the test set was looked at")

    def reshape(self, *args):
        raise AssertionError("the test set was looked at")


def test_validation_leaves_the_test_set_alone(tiny_config, blobs, monkeypatch):
    hidden = dataclasses.replace(blobs, x_test=Untouchable())
    monkeypatch.setattr(lj.Dataset, "fingerprint", lambda self: "none")
    settings = dataclasses.replace(SETTINGS, validation=60)
    result = lj.train_and_evaluate(tiny_config, settings, hidden)
    assert result.test_error_percent is None
    assert result.summary["runs"][0]["test_error_percent"] is None
    by_kind = result.summary["runs"][0]["validation_error_percent"]
    assert result.validation_error_percent == by_kind["labelled"]
    assert result.metrics[-1]["validation_error_percent"] == by_kind["labelled"]
    assert len(result.split.validation) == 60
    with pytest.raises(AssertionError, match="looked at"):
        lj.train_and_evaluate(tiny_config, SETTINGS, hidden)


def test_test_set_is_looked_at_once_at_the_end(tiny_config, blobs, monkeypatch):
    from ladder_jax.train.group import Group

    looks, original = [], Group.error_percent

    def look(self, statistics, x, y, run=0):
        looks.append((self.is_finished, x is self.data.x_test))
        return original(self, statistics, x, y, run)

    monkeypatch.setattr(Group, "error_percent", look)
    lj.train_and_evaluate(tiny_config, SETTINGS, blobs)
    assert looks == [(True, True)] * 3  # one for each kind of statistics


def test_diverged_run_names_epoch_step_and_cost_and_keeps_its_files(
    tiny_config, blobs, tmp_path, monkeypatch
):
    original, calls = Layout.train_chunk, []

    def poisoned(self, config, plan, state, *rest):
        calls.append(None)
        if len(calls) == 3:
            decoder = state.params["decoder"]
            bad = decoder | {"layer_0": {"combinator": decoder["layer_0"]["combinator"] * np.nan}}
            state = state.replace(params=state.params | {"decoder": bad})
        return original(self, config, plan, state, *rest)

    monkeypatch.setattr(Layout, "train_chunk", poisoned)
    with pytest.raises(lj.DivergedError, match=r"epoch 3, step 1: cost/denoising_0 is nan"):
        lj.train_and_evaluate(tiny_config, SETTINGS, blobs, workdir=tmp_path, checkpoint_every=1)
    assert [line["epoch"] for line in read_lines(tmp_path)] == [1, 2]
    assert not (tmp_path / "result.json").exists()
    monkeypatch.setattr(Layout, "train_chunk", original)
    resumed = lj.train_and_evaluate(tiny_config, SETTINGS, blobs, workdir=tmp_path)
    whole = lj.train_and_evaluate(tiny_config, SETTINGS, blobs)
    assert without_seconds(resumed.metrics) == without_seconds(whole.metrics)


@pytest.mark.parametrize("at", [4, 6])
def test_state_that_is_not_finite_is_never_saved(tiny_config, blobs, tmp_path, monkeypatch, at):
    """The gradient of an epoch's last step shows in no cost of that epoch."""
    original, calls = Layout.train_chunk, []

    def poisoned(*args):
        state, costs = original(*args)
        calls.append(None)
        if len(calls) == at:
            state = state.replace(params=jax.tree.map(lambda leaf: leaf * np.nan, state.params))
        return state, costs

    monkeypatch.setattr(Layout, "train_chunk", poisoned)
    with pytest.raises(
        lj.DivergedError, match=f"in epoch {at}, by step {5 * at}: a parameter is not finite"
    ):
        lj.train_and_evaluate(tiny_config, SETTINGS, blobs, workdir=tmp_path, checkpoint_every=2)
    steps = sorted(int(path.stem) for path in (tmp_path / "checkpoints").iterdir())
    assert steps[-1] == (at - 2) * 5


def _with_unlabelled(data):
    y = data.y_train.copy()
    y[100:] = -1
    return dataclasses.replace(data, y_train=y)


@pytest.mark.parametrize(
    ("change", "data_change"),
    [
        ({"labels": "all"}, lambda data: data),
        pytest.param({"labels": "all"}, _with_unlabelled, marks=pytest.mark.slow),
        pytest.param(
            {"labels": "all", "validation": 40}, lambda data: data, marks=pytest.mark.slow
        ),
        ({"labels": 20}, _with_unlabelled),
        pytest.param(
            {"batch_size": 1000, "labelled_batch_size": 1000},
            lambda data: data,
            marks=pytest.mark.slow,
        ),
        ({}, lambda data: dataclasses.replace(data, x_train=data.x_train.astype(float))),
        ({}, lambda data: dataclasses.replace(data, x_test=None, y_test=None)),
    ],
    ids=["all", "all+unlabelled", "all+validation", "unlabelled", "large", "float64", "no-test"],
)
def test_every_kind_of_data_trains(tiny_config, blobs, change, data_change):
    data = data_change(blobs)
    settings = dataclasses.replace(SETTINGS, epochs=2, **change)
    result = lj.train_and_evaluate(tiny_config, settings, data)
    assert len(result.metrics) == 2
    if data.x_test is None:
        assert result.test_error_percent is None
    else:
        assert (result.test_error_percent is None) == bool(settings.validation)
    if settings.labels == "all":
        assert len(result.split.labelled) == np.sum(data.y_train[result.split.train] >= 0)


def test_data_that_does_not_fit_is_refused(tiny_config, blobs):
    with pytest.raises(lj.ConfigError, match="input_shape=9"):
        config = lj.LadderConfig((16, 4), (1, 1, 1), input_shape=(9,))
        lj.train_and_evaluate(config, SETTINGS, blobs)
    with pytest.raises(lj.ConfigError, match="4 classes"):
        config = lj.LadderConfig((16, 5), (1, 1, 1), input_shape=(12,))
        lj.train_and_evaluate(config, SETTINGS, blobs)
    with pytest.raises(lj.ConfigError, match="labels"):
        lj.train_and_evaluate(tiny_config, dataclasses.replace(SETTINGS, labels=21), blobs)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param("ladder", marks=pytest.mark.slow),
        "baseline",
        pytest.param("bottom", marks=pytest.mark.slow),
        pytest.param("gamma", marks=pytest.mark.slow),
    ],
)
def test_digits_presets_learn(model):
    data = lj.data.load("digits")
    preset = lj.presets.get(f"digits-{model}-50")
    settings = dataclasses.replace(preset.train_config, epochs=10)
    result = lj.train_and_evaluate(preset.config, settings, data)
    assert result.test_error_percent < 25  # chance is 90
    assert result.metrics[-1]["cost/total"] < 0.7 * result.metrics[0]["cost/total"]


@pytest.mark.slow
def test_mnist_learns(mnist_dir):
    """60 steps on the real data: far from the end, but far from chance."""
    full = lj.data.load("mnist", data_dir=mnist_dir)
    data = dataclasses.replace(full, x_train=full.x_train[:3000], y_train=full.y_train[:3000])
    preset = lj.presets.get("mnist-ladder-100")
    result = lj.train_and_evaluate(
        preset.config, dataclasses.replace(preset.train_config, epochs=2), data
    )
    assert result.test_error_percent < 30
    assert result.metrics[-1]["cost/total"] < 80


@pytest.mark.slow
def test_mnist_three_epochs(mnist_dir):
    preset = lj.presets.get("mnist-ladder-100")
    settings = dataclasses.replace(preset.train_config, epochs=3)
    result = lj.train_and_evaluate(
        preset.config, settings, lj.data.load("mnist", data_dir=mnist_dir)
    )
    assert result.test_error_percent < 8


def test_statistics_are_taken_over_their_own_rows(tiny_config, blobs):
    result = lj.train_and_evaluate(tiny_config, SETTINGS, blobs)
    split, x = result.split, jax.numpy.asarray(blobs.x_train)
    scale = np.float32(result.scale)
    for kind, rows, batch in (
        ("labelled", split.labelled, SETTINGS.labelled_batch_size),
        ("unlabelled", split.train, SETTINGS.batch_size),
    ):
        rows = jax.numpy.asarray(rows, "int32")
        want = lj.population_statistics(
            tiny_config, result.variables, x, scale, min(batch, len(rows)), rows
        )
        for own, other in zip(result.statistics[kind], want, strict=True):
            np.testing.assert_allclose(own.mean, other.mean, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(own.var, other.var, rtol=1e-5, atol=1e-6)
