"""One run on several devices computes what it computes on one; with jit and with pmap."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ladder_jax as lj
from ladder_jax.train.parallel import Layout, PmapLayout, pmap_epoch, replicate, unreplicate
from ladder_jax.train.schedule import make_plan
from ladder_jax.train.step import TrainData, init_state

MLP = lj.LadderConfig((16, 4), (10, 1, 0.1), input_shape=(12,))
CONV = lj.LadderConfig(
    ("conv:4:3:full", "maxpool:2", "globalmean"),
    (10, 1, 0.5, 0.1),
    input_shape=(7, 6, 2),
    activation="leaky_relu",
)
DEEPER_CONV = lj.LadderConfig(  # its float32 trajectories part more slowly
    ("conv:5:3:full", "maxpool:2", "conv:4:3", "globalmean"),
    (10, 1, 0.5, 0.1, 0.1),
    input_shape=(7, 6, 2),
    activation="leaky_relu",
)
BASELINE = dataclasses.replace(MLP, denoising_weights=(0, 0, 0))
CONFIGS = {"mlp": MLP, "conv": CONV, "baseline": BASELINE}
SETTINGS = lj.TrainConfig(labels=20, batch_size=13, labelled_batch_size=10, learning_rate=0.01)
KEY = jax.random.key(0)


def make_data(config, dtype=np.float64, rows=65):
    """The first 20 rows are labelled; the last two are held out."""
    rng = np.random.default_rng(0)
    y = np.arange(rows + 2) % 4
    means = rng.normal(size=(4, *config.input_shape))
    x = means[y] + 0.5 * rng.normal(size=(rows + 2, *config.input_shape))
    return TrainData(
        x=x.astype(dtype),
        y=y.astype(np.int32),
        labelled=np.arange(20, dtype=np.int32),
        scale=np.asarray(1, dtype),
        train=np.arange(rows, dtype=np.int32),
    )


def trained(layout, config, data, steps, settings=SETTINGS, track=True):
    """State and costs after some steps, of which an epoch has five."""
    plan = make_plan(settings, len(data.train), len(data.labelled))
    state = layout.init_state(config, plan, [KEY])
    keys, rows, costs = layout.put_keys([KEY]), layout.put_data(data), []
    for _ in range(steps // plan.chunk_steps):
        state, own = layout.train_chunk(config, plan, state, rows, keys, track)
        costs.append(own)
    joined = {name: np.concatenate([own[name] for own in costs], 1) for name in costs[0]}
    return layout.to_host(state), joined


def assert_alike(got, want, tolerance):
    """To the tolerance, relative to the largest value of each array."""
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        scale = max(np.abs(other).max(), 1e-3)
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * scale)


def layouts(count):
    devices = tuple(jax.devices()[:count])
    return {"jit": Layout(devices), "pmap": PmapLayout(devices)}


@pytest.mark.parametrize("kind", ["jit", "pmap"])
@pytest.mark.parametrize("name", CONFIGS)
def test_eight_devices_train_as_one_in_double_precision(x64, name, kind):
    """With noise on, and with batches of 10 and 13 rows that 8 devices do not divide."""
    config = CONFIGS[name]
    data = make_data(config)
    want = trained(Layout(tuple(jax.devices()[:1])), config, data, 10)
    got = trained(layouts(8)[kind], config, data, 10)
    assert_alike(got, want, 1e-9)


@pytest.mark.parametrize("kind", ["jit", "pmap"])
@pytest.mark.parametrize("config", [MLP, DEEPER_CONV], ids=["mlp", "conv"])
def test_eight_devices_train_as_one_in_single_precision(kind, config):
    data = make_data(config, np.float32)
    (state, costs), (own_state, own_costs) = (
        trained(layout, config, data, 50)
        for layout in (Layout(tuple(jax.devices()[:1])), layouts(8)[kind])
    )
    assert_alike(own_costs, costs, 1e-4)
    assert_alike(own_state.params, state.params, 2e-3)  # Adam divides by the roots of small squares


@pytest.mark.parametrize("kind", ["jit", "pmap"])
@pytest.mark.parametrize("config", [MLP, CONV], ids=["mlp", "conv"])
def test_gradient_in_single_precision(kind, config):
    """Adam's first moment after one step is a tenth of it."""
    plan = make_plan(SETTINGS, 65, 20).replace(chunk_steps=1)
    moments = []
    for layout in (Layout(tuple(jax.devices()[:1])), layouts(8)[kind]):
        state, data = layout.init_state(config, plan, [KEY]), make_data(config, np.float32)
        state, _ = layout.train_chunk(
            config, plan, state, layout.put_data(data), layout.put_keys([KEY]), False
        )
        moments.append(layout.to_host(state.opt_state[0].mu))
    assert_alike(moments[1], moments[0], 1e-4)


@pytest.mark.parametrize("kind", ["jit", "pmap"])
def test_the_papers_batches_work_on_eight_devices_as_they_are(kind):
    config = lj.LadderConfig((4,), (10, 1), input_shape=(12,))
    data = make_data(config, np.float32, rows=400)
    data = data._replace(labelled=np.arange(100, dtype=np.int32))
    settings = lj.TrainConfig(labels=100)
    assert (settings.batch_size, settings.labelled_batch_size) == (100, 100)
    _, want = trained(Layout(tuple(jax.devices()[:1])), config, data, 4, settings)
    _, got = trained(layouts(8)[kind], config, data, 4, settings)
    assert_alike(got, want, 1e-5)


def test_pmap_gradient_is_that_of_the_whole_batch_on_one_device(x64):
    """At a plain gradient step: the change of the parameters is the gradient."""
    plan = make_plan(SETTINGS, 65, 20).replace(chunk_steps=1)
    data, config = make_data(MLP), MLP
    state = jax.jit(init_state, static_argnums=(0, 1))(config, plan, KEY)
    devices = jax.devices()[:3]
    after, costs = pmap_epoch(
        config, plan, replicate(state, devices), replicate(data, devices), KEY, devices=devices
    )
    assert costs["total"].shape == (3, 1)
    np.testing.assert_array_equal(costs["total"][0], costs["total"][2])
    one = Layout(tuple(devices[:1]))
    want, _ = one.train_chunk(
        config, plan, one.put_state(jax.tree.map(np.asarray, state)), one.put_data(data), KEY, False
    )
    # Adam's first moment after one step is a tenth of the gradient.
    first_moment = lambda state: state.opt_state[0].mu  # noqa: E731
    assert_alike(first_moment(unreplicate(after)), first_moment(want), 1e-9)


def test_pmap_epoch_returns_the_costs_of_long_epochs():
    config, rows = lj.LadderConfig((4,), (0, 0), input_shape=(3,)), 420
    plan = make_plan(lj.TrainConfig(labels=4, batch_size=2, labelled_batch_size=2), rows, 4)
    plan = plan.replace(chunk_steps=rows // 2)
    data = TrainData(
        x=np.random.default_rng(0).normal(size=(rows, 3)).astype(np.float32),
        y=np.arange(rows, dtype=np.int32) % 4,
        labelled=np.arange(4, dtype=np.int32),
        scale=np.float32(1),
    )
    devices = jax.devices()[:1]
    state = replicate(init_state(config, plan, KEY), devices)
    _, costs = pmap_epoch(config, plan, state, replicate(data, devices), KEY, devices=devices)
    assert costs["total"].shape == (1, rows // 2) and (np.asarray(costs["total"]) > 0).all()


def test_pmap_rows_of_weight_zero_take_no_part(x64):
    """Nine labelled and seven unlabelled rows on eight devices: some have none of them."""
    settings = dataclasses.replace(SETTINGS, batch_size=7, labelled_batch_size=9)
    data = make_data(MLP)
    want = trained(Layout(tuple(jax.devices()[:1])), MLP, data, 9, settings)
    got = trained(layouts(8)["pmap"], MLP, data, 9, settings)
    assert_alike(got, want, 1e-9)


def test_devices_that_are_not_there_are_refused(tiny_config, blobs):
    for devices, words in (
        (9, "devices=9: JAX finds 8"),
        (0, "devices=0"),
        ("some", "devices=some"),
    ):
        with pytest.raises(lj.ConfigError, match=words):
            parallel = lj.Parallel(devices=devices)
            lj.train_and_evaluate(tiny_config, SETTINGS, blobs, parallel=parallel)
    with pytest.raises(lj.ConfigError, match="parallel=vmap"):
        lj.Parallel(kind="vmap")


def test_a_run_goes_on_on_other_devices(tiny_config, blobs, tmp_path):
    settings = lj.TrainConfig(labels=20, epochs=4, batch_size=40, learning_rate=0.01)
    whole = lj.train_and_evaluate(tiny_config, settings, blobs)
    stops = iter([False, True])
    with pytest.raises(lj.StoppedError):
        lj.train_and_evaluate(
            tiny_config,
            settings,
            blobs,
            workdir=tmp_path,
            parallel=lj.Parallel(devices="all"),
            should_stop=lambda: next(stops),
        )
    two = lj.Parallel(devices=2, kind="pmap")
    result = lj.train_and_evaluate(tiny_config, settings, blobs, workdir=tmp_path, parallel=two)
    assert [line["epoch"] for line in result.metrics] == [1, 2, 3, 4]
    for one, other in zip(result.metrics, whole.metrics, strict=True):
        assert one["cost/total"] == pytest.approx(other["cost/total"], rel=1e-4)
    assert result.test_error_percent == pytest.approx(whole.test_error_percent, abs=1.3)


def test_noise_does_not_depend_on_the_devices():
    """The draw of a step is made whole; each device has its rows of it."""
    layout = layouts(8)["jit"]
    spread = jax.jit(lambda key: lj.draw_noise(MLP, key, 10, 13), out_shardings=layout.sharding())
    for one, other in zip(spread(KEY), lj.draw_noise(MLP, KEY, 10, 13), strict=True):
        np.testing.assert_array_equal(one, other)
    assert jnp.ndim(spread(KEY)[0]) == 2
