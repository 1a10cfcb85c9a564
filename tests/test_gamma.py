"""The Γ-cost around a module of the user's own, against the project's own Γ-model and by hand."""

import dataclasses
import doctest
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import ladder_jax as lj
from ladder_jax.ladder import gamma as module
from ladder_jax.ladder.gamma import GammaWrapper, Noise
from ladder_jax.ops.batchnorm import standardize

ROWS_L, ROWS_U, INPUTS, K = 7, 11, 6, 4
INPUT_NOISE, HIDDEN_NOISE = 0.25, (0.2, 0.35, 0.15)


def zeros(key, below, D):
    return {"kernel": jnp.zeros((below, D)), "beta": jnp.zeros(D)}


class Lower(nn.Module):
    """The layers of a Γ-model below its top; what its noise was can be asked for."""

    @nn.compact
    def __call__(self, h):
        for i, (D, std) in enumerate(zip((16, 8), HIDDEN_NOISE[:2], strict=True), start=1):
            weights = self.param(f"layer_{i}", zeros, h.shape[-1], D)
            z, _ = standardize(h @ weights["kernel"])
            noisy = Noise(std)(z)
            self.sow("intermediates", f"noise_{i}", (noisy - z) / std)
            h = nn.relu(noisy + weights["beta"][None])
        return h


class Plain(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.relu(nn.Dense(5)(x))


class Recorder(nn.Module):
    """Notes what each call is given and counts the calls in a collection of its own."""

    note: Callable

    @nn.compact
    def __call__(self, x, mode="init"):
        streams = [self.make_rng(name) for name in ("dropout", "noise") if self.has_rng(name)]
        self.note((mode, np.asarray(x), streams))
        count = self.variable("counters", "calls", lambda: 0)
        if not self.is_initializing() and self.is_mutable_collection("counters"):
            count.value += 1
        return x


class Normed(nn.Module):
    @nn.compact
    def __call__(self, x, train, drop=False):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.5)(nn.Dense(5)(x))
        deterministic = not (drop or self.has_rng("dropout"))
        return nn.Dropout(0.5, deterministic=deterministic)(nn.relu(x))


MODES = {"corrupted": {"train": True}, "clean": {"train": True}, "evaluation": {"train": False}}


def normal(*shape, seed=0):
    return np.random.default_rng((seed, *shape)).normal(size=shape)


def batch(dtype=np.float32):
    x_l, x_u = normal(ROWS_L, INPUTS).astype(dtype), normal(ROWS_U, INPUTS).astype(dtype)
    return x_l, np.arange(ROWS_L) % K, x_u


def blank(init, *given):
    """Zeros of the shapes that ``init`` makes: it need not be compiled."""
    shapes = jax.eval_shape(init, *given)
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


def random_like(tree, dtype=np.float32):
    """No value stays at its start, where many gradients are 0."""
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: (0.1 + 0.6 * rng.normal(size=leaf.shape)).astype(dtype), tree)


def assert_close(got, want, tolerance):
    close = functools.partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance)
    jax.tree.map(close, got, want)


# ---- the maths ----
def draws(params, x, key):
    """Standard-normal draws at the input, in the backbone and at the top."""
    at_input, at_top, _, noise = (jax.random.fold_in(key, i) for i in range(4))
    n = jax.random.normal(at_input, x.shape)
    x = x + INPUT_NOISE * n
    _, seen = Lower().apply({"params": params}, x, rngs={"noise": noise}, mutable="intermediates")
    inside = [seen["intermediates"][f"noise_{i}"][0] for i in (1, 2)]
    return [n, *inside, jax.random.normal(at_top, (len(x), K))]


def test_costs_and_gradients_are_those_of_the_projects_gamma_model(precision):
    dtype, tolerance = precision
    noise, weights = (INPUT_NOISE, HIDDEN_NOISE), (0, 0, 0, 0.7)
    config = lj.LadderConfig((16, 8, K), weights, *noise, input_shape=(INPUTS,))
    gamma = GammaWrapper(Lower(), K, 0.7, INPUT_NOISE, HIDDEN_NOISE[-1])
    key, (x_l, y_l, x_u) = jax.random.key(5), batch(dtype)
    state, variables = blank(gamma.init, key, x_u), blank(lambda: lj.init(config, key))
    params = random_like(state.pop("params"), dtype)
    encoder = {**params["backbone"], "layer_3": dict(params["top"])}
    a = encoder["layer_3"].pop("combinator")
    theirs = {"encoder": encoder, "decoder": {"layer_3": {"combinator": a}}}
    assert jax.tree.map(np.shape, variables["params"]) == jax.tree.map(np.shape, theirs)

    def want_costs(params, keys):
        drawn = [draws(params["encoder"], x, k) for x, k in zip((x_l, x_u), keys, strict=True)]
        noise = [jax.lax.stop_gradient(jnp.concatenate(pair)) for pair in zip(*drawn, strict=True)]
        both = {**variables, "params": params}
        costs = lj.costs(config, both, x_l, y_l, x_u, noise)
        clean = lj.encode(config, both, None, x_u).unlabelled
        return costs.total, (costs, clean.moments(3))

    def got_costs(params, key):
        costs, after = gamma.costs({"params": params, **state}, x_l, y_l, x_u, key)
        return costs.total, (costs, after["batch_stats"]["top"])

    gradient = functools.partial(jax.grad, has_aux=True)
    keys = [jax.random.fold_in(key, i) for i in (0, 1)]
    want_gradient, (want, clean) = jax.jit(gradient(want_costs))(theirs, keys)
    got_gradient, (got, running) = jax.jit(gradient(got_costs))(params, key)
    assert_close(got._replace(denoising=(None, None, *got.denoising)), want, tolerance)
    layer_3 = want_gradient["encoder"].pop("layer_3") | want_gradient["decoder"]["layer_3"]
    assert_close(got_gradient, {"backbone": want_gradient["encoder"], "top": layer_3}, tolerance)
    assert all(np.all(leaf) for leaf in jax.tree.leaves(got_gradient)), "nothing is left out"
    var = clean.var * ROWS_U / (ROWS_U - 1)
    assert_close(running, {"mean": clean.mean, "var": var, "batches": 1}, tolerance)


def test_probabilities_by_hand(precision):
    """The softmax of γ ((f(x) W − mean)/√(var + 1e-10) + β), without noise."""
    dtype, tolerance = precision
    gamma, (_, _, x) = GammaWrapper(Plain(), K), batch(dtype)
    variables = blank(gamma.init, jax.random.key(0), x)
    variables["params"] = random_like(variables["params"], dtype)
    mean, var = normal(K, seed=2), normal(K, seed=3) ** 2
    variables["batch_stats"]["top"] |= {"mean": mean.astype(dtype), "var": var.astype(dtype)}
    backbone, top = variables["params"]["backbone"]["Dense_0"], variables["params"]["top"]
    f = np.maximum(x @ backbone["kernel"] + backbone["bias"], 0)
    odds = np.exp(top["gamma"] * ((f @ top["kernel"] - mean) / np.sqrt(var + 1e-10) + top["beta"]))
    assert_close(gamma.predict_proba(variables, x), odds / odds.sum(1, keepdims=True), tolerance)


@pytest.mark.parametrize("combinator", ["identity", "linear", "gaussian:no_u", "mlp"])
def test_other_combinators_by_hand(combinator):
    """Without noise z̃ is z, and so is ẑ at the start; of the MLP's weights 0 make 0."""
    gamma, (x_l, y_l, x_u) = GammaWrapper(Plain(), K, 2.0, 0, 0, combinator), batch()
    variables = gamma.init(jax.random.key(0), x_u)
    backbone, top = (variables["params"][name] for name in ("backbone", "top"))
    assert ("combinator" in top) == (combinator != "identity")
    if combinator == "mlp":
        top["combinator"] = np.zeros_like(top["combinator"])
    z_pre = np.asarray(Plain().apply({"params": backbone}, x_u) @ top["kernel"])
    mean, std = z_pre.mean(0), z_pre.std(0)
    z = (z_pre - mean) / std
    z_hat = z * (combinator != "mlp")
    costs, _ = gamma.costs(variables, x_l, y_l, x_u, jax.random.key(0))
    assert_close(costs.denoising[-1], np.square(z - (z_hat - mean) / std).mean(), 2e-5)


def test_start_values():
    gamma = GammaWrapper(Recorder(lambda call: None), 300)
    top = gamma.init(jax.random.key(0), np.zeros((2, 400)))["params"]["top"]
    assert abs(np.std(top["kernel"]) * 20 - 1) < 0.01  # N(0, 1)/√400, here of 120 000 draws
    assert_close([top["beta"], top["gamma"]], [np.zeros(300), np.ones(300)], 0)


# ---- passes and state ----
def record(weight):
    """What the backbone was given in ``costs``, by pass, and in evaluation; the state."""
    calls, (x_l, y_l, x_u) = [], batch()
    gamma = GammaWrapper(Recorder(calls.append), K, weight, **{m: {"mode": m} for m in MODES})
    variables = gamma.init(jax.random.key(0), x_u)
    calls.clear()
    _, state = gamma.costs(variables, x_l, y_l, x_u, jax.random.key(1))
    passes = {(mode, len(x)): (x, streams) for mode, x, streams in calls}
    assert len(passes) == len(calls)
    gamma.predict_proba({**variables, **state}, x_u)
    return passes, calls[len(passes) :], state


def test_three_passes_and_what_each_is_given():
    x_l, _, x_u = batch()
    passes, ((mode, *evaluation),), state = record(1.0)
    assert set(passes) == {("corrupted", ROWS_L), ("corrupted", ROWS_U), ("clean", ROWS_U)}
    assert mode == "evaluation"
    for x, streams in (passes["clean", ROWS_U], evaluation):
        np.testing.assert_array_equal(x, x_u)
        assert streams == []
    (noisy_l, streams_l), (noisy_u, streams_u) = (passes["corrupted", n] for n in (ROWS_L, ROWS_U))
    noise_l, noise_u = np.ravel(noisy_l - x_l), np.ravel(noisy_u - x_u)
    assert 0.2 < np.std([*noise_l, *noise_u]) < 0.4  # of 108 draws of 0.3
    assert not np.isclose(noise_l, noise_u[: noise_l.size]).any()
    keys = [tuple(jax.random.key_data(key).tolist()) for key in streams_l + streams_u]
    assert len(set(keys)) == len(keys) == 4
    assert state["counters"]["backbone"]["calls"] == 1  # of three


def test_without_denoising_cost_one_pass_less():
    passes, *_ = record(0)
    assert set(passes) == {("corrupted", ROWS_L), ("clean", ROWS_U)}
    gamma, given = GammaWrapper(Plain(), K), (*batch(), jax.random.key(3))
    given = (gamma.init(jax.random.key(0), given[2]), *given)
    both, after = gamma.costs(*given)
    one, after_one = dataclasses.replace(gamma, denoising_weight=0).costs(*given)
    assert one.denoising[-1] is None
    assert one.total == one.supervised == both.supervised
    # With fewer parts in one product XLA may round otherwise.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), after, after_one)


def test_only_the_clean_pass_changes_flax_batchnorm():
    gamma, (x_l, y_l, x_u) = GammaWrapper(Normed(), K, **MODES), batch()
    variables = gamma.init(jax.random.key(0), x_u)
    _, state = gamma.costs(variables, x_l, y_l, x_u, jax.random.key(1))
    dense = variables["params"]["backbone"]["Dense_0"]
    pre = x_u @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"])
    got = state["batch_stats"]["backbone"]["BatchNorm_0"]
    assert_close(got["mean"], pre.mean(0) / 2, 1e-6)  # momentum 1/2 from 0 and from 1
    assert_close(got["var"], 0.5 + pre.var(0) / 2, 1e-6)
    assert jax.tree.structure({**variables, **state}) == jax.tree.structure(variables)


def test_dtypes_of_the_noise():
    layer, key = Noise(0.5), jax.random.key(0)
    for given, want in ((jnp.bfloat16, jnp.bfloat16), (jnp.uint8, jnp.float32)):
        x = jnp.zeros(1000, given)
        noisy = layer.apply({}, x, rngs={"noise": key})
        assert noisy.dtype == want and layer.apply({}, x) is x
        assert 0.45 < np.asarray(noisy, float).std() < 0.55


def test_the_wrapper_is_hashable_and_static():
    orders = ({"train": True, "drop": True}, {"drop": True, "train": True})
    gamma, same = (GammaWrapper(Normed(), K, **(MODES | {"corrupted": o})) for o in orders)
    assert gamma == same and gamma != dataclasses.replace(gamma, num_classes=K + 1)
    variables = gamma.init(jax.random.key(0), batch()[2])
    jitted, given = jax.jit(GammaWrapper.costs, static_argnums=0), (*batch(), jax.random.key(1))
    for wrapper in (gamma, same, dataclasses.replace(gamma)):
        assert_close(jitted(wrapper, variables, *given), gamma.costs(variables, *given), 1e-5)
    assert jitted._cache_size() == 1


class Convolutional(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(8, (3, 3), strides=2, use_bias=False)(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        return nn.relu(Noise(0.3)(x)).reshape(len(x), -1)


def test_a_small_convolutional_network_learns_the_digits():
    """100 labels, 60 steps; bounds set before the first run: cost halved, error below 40 %."""
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    x_l, x_u, x_test = jnp.split(jnp.array(digits.images[order, :, :, None]) / 16, [100, 1297])
    y_l, _, y_test = np.split(digits.target[order], [100, 1297])
    gamma, optimizer = GammaWrapper(Convolutional(), 10, **MODES), optax.adam(0.01)

    def step(carry, key):
        params, state, moments = carry
        rows = jax.random.randint(key, (50,), 0, len(x_u))

        def total(params):
            costs, after = gamma.costs({"params": params, **state}, x_l, y_l, x_u[rows], key)
            return costs.total, after

        (cost, after), gradient = jax.value_and_grad(total, has_aux=True)(params)
        updates, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(params, updates), after, moments), cost

    state = jax.jit(gamma.init)(jax.random.key(0), x_u[:2])
    params = state.pop("params")
    start, keys = (params, state, optimizer.init(params)), jax.random.split(jax.random.key(1), 60)
    (params, state, _), costs = jax.jit(lambda carry: jax.lax.scan(step, carry, keys))(start)
    assert costs[-10:].mean() < costs[:10].mean() / 2
    probabilities = jax.jit(gamma.predict_proba)({"params": params, **state}, x_test)
    assert lj.error_percent(probabilities.argmax(1), y_test) < 40


def test_the_example_of_the_docstring_runs():
    x_u = normal(100, 5)
    data = {"x_l": x_u[:40], "y_l": np.int32(x_u[:40, 0] > 0), "x_u": x_u, "optax": optax}
    names = vars(module) | data
    test = doctest.DocTestParser().get_doctest(GammaWrapper.__doc__, names, "example", None, 0)
    assert doctest.DocTestRunner().run(test, clear_globs=False).failed == 0
    assert test.globs["probabilities"].shape == (100, 2)
