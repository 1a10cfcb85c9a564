"""What is compiled: a program for each structure of a network, not for each of its numbers."""

import dataclasses

import jax
import numpy as np
import pytest

import ladder_jax as lj

COMPILED = "/jax/core/compile/backend_compile_duration"


@pytest.fixture
def compiled():
    """The seconds of each compilation, in a list that grows."""
    found = []

    def listen(event, seconds, **_):
        if event == COMPILED:
            found.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    jax.monitoring.unregister_event_duration_listener(listen)


def test_a_fit_with_other_numbers_compiles_nothing(compiled):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(90, 5)), np.arange(90) % 3
    y[30:] = -1
    jax.clear_caches()
    settings = {"steps": 4, "layers": (6,), "random_state": 0}
    lj.LadderClassifier(**settings).fit(X, y)
    assert compiled, "the listener hears nothing"
    compiled.clear()
    for other in (
        {"steps": 9},
        {"steps": 250},
        {"random_state": 5},
        {"learning_rate": 0.01},
        {"input_noise": 0.0},
        {"hidden_noise": 0.5},
        {"denoising_weights": (7.0, 0.3, 2.0)},
    ):
        lj.LadderClassifier(**settings | other).fit(X, y)
        assert not compiled, other


def test_numbers_of_a_run_are_arguments(tiny_config, blobs, compiled):
    config = tiny_config
    settings = lj.TrainConfig(labels=20, epochs=2, batch_size=30, labelled_batch_size=10, seed=3)
    lj.train_and_evaluate(config, settings, blobs)
    compiled.clear()
    for changes in ({"epochs": 3}, {"decay_start": 1.0}, {"seed": 4}, {"learning_rate": 0.1}):
        lj.train_and_evaluate(config, dataclasses.replace(settings, **changes), blobs)
        assert not compiled, changes
