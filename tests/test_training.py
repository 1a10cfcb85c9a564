"""The schedule, the optimiser, the order of rows and the step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_numpy as reference

import ladder_jax as lj
from ladder_jax.train.schedule import annealing_factor, learning_rate, make_plan
from ladder_jax.train.step import (
    TrainData,
    cost_names,
    epoch_orders,
    init_state,
    make_optimizer,
    split_key,
    train_chunk,
    train_step,
)

KEY = jax.random.key(0)


def make_data(rows=230, labelled=20, classes=4):
    rng = np.random.default_rng(0)
    y = np.arange(rows) % classes
    x = np.eye(classes, 12)[y] * 2 + rng.normal(size=(rows, 12)) * 0.3
    arrays = (x.astype(np.float32), y.astype(np.int32), np.arange(labelled, dtype=np.int32))
    return TrainData(*map(jnp.asarray, arrays), scale=jnp.float32(1))


@pytest.mark.parametrize(
    ("epochs", "decay_start", "pinned"),
    [
        (150, 0.67, {1: 1, 101: 1, 102: 0.990, 150: 0.0202}),
        (70, 0.86, {61: 1, 62: 0.918, 70: 0.102}),
        (20, 0.5, {11: 1, 12: 0.9, 20: 0.1}),
        (10, 1.0, {1: 1, 10: 1}),
    ],
)
def test_annealing_factor_is_the_papers(epochs, decay_start, pinned):
    for epoch, factor in pinned.items():
        got = annealing_factor(jnp.asarray(epoch), epochs, decay_start)
        assert got == pytest.approx(factor, rel=5e-3)
    for epoch in range(1, epochs + 1):
        want = reference.annealing_factor(epoch, epochs, decay_start)
        got = annealing_factor(jnp.asarray(epoch), epochs, decay_start)
        assert got == pytest.approx(want, rel=1e-5)


def test_rate_is_constant_within_an_epoch_and_reaches_the_optimiser():
    """With a constant gradient, the size of Adam's step is the learning rate."""
    train_config = lj.TrainConfig(epochs=20, decay_start=0.5, learning_rate=0.01, batch_size=10)
    plan = make_plan(train_config, 70, 20)
    assert plan.steps_per_epoch == 7
    optimizer = make_optimizer(plan)
    params = jnp.zeros(3)
    update = jax.jit(optimizer.update)
    state = optimizer.init(params)
    for step in range(20 * 7):
        updates, state = update(jnp.ones(3), state, params)
        factor = reference.annealing_factor(step // 7 + 1, 20, 0.5)
        np.testing.assert_allclose(-updates, 0.01 * factor, rtol=1e-4)
        assert learning_rate(plan, jnp.asarray(step)) == pytest.approx(0.01 * factor, rel=1e-5)


def test_adam_and_its_known_deviation_from_the_original(x64):
    """The two differ where gradients are around ε in the first steps, and nowhere else."""
    rng = np.random.default_rng(0)
    optimizer = make_optimizer(make_plan(lj.TrainConfig(), 1000, 100))
    for scale, differs in ((1.0, False), (1e-8, True)):
        gradients = [scale * rng.normal(size=4) for _ in range(5)]
        state, ours = optimizer.init(jnp.zeros(4)), []
        for gradient in gradients:
            update, state = optimizer.update(jnp.asarray(gradient), state)
            ours.append(update)
        np.testing.assert_allclose(ours, reference.adam_kingma(gradients, 0.002), rtol=1e-6)
        original = np.asarray(reference.adam_original(gradients, 0.002))
        assert np.allclose(ours, original, rtol=1e-3) != differs


@pytest.mark.parametrize(
    "epoch", [11, pytest.param(1, marks=pytest.mark.slow), pytest.param(20, marks=pytest.mark.slow)]
)
def test_the_real_step_is_adam_at_the_annealed_rate(epoch):
    """One step of the chunk in a given epoch against the reference's Adam and factor."""
    config = lj.LadderConfig((8, 4), (10, 1, 0.1), input_shape=(12,))
    settings = lj.TrainConfig(labels=20, epochs=20, decay_start=0.5, batch_size=50)
    data = make_data(rows=50)
    plan = make_plan(settings, 50, 20)
    assert plan.steps_per_epoch == 1
    state = jax.jit(init_state, static_argnums=(0, 1))(config, plan, KEY)
    # A later epoch with an optimiser that has only counted: its moments are still 0.
    counts = jax.tree.map(
        lambda leaf: leaf + (epoch - 1) if leaf.dtype == jnp.int32 else leaf, state.opt_state
    )
    state = state.replace(step=state.step + (epoch - 1), opt_state=counts)
    after, _ = jax.jit(train_chunk, static_argnums=(0, 1))(config, plan, state, data, KEY, False)
    order_u, order_l = epoch_orders(KEY, plan, data, jnp.asarray(epoch - 1))
    noise_key = jax.random.fold_in(split_key(KEY)["noise"], epoch - 1)
    noise = lj.draw_noise(config, noise_key, 20, 50)

    def total(params):
        batch = data.x[order_l], data.y[order_l], data.x[order_u]
        return lj.costs(
            config, {"params": params, "batch_stats": state.batch_stats}, *batch, noise
        ).total

    gradient = jax.jit(jax.grad(total))(state.params)["encoder"]["layer_2"]["kernel"]
    silent = [np.zeros(gradient.shape)] * (epoch - 1)
    update = reference.adam_kingma([*silent, np.asarray(gradient, float)], 0.002)[-1]
    moved = (
        after.params["encoder"]["layer_2"]["kernel"] - state.params["encoder"]["layer_2"]["kernel"]
    )
    factor = reference.annealing_factor(epoch, 20, 0.5)
    np.testing.assert_allclose(moved, update * factor, rtol=1e-3, atol=1e-7)


def test_every_step_has_its_own_noise(monkeypatch):
    from ladder_jax.train import step as training

    drawn = []

    def record(config, key, rows_l, rows_u, levels):
        jax.debug.callback(lambda data: drawn.append(data.tolist()), jax.random.key_data(key))
        return lj.draw_noise(config, key, rows_l, rows_u, levels)

    monkeypatch.setattr(training, "draw_noise", record)
    config = lj.LadderConfig((4,), (1, 1), input_shape=(12,))
    plan = make_plan(lj.TrainConfig(labels=20, batch_size=50), 230, 20)
    jax.block_until_ready(
        train_chunk(config, plan, init_state(config, plan, KEY), make_data(), KEY, False)
    )
    jax.effects_barrier()
    assert len({tuple(key) for key in drawn}) == len(drawn) == plan.chunk_steps


def test_plan_uses_small_sets_whole_and_whole_chunks():
    plan = make_plan(lj.TrainConfig(), 60000, 100)
    assert (plan.rows_l, plan.rows_u, plan.same_rows) == (100, 100, False)
    assert (plan.steps_per_epoch, plan.chunk_steps) == (600, 200)
    assert make_plan(lj.TrainConfig(labels="all"), 60000, 60000).same_rows
    assert not make_plan(lj.TrainConfig(labels="all"), 60000, 59999).same_rows
    assert not make_plan(lj.TrainConfig(labels="all", batch_size=50), 60000, 60000).same_rows
    independent = lj.TrainConfig(labels="all", labelled_order="independent")
    assert not make_plan(independent, 60000, 60000).same_rows
    small = make_plan(lj.TrainConfig(labels=50), 60, 50)
    assert (small.steps_per_epoch, small.rows_l, small.rows_u) == (1, 50, 60)
    assert make_plan(lj.TrainConfig(labels=50, batch_size=10), 6010, 50).chunk_steps == 601
    lengths = {plan.replace(chunk_steps=n).costs_length for n in (1, 100, 128, 129, 200)}
    assert lengths == {200} and plan.replace(chunk_steps=201).costs_length == 256
    for rows in (1297, 50000, 60000, 77700):
        plan = make_plan(lj.TrainConfig(), rows, 100)
        assert plan.steps_per_epoch % plan.chunk_steps == 0


def test_labelled_minibatches_are_replayed_and_reshuffled():
    """Runs steps that record which rows they saw, through the real chunk."""
    data = make_data(rows=80, labelled=20)
    plan = make_plan(lj.TrainConfig(labels=20, batch_size=10, labelled_batch_size=10), 80, 20)
    epochs = [np.asarray(epoch_orders(KEY, plan, data, jnp.asarray(e))[1]) for e in range(3)]
    for order in epochs:
        assert sorted(order) == list(range(20))
    assert (epochs[0] != epochs[1]).any()
    seen = seen_rows(plan, data)
    labelled = np.stack([step[0] for step in seen])
    assert labelled.shape == (8, 10)
    np.testing.assert_array_equal(labelled[:2].ravel(), epochs[0])
    for k in range(2, 8, 2):
        np.testing.assert_array_equal(labelled[k : k + 2], labelled[:2])
    unlabelled = np.concatenate([step[1] for step in seen])
    assert sorted(unlabelled) == list(range(80))


def test_labelled_set_that_does_not_divide_loses_no_row():
    data = make_data(rows=80, labelled=16)
    plan = make_plan(lj.TrainConfig(labels=16, batch_size=10, labelled_batch_size=10), 80, 16)
    seen = np.concatenate([step[0] for step in seen_rows(plan, data)])
    assert set(seen) == set(range(16))
    assert np.bincount(seen).min() >= 4


def test_all_labels_put_the_same_rows_in_both_halves():
    data = make_data(rows=80, labelled=80)
    for order, same in (("same", True), ("independent", False)):
        config = lj.TrainConfig(
            labels="all", batch_size=10, labelled_batch_size=10, labelled_order=order
        )
        seen = seen_rows(make_plan(config, 80, 80), data)
        assert all((labelled == unlabelled).all() for labelled, unlabelled in seen) == same


def test_rows_left_over_by_the_batch_differ_from_epoch_to_epoch():
    data = make_data(rows=97, labelled=20)
    plan = make_plan(lj.TrainConfig(labels=20, batch_size=20), 97, 20)
    assert plan.steps_per_epoch == 4
    left_out = []
    for epoch in range(12):
        order = np.asarray(epoch_orders(KEY, plan, data, jnp.asarray(epoch))[0])
        left_out.append(set(order[80:].tolist()))
    assert not set.intersection(*left_out)
    assert len(set.union(*left_out)) > 70


def seen_rows(plan, data, chunks=1):
    """(labelled, unlabelled) row numbers of each step of the first chunks.

    The rows carry their number as input, and are recovered from the real batches.
    """
    numbered = data._replace(x=jnp.arange(len(data.x), dtype=jnp.float32)[:, None])
    config = lj.LadderConfig((2, 2), (1, 0, 0), input_shape=(1,))
    seen = []

    def record(config, optimizer, state, batch, *rest):
        jax.debug.callback(
            lambda x_l, x_u: seen.append((np.array(x_l, int).ravel(), np.array(x_u, int).ravel())),
            batch[0],
            batch[2],
            ordered=True,
        )
        return state.replace(step=state.step + 1), dict.fromkeys(cost_names(config), 0.0)

    from ladder_jax.train import step as training

    original, training.train_step = training.train_step, record
    try:
        state = init_state(config, plan, KEY)
        for _ in range(chunks):
            state, _ = train_chunk(config, plan, state, numbered, KEY, False)
        jax.effects_barrier()
    finally:
        training.train_step = original
    return seen


@pytest.mark.parametrize("chunk_steps", [8, 2])
def test_rows_run_on_across_chunks_and_change_across_epochs(chunk_steps):
    data = make_data(rows=80, labelled=20)
    plan = make_plan(lj.TrainConfig(labels=20, batch_size=10, labelled_batch_size=10), 80, 20)
    seen = seen_rows(plan.replace(chunk_steps=chunk_steps), data, chunks=16 // chunk_steps)
    assert len(seen) == 16
    for half, rows in ((0, 20), (1, 80)):
        epochs = [np.concatenate([step[half] for step in seen[k : k + 8]]) for k in (0, 8)]
        assert [sorted(set(epoch)) for epoch in epochs] == [list(range(rows))] * 2
        assert (epochs[0] != epochs[1]).any()


@pytest.mark.slow
def test_step_does_not_depend_on_jit(tiny_config):
    data = make_data()
    plan = make_plan(lj.TrainConfig(labels=20), len(data.x), 20)
    state = jax.jit(init_state, static_argnums=(0, 1))(tiny_config, plan, KEY)
    batch = data.x[:20], data.y[:20], data.x[100:200]

    def step(state):
        key = split_key(KEY)["noise"]
        return train_step(tiny_config, make_optimizer(plan), state, batch, key, True)

    for got, want in zip(
        jax.tree.leaves(step(state)), jax.tree.leaves(jax.jit(step)(state)), strict=True
    ):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-6)


def test_chunk_is_the_same_as_its_steps_one_by_one(tiny_config):
    data = make_data()
    plan = make_plan(lj.TrainConfig(labels=20, batch_size=50), len(data.x), 20)
    state = jax.jit(init_state, static_argnums=(0, 1))(tiny_config, plan, KEY)
    chunk = jax.jit(train_chunk, static_argnums=(0, 1))
    after, costs = chunk(tiny_config, plan, state, data, KEY, False)
    order_u, order_l = epoch_orders(KEY, plan, data, jnp.asarray(0))
    step = jax.jit(
        lambda state, batch: train_step(
            tiny_config, make_optimizer(plan), state, batch, split_key(KEY)["noise"]
        )
    )
    for k in range(plan.chunk_steps):
        rows_u = order_u[k * 50 : (k + 1) * 50]
        batch = data.x[order_l], data.y[order_l], data.x[rows_u]
        state, own = step(state, batch)
        for name in own:
            np.testing.assert_allclose(costs[name][k], own[name], rtol=1e-4)
    np.testing.assert_allclose(after.cost_sums["total"], costs["total"].sum(), rtol=1e-5)


def test_running_statistics_follow_the_labelled_rows_only_when_asked(tiny_config):
    data = make_data()
    plan = make_plan(lj.TrainConfig(labels=20, batch_size=50), len(data.x), 20)
    chunk = jax.jit(train_chunk, static_argnums=(0, 1))
    state = init_state(tiny_config, plan, KEY)
    silent, _ = chunk(tiny_config, plan, state, data, KEY, False)
    assert silent.batch_stats["layer_1"]["batches"] == 0
    np.testing.assert_array_equal(silent.batch_stats["layer_1"]["mean"], 0)
    tracked, _ = chunk(tiny_config, plan, silent, data, KEY, True)
    assert tracked.batch_stats["layer_1"]["batches"] == plan.chunk_steps
    jax.tree.map(
        np.testing.assert_array_equal,
        tracked.params,
        chunk(tiny_config, plan, silent, data, KEY, False)[0].params,
    )
    again, _ = chunk(tiny_config, plan, tracked, data, KEY, True)
    assert again.batch_stats["layer_1"]["batches"] == plan.chunk_steps  # anew in each epoch
    # All 20 labelled rows are in each minibatch, so the first layer's mean is known.
    frozen = plan.replace(learning_rate=0.0)
    tracked, _ = chunk(tiny_config, frozen, silent, data, KEY, True)
    encode = jax.jit(lambda params, x: lj.encode(tiny_config, {"params": params}, x, None))
    clean = encode(silent.params, data.x[:20]).labelled
    for i in (1, 2):
        own = tracked.batch_stats[f"layer_{i}"]
        np.testing.assert_allclose(own["mean"], clean.mean[i], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(own["var"], clean.var[i] * 20 / 19, rtol=1e-4)


@pytest.mark.parametrize(
    "model",
    [
        "ladder",
        pytest.param("baseline", marks=pytest.mark.slow),
        pytest.param("bottom", marks=pytest.mark.slow),
        pytest.param("gamma", marks=pytest.mark.slow),
    ],
)
def test_cost_falls(model):
    """Four easy classes: 40 steps bring the total well below where it began."""
    weights = {
        "ladder": (10, 1, 0.1),
        "bottom": (10, 0, 0),
        "gamma": (0, 0, 1),
        "baseline": (0, 0, 0),
    }[model]
    config = lj.LadderConfig((16, 4), weights, input_shape=(12,))
    data = make_data(rows=400)
    plan = make_plan(lj.TrainConfig(labels=20, batch_size=100, learning_rate=0.01), 400, 20)
    chunk = jax.jit(train_chunk, static_argnums=(0, 1))
    state, first = jax.jit(init_state, static_argnums=(0, 1))(config, plan, KEY), None
    for _ in range(10):
        state, costs = chunk(config, plan, state, data, KEY, False)
        first = costs["total"][0] if first is None else first
    assert costs["total"].mean() < 0.6 * first
    assert costs["supervised"].mean() < 0.7  # chance is ln 4 = 1.39
