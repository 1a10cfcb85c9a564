"""Convolutional ladders and preprocessed data through the whole training path."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ladder_jax as lj
from ladder_jax.train.schedule import longest_chunk, make_plan, step_operations
from ladder_jax.train.step import TrainData, cost_names, init_state, train_chunk


@pytest.fixture
def stripes(monkeypatch, tmp_path):
    """Three classes of 6x6 images in two channels, as bytes to be whitened."""
    monkeypatch.setenv("LADDER_CACHE_DIR", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    y = np.arange(660) % 3
    pattern = np.stack([np.eye(6), np.eye(6)[::-1], np.ones((6, 6)) * np.eye(6)[2]])
    x = 90 * pattern[y][..., None] + rng.normal(90, 1, size=(660, 6, 6, 2))
    x = np.clip(x, 0, 255).astype(np.uint8)
    return lj.data.from_arrays(
        x[:600], y[:600], x[600:], y[600:], name="stripes", preprocessing="gcn_zca"
    )


SETTINGS = lj.TrainConfig(labels=60, epochs=8, batch_size=60, learning_rate=0.01)


def test_convolutional_ladder_learns_whitened_images(stripes, tmp_path):
    config = lj.LadderConfig(
        ("conv:6:3", "maxpool:2", 3), (5, 1, 0.1, 0.1), 0.1, 0.1, input_shape=(6, 6, 2)
    )
    result = lj.train_and_evaluate(config, SETTINGS, stripes, workdir=tmp_path / "run")
    assert result.test_error_percent < 20
    assert result.metrics[-1]["cost/total"] < 0.7 * result.metrics[0]["cost/total"]
    # The result takes rows as the data set stores them.
    error = lj.error_percent(result.predict(stripes.x_test), stripes.y_test)
    assert error == result.test_error_percent
    identity = json.loads((tmp_path / "run" / "config.json").read_text())["data"]
    assert identity["sha256"] == stripes.fingerprint()
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_whitening_is_fitted_on_the_training_part_only(stripes, monkeypatch):
    from ladder_jax.train import run as runs

    class Fitted(Exception):
        pass

    def look(data, rows):
        assert (data.x_test is None) == (len(rows) == 570)
        raise Fitted(sorted(rows.tolist()))

    monkeypatch.setattr(runs, "prepare", look)
    config = lj.LadderConfig((8, 3), (1, 1, 1), input_shape=(72,))
    for validation, rows in ((0, 600), (30, 570)):
        settings = dataclasses.replace(SETTINGS, validation=validation)
        with pytest.raises(Fitted) as fitted:
            lj.train_and_evaluate(config, settings, stripes)
        assert len(set(fitted.value.args[0])) == rows


def test_chunks_are_shorter_where_a_step_is_long():
    """Operations by hand for the MLP: 3 products of 300 encoder and 100 decoder rows."""
    preset = lj.presets.get("mnist-ladder-100")
    products = 784 * 1000 + 1000 * 500 + 500 * 250 + 2 * 250 * 250 + 250 * 10
    assert step_operations(preset.config, 100, 100) == 3 * 2 * products * 400
    assert longest_chunk(preset.config, preset.train_config, "cpu") >= 200
    large = lj.presets.get("cifar10-gamma-4000")
    assert longest_chunk(large.config, large.train_config, "cpu") == 1
    assert longest_chunk(large.config, large.train_config, "gpu") >= 200
    assert make_plan(large.train_config, 50_000, 4000, 1).chunk_steps == 1
    assert make_plan(large.train_config, 50_000, 4000).chunk_steps == 125
    assert make_plan(preset.train_config, 60_000, 100, 30).chunk_steps == 30
    # A prime number of steps is one chunk where steps are short, single steps where long.
    assert make_plan(preset.train_config, 60_100, 100).chunk_steps == 601
    assert make_plan(preset.train_config, 60_100, 100, 30).chunk_steps == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "steps", "every_layer"),
    [("mnist-conv_small_gamma-100", 120, True), ("cifar10-gamma-4000", 32, False)],
)
def test_full_ladder_on_the_papers_convolutional_nets(name, steps, every_layer):
    """Which the paper left as future work: every layer decoded, trained on few rows.

    The yardstick is a decoder that ignores its inputs: it pays at least V(l), the variance of
    the target, which is 1 above the input. The start, ẑ = 0, costs no less. To denoise each
    input value by itself costs V n/(V + n), a quarter of V for the noise n = 0.09; for half of
    V, v has to rise from 0 to 0.32. Adam moves a parameter by about its rate in a step, so 16
    steps of 0.02 could do it in the layers with the weight, 0 and 1; there are twice as many.

    To get below V(l) in every layer, offsets have to reach the mean of what they reconstruct.
    At the start of Conv-Small that is 1.1 at most (4.2 after the global mean, but there the
    encoder comes to meet it): 54 steps, again doubled. Conv-Large would take too long for that.
    """
    preset = lj.presets.get(name)
    levels = len(preset.config.shapes)
    weights = np.array([100, 10, *[0.1] * (levels - 2)])
    config = dataclasses.replace(preset.config, denoising_weights=weights.tolist())
    assert config.decoder_layers == tuple(range(levels))
    rng = np.random.default_rng(0)
    y = np.arange(20) % 10
    x = (
        0.2 * rng.normal(size=(20, *config.input_shape))
        + rng.normal(size=(10, *config.input_shape))[y] * 0.5
    )
    ignorant = np.array([x.var((0, 1, 2)).mean(), *[1] * (levels - 1)])
    data = TrainData(
        jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.int32), jnp.arange(10), jnp.float32(1)
    )
    settings = lj.TrainConfig(labels=10, batch_size=10, labelled_batch_size=10, learning_rate=0.02)
    plan, key = make_plan(settings, 20, 10), jax.random.key(0)
    state = jax.jit(init_state, static_argnums=(0, 1))(config, plan, key)

    def reconstruct(params):
        variables, noise = {"params": params}, lj.draw_noise(config, key, 10, 20)
        return lj.decode(
            config, variables, lj.encode(config, variables, data.x[:10], data.x, noise)
        )

    z_hat = jax.eval_shape(reconstruct, state.params)
    assert [z.shape for z in z_hat] == [(20, *shape) for shape in config.shapes]
    start, chunk, epochs = state.params, jax.jit(train_chunk, static_argnums=(0, 1)), []
    for _ in range(steps // plan.chunk_steps):
        state, costs = chunk(config, plan, state, data, key, False)
        epochs.append([costs[name].mean() for name in cost_names(config)])
    assert np.isfinite(epochs).all()
    _, supervised, *denoising = np.mean(epochs[-5:], 0)
    assert supervised < np.log(10)  # chance
    assert weights @ denoising < 0.5 * (weights @ ignorant)
    assert not every_layer or (denoising < ignorant).all(), denoising
    # Nothing is left out: a first step of Adam alone would move any parameter by the rate.
    moved = jax.tree.map(lambda new, old: jnp.abs(new - old).max(), state.params, start)
    assert min(jax.tree.leaves(moved)) > settings.learning_rate, moved
