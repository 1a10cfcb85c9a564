"""LadderClassifier: its parameters are those of the training; images."""

import numpy as np
import pytest

import ladder_jax as lj
from ladder_jax.estimator import classifier as estimator
from ladder_jax.estimator import defaults as choices
from ladder_jax.estimator import padding as buckets
from ladder_jax.train.schedule import make_plan


@pytest.mark.parametrize(
    ("count", "settings", "steps"),
    [
        (230, {"steps": 3200}, 3200),  # more than 50 epochs of the whole list
        (230, {"steps": 10_000}, 10_000),
        (9200, {"batch_size": 1000}, 1600),  # an epoch has nine steps
        (60_000, {"steps": 10_000}, 10_000),
        (20, {"batch_size": 10**9, "steps": 64}, 64),
    ],
)
def test_as_many_steps_as_asked_for(count, settings, steps):
    own = lj.LadderClassifier(**settings).get_params()
    _, training = choices.configs(own, (6,), 3, count)
    split = buckets.epoch_split(np.arange(9), count, training.batch_size, 64, seed=0)
    plan = make_plan(training, len(split.train), len(split.labelled))
    made = plan.epochs * plan.steps_per_epoch
    assert made == pytest.approx(steps, rel=0.02)
    assert made == training.epochs * training.steps_per_epoch


def test_every_parameter_reaches_the_training(monkeypatch):
    """None is dropped on the way, and none is taken for another."""
    seen = {}

    class GotThereError(Exception):
        pass

    def stop(config, settings, data, **_):
        seen.update(config.to_json() | settings.to_json())
        raise GotThereError

    monkeypatch.setattr(estimator, "train_and_evaluate", stop)
    weights, noise = [3.0, 2.0, 1.0], [0.05, 0.07]
    own = {
        **{"denoising_weights": weights, "input_noise": 0.11, "hidden_noise": noise},
        **{"combinator": "vanilla", "steps": 640, "learning_rate": 0.01, "decay_start": 0.5},
        **{"batch_size": 50, "labelled_batch_size": 30, "statistics": "running"},
    }
    with pytest.raises(GotThereError):
        x, y = np.random.default_rng(0).normal(size=(60, 6)), np.arange(60) % 3
        lj.LadderClassifier((12,), random_state=0, **own).fit(x, y)
    assert {name: seen[name] for name in own if name != "steps"} == {
        name: value for name, value in own.items() if name != "steps"
    }
    assert (seen["layers"], seen["epochs"] * seen["steps_per_epoch"]) == (
        ["dense:12", "dense:3"],
        640,
    )


@pytest.mark.slow
def test_images():
    """Convolutions over (N, H, W, C); saved and loaded; other sizes are an error."""
    rng = np.random.default_rng(0)
    y = np.arange(300) % 2
    x = rng.normal(size=(300, 8, 8, 1))
    x[y == 1, 2:5, 2:5] += 2
    labels = np.where(np.arange(300) < 30, y, -1)
    found = lj.LadderClassifier("conv:8:3, maxpool:2, globalmean", steps=192, random_state=0)
    found.fit(x[:200], labels[:200])
    assert found.score(x[200:], y[200:]) > 0.9
    with pytest.raises(ValueError, match=r"rows of shape \(8, 7, 1\)"):
        found.predict(x[:, :, 1:])
