"""Configurations are checked when built and survive JSON; presets are the paper's rows."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import ladder_jax as lj

GOOD = {"layers": (8, 4), "denoising_weights": (1, 1, 1), "input_shape": (6,)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layers": ()}, "layers"),
        ({"layers": "8,4"}, "layers=8,4: a list is needed"),
        ({"layers": (8, 0)}, "at least 1 is needed as the units"),
        ({"layers": (8, "conv:3")}, "layers=conv:3: not a layer; write one of: dense:UNITS"),
        ({"layers": ("conv:3:x", 8)}, "layers=conv:3:x: not a layer"),
        ({"layers": ("conv:3:2:2", 8)}, "layers=conv:3:2:2: a convolution is valid or full"),
        ({"layers": ("conv:3:2:full:0", 8)}, "layers=0: a whole number of at least 1"),
        ({"layers": ("maxpool", 8)}, "layers=maxpool: not a layer"),
        ({"layers": ("globalmean:2", 8)}, "layers=globalmean:2: not a layer"),
        ({"layers": ("dense", 8)}, "layers=dense: not a layer"),
        (
            {"layers": (8, "conv:3:2")},
            "layers=conv:3:2: layer 2 needs an image (height x width x channels) below it, not 8",
        ),
        (
            {"layers": ("maxpool:2", "conv:3:4"), "input_shape": (6, 6, 1)},
            "layers=conv:3:4: layer 2 is larger than the layer below, 3x3x1",
        ),
        ({"layers": ("conv:3:2", "maxpool:2"), "input_shape": (6, 6, 1)}, "not 3x3x3"),
        ({"layers": (8, 1)}, "one unit per class"),
        ({"denoising_weights": (1, 1)}, "has 2 numbers; give 3"),
        ({"denoising_weights": (1, 1, -1)}, "denoising_weights=-1: must be"),
        ({"denoising_weights": (1, 1, float("nan"))}, "denoising_weights=nan"),
        ({"denoising_weights": 1.0}, "a list is needed"),
        ({"input_noise": -0.1}, "input_noise=-0.1"),
        ({"input_noise": "a"}, "input_noise=a: not a number"),
        ({"hidden_noise": -0.1}, "hidden_noise=-0.1"),
        ({"hidden_noise": (0.1, 0.2, 0.3)}, "has 3 numbers; give one, or one per layer (2)"),
        ({"combinator": "gauss"}, "combinator=gauss: not known; choose one of: gaussian"),
        ({"top_scale": "yes"}, "top_scale=yes"),
        ({"input_shape": (0,)}, "input_shape=0"),
        ({"activation": "tanh"}, "activation=tanh: choose one of: relu, leaky_relu"),
        ({"pool_ties": "last"}, "pool_ties=last: choose one of: all, first"),
        ({"combinator": ("gaussian", "linear")}, "has 2 names; give one, or one per layer"),
        ({"combinator": ("gaussian", "linear", "x")}, "combinator=x: not known"),
        ({"combinator": "relu:no_u"}, "combinator=relu:no_u: is a function of u alone"),
        ({"combinator": ("relu", "none", "gaussian")}, "combinator=relu at layer 0: is a function"),
        ({"combinator": "gaussian:3"}, "only the MLPs have hidden sizes"),
        ({"combinator": "mlp:0"}, "combinator=mlp:0: hidden sizes are whole numbers from 1"),
        ({"combinator": "mlp:1000000000"}, "hidden sizes are whole numbers from 1 to 999"),
        ({"layers": ("9" * 5000, 8)}, "not a layer"),
    ],
)
def test_ladder_config_names_what_is_wrong(change, words):
    with pytest.raises(lj.ConfigError) as error:
        lj.LadderConfig(**(GOOD | change))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": 0}, "labels=0"),
        ({"labels": "some"}, 'labels=some: a whole number of at least 1 is needed or "all"'),
        ({"labels": 10.0}, "labels=10.0"),
        ({"labels": True}, "labels=True"),
        ({"labels": np.ones(3)}, "labels=[1. 1. 1.]"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 2**31}, "below 2^31"),
        ({"data_seed": -2}, "data_seed=-2"),
        ({"epochs": 0}, "epochs=0"),
        ({"decay_start": 1.5}, "decay_start=1.5"),
        ({"decay_start": -0.5}, "decay_start=-0.5"),
        ({"batch_size": 1}, "batch_size=1"),
        ({"labelled_batch_size": 0}, "labelled_batch_size=0"),
        ({"learning_rate": 0}, "learning_rate=0"),
        ({"learning_rate": -0.1}, "learning_rate=-0.1"),
        ({"learning_rate": float("inf")}, "learning_rate=inf"),
        ({"statistics": "test"}, "choose one of: labelled, unlabelled, running"),
        ({"validation": -5}, "validation=-5"),
        ({"labelled_order": "sorted"}, "same, independent"),
    ],
)
def test_train_config_names_what_is_wrong(change, words):
    with pytest.raises(lj.ConfigError) as error:
        lj.TrainConfig(**change)
    assert words in str(error.value)


def test_json_round_trip_of_every_preset():
    for name in lj.presets.names():
        preset = lj.presets.get(name)
        for config in (preset.config, preset.train_config):
            text = json.dumps(config.to_json(), allow_nan=False)
            again = type(config).from_json(json.loads(text))
            assert again == config
            assert hash(again) == hash(config)


def test_unknown_json_field_is_refused():
    with pytest.raises(lj.ConfigError, match="LadderConfig has no such field"):
        lj.LadderConfig.from_json(GOOD | {"dropout": 0.5})
    with pytest.raises(lj.ConfigError, match="layers=: LadderConfig cannot do without it"):
        lj.LadderConfig.from_json({"denoising_weights": [1, 1]})


def test_noise_and_cost_layers():
    config = lj.LadderConfig((9, 8, 4), (0, 2, 0, 1), hidden_noise=0.2, input_shape=(6,))
    assert config.noise_levels == (0.3, 0.2, 0.2, 0.2)
    assert config.cost_layers == (1, 3)
    assert config.decoder_layers == (1, 2, 3)
    assert dataclasses.replace(config, denoising_weights=(0, 0, 0, 0)).decoder_layers == ()
    assert config.num_classes == 4
    assert lj.TrainConfig(seed=9).split_seed == 9
    assert lj.TrainConfig(seed=9, data_seed=4).split_seed == 4
    assert dataclasses.replace(lj.TrainConfig(seed=9), seed=10).split_seed == 10


def test_numpy_scalars_are_numbers():
    config = lj.TrainConfig(seed=np.int64(3), learning_rate=np.float32(0.5))
    assert config == lj.TrainConfig(seed=3, learning_rate=0.5)
    assert type(config.seed) is int
    assert lj.LadderConfig(**GOOD, hidden_noise=np.float32(0.5)).hidden_noise == 0.5


def test_mnist_presets_are_the_rows_of_table_1():
    """Sizes, λ, noise and errors, written out a second time from the paper and its code."""
    names = {
        f"mnist-{model}-{labels}" for model in lj.presets.MODELS for labels in (100, 1000, "all")
    } | {"mnist-ladder-50"}
    mlps = {name for name in lj.presets.names() if name.startswith("mnist") and "conv" not in name}
    assert mlps == names
    errors = {
        "mnist-ladder-50": (1.62, 0.65),
        "mnist-ladder-100": (1.06, 0.37),
        "mnist-ladder-1000": (0.84, 0.08),
        "mnist-ladder-all": (0.57, 0.02),
        "mnist-bottom-100": (1.09, 0.32),
        "mnist-bottom-1000": (0.90, 0.05),
        "mnist-bottom-all": (0.59, 0.03),
        "mnist-gamma-100": (3.06, 1.44),
        "mnist-gamma-1000": (1.53, 0.10),
        "mnist-gamma-all": (0.78, 0.03),
        "mnist-baseline-100": (21.74, 1.77),
        "mnist-baseline-1000": (5.70, 0.20),
        "mnist-baseline-all": (0.80, 0.03),
    }
    top = [0] * 6
    weights = {
        "mnist-ladder-50": [2000, 20, 0.1, 0.1, 0.1, 0.1, 0.1],
        "mnist-ladder-100": [1000, 10, 0.1, 0.1, 0.1, 0.1, 0.1],
        "mnist-ladder-1000": [2000, 20, 0.1, 0.1, 0.1, 0.1, 0.1],
        "mnist-ladder-all": [1000, 1, 0.01, 0.01, 0.01, 0.01, 0.01],
        "mnist-bottom-100": [5000, *top],
        "mnist-bottom-1000": [2000, *top],
        "mnist-bottom-all": [2000, *top],
        "mnist-gamma-100": [*top, 0.5],
        "mnist-gamma-1000": [*top, 10],
        "mnist-gamma-all": [*top, 2],
    }
    for name in names:
        preset = lj.presets.get(name)
        assert preset.name == name
        assert preset.paper_error == errors[name]
        assert [shape[0] for shape in preset.config.shapes] == [784, 1000, 500, 250, 250, 250, 10]
        assert list(preset.config.denoising_weights) == weights.get(name, [0] * 7)
        noise = 0.5 if "baseline" in name else 0.2 if name == "mnist-ladder-1000" else 0.3
        assert preset.config.noise_levels == (0.3, *[noise] * 6)
        training = preset.train_config
        assert (training.epochs, training.decay_start) == (150, 0.67)
        assert (training.batch_size, training.labelled_batch_size) == (100, 100)
        assert training.learning_rate == 0.002
        assert training.labels == preset.labels


@pytest.mark.parametrize(
    ("model", "labels", "row"),
    [
        ("ladder", 20, 50),
        ("ladder", 60, 50),
        ("ladder", 100, 100),
        ("ladder", 990, 100),
        ("ladder", 5000, 1000),
        ("gamma", 50, 100),
        ("baseline", "all", "all"),
    ],
)
def test_other_label_counts_take_the_nearest_smaller_row(model, labels, row):
    preset = lj.presets.for_labels("mnist", model, labels)
    assert preset.labels == row
    assert preset.train_config.labels == labels
    assert preset.config == lj.presets.get(f"mnist-{model}-{row}").config


def test_unknown_names_list_the_known():
    with pytest.raises(lj.ConfigError, match="choose one of: ladder, bottom, gamma, baseline"):
        lj.presets.for_labels("mnist", "vae", 100)
    with pytest.raises(lj.ConfigError, match="mnist-ladder-100"):
        lj.presets.get("mnist")


def test_parameter_counts_are_those_of_the_variables():
    for name in ("mnist-ladder-100", "mnist-gamma-100", "mnist-baseline-100"):
        config = lj.presets.get(name).config
        params = jax.eval_shape(lambda key, config=config: lj.init(config, key), jax.random.key(0))
        total = sum(leaf.size for leaf in jax.tree.leaves(params["params"]))
        assert sum(lj.parameter_counts(config)) == total
    assert sum(lj.parameter_counts(lj.presets.get("mnist-ladder-100").config)) == 3_105_710


def test_convolutional_presets_are_the_rows_of_tables_2_and_3():
    """λ, noise, schedule and errors, written out a second time; shapes have their own test."""
    rows = {
        "mnist-conv_fc-100": ([1000, 10] + [0.1] * 6, 0.3, 150, 0.67, (0.99, 0.15)),
        "mnist-conv_small_gamma-100": ([0] * 9 + [1], 0.3, 150, 0.67, (0.89, 0.50)),
        "mnist-conv_small_baseline-100": ([0] * 10, 0.45, 20, 0.5, (6.43, 0.84)),
        "mnist-conv_small_baseline-all": ([0] * 10, 0.45, 20, 0.5, (0.36, None)),
        "cifar10-gamma-4000": ([0] * 12 + [4], 0.3, 70, 0.86, (20.40, 0.47)),
        "cifar10-baseline-4000": ([0] * 13, 0.3, 20, 0.5, (23.33, 0.61)),
        "cifar10-baseline-all": ([0] * 13, 0.3, 20, 0.5, (9.27, None)),
    }
    names = {name for name in lj.presets.names() if "conv" in name or "cifar10" in name}
    assert names == set(rows)
    for name, (weights, noise, epochs, decay_start, error) in rows.items():
        preset = lj.presets.get(name)
        cifar = preset.dataset == "cifar10"
        assert list(preset.config.denoising_weights) == weights
        assert preset.config.noise_levels == (0.3, *[noise] * (len(weights) - 1))
        assert preset.config.activation == ("leaky_relu" if cifar else "relu")
        assert preset.config.top_scale == (not cifar)
        assert preset.config.pool_ties == "all"
        assert preset.config.combinator == "gaussian"
        training = preset.train_config
        assert (training.epochs, training.decay_start) == (epochs, decay_start)
        assert (training.batch_size, training.labelled_batch_size) == (100, 100)
        assert training.learning_rate == 0.002
        assert (training.labels, preset.paper_error) == (preset.labels, error)
    assert lj.presets.models("cifar10") == ("gamma", "baseline")


def test_one_combinator_has_one_name():
    """So that a run is found again however its combinator was written."""
    assert lj.LadderConfig(**GOOD, combinator="mlp").combinator == "mlp:4"
    assert lj.LadderConfig(**GOOD, combinator="mlp:04:2").combinator == "mlp:4:2"
    assert lj.LadderConfig(**GOOD, combinator="linear:no_u").combinator == "linear"
    short = lj.LadderConfig(**GOOD, combinator="augmented_mlp:no_u")
    assert short.combinator == "augmented_mlp:2:2:2:no_u"
    assert short == lj.LadderConfig(**GOOD, combinator="augmented_mlp:2:2:2:no_u")


def test_json_round_trip_of_a_list_of_combinators():
    names = ("gaussian", "none", "augmented_mlp:2:2:no_u")
    config = lj.LadderConfig(**GOOD, combinator=names, activation="leaky_relu", pool_ties="first")
    again = lj.LadderConfig.from_json(json.loads(json.dumps(config.to_json())))
    assert again == config
    assert again.combinator == names
