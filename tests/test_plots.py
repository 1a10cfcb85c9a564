"""Pictures of runs: what they show is what the run folders, the data and the paper say."""

import subprocess
import sys

import jax
import matplotlib
import numpy as np
import pytest
import reference_combinators
from plot_runs import HELD_OUT, copy, described, digits, flat, legend_of, metrics_of, runs

import ladder_jax as lj
from ladder_jax import plots
from ladder_jax.plots import decoder as plot_decoder
from ladder_jax.plots.decoder import U, Z


def test_learning_curves_are_the_metrics():
    figure = plots.learning_curves(runs()["held_out"])
    keys = ("cost/total", "cost/supervised", "learning_rate", "validation_error_percent")
    for axes, key in zip(figure.axes, keys, strict=True):
        (line,) = axes.lines
        assert list(line.get_xdata()) == [1, 2, 3]
        assert list(line.get_ydata()) == metrics_of(runs()["held_out"], key)
    found = [described(axes)[1:] for axes in figure.axes]
    assert found[:2] == [("total cost (nats + Σ λC)", "log"), ("supervised cost (nats)", "log")]
    assert found[2:] == [("learning rate", "linear"), ("error on held-out rows (%)", "linear")]
    assert legend_of(figure) == ["flat ladder, 50 labels"]


def test_seeds_are_a_mean_and_a_band(tmp_path):
    """The same run in two folders counts once; what differs is in the legend."""
    again = copy(runs()["ladder"], tmp_path / "again")
    figure = plots.learning_curves([runs()["ladder"], runs()["baseline"], again])
    own, other = figure.axes[1].lines
    costs = np.array([metrics_of(again, "cost/supervised", seed) for seed in (1, 2)])
    assert own.get_ydata() == pytest.approx(costs.mean(axis=0))
    edge = figure.axes[1].collections[0].get_paths()[0].vertices
    for epoch, of_seeds in enumerate(costs.T, 1):
        reached = edge[edge[:, 0] == epoch, 1]
        assert (reached.min(), reached.max()) == (of_seeds.min(), of_seeds.max())
    for look in ("get_color", "get_marker", "get_linestyle"):
        assert getattr(own, look)() != getattr(other, look)()
    assert legend_of(figure)[:2] == ["ladder (2 seeds)", "baseline (2 seeds)"]


def test_denoising_costs_by_layer():
    figure = plots.denoising_costs([runs()["held_out"], runs()["unfinished"], runs()["baseline"]])
    names = [axes.get_title().replace("\n", " ") for axes in figure.axes]  # none of a baseline
    assert names == ["validation 500, data flat", "validation 0, data digits (epoch 1 of 3)"]
    for axes, run in zip(figure.axes, ("held_out", "unfinished"), strict=True):
        for i, line in enumerate(axes.lines):
            assert list(line.get_ydata()) == metrics_of(runs()[run], f"cost/denoising_{i}")
        assert axes.get_legend_handles_labels()[1] == ["0 input", "1 dense:20", "2 dense:10"]
        assert described(axes) == ("epoch", "C(l), squared error per unit", "log")


def by_hand(model, name, unit, u):
    a_P = np.asarray(model.variables["params"]["decoder"]["layer_1"]["combinator"])[:, unit]
    u = None if u is None else np.full((81, 1), float(u))
    a_Px1, z = a_P[:, None].astype(float), Z[:, None]
    return reference_combinators.resolve(name)(z, u, a_Px1)[:, 0]


def test_denoising_functions_are_the_combinators():
    model = lj.load(runs()["ladder"], 2)
    figure = plots.denoising_functions(runs()["ladder"], 1, [2, 19], seed=2)
    assert ", gaussian, seed 2; dashed" in figure.get_suptitle()
    viridis = matplotlib.colormaps["viridis"]
    *panels, bar = figure.axes
    for axes, unit in zip(panels, (2, 19), strict=True):
        assert axes.get_title() == f"unit {unit}"
        line, *curves = axes.lines
        assert (line.get_xy1(), line.get_slope()) == ((0, 0), 1)
        for curve, u in zip(curves, (-2, -1, 0, 1, 2), strict=True):
            expected = by_hand(model, "gaussian", unit, u)
            assert curve.get_ydata() == pytest.approx(expected, abs=1e-5)
            assert curve.get_color() == viridis((u + 2) / 4)
        widths = [curve.get_linewidth() for curve in curves]
        assert widths == sorted(set(widths))  # not colour alone
    assert described(panels[0])[:2] == (r"$\tilde{z}$", r"$\hat{z}$")
    assert bar.get_ylabel() == "u (standard deviations)"
    z, u = (own.ravel() for own in np.meshgrid(Z, U))
    plane, away = np.stack([z, u, np.ones_like(z)], axis=1), []
    for unit in range(20):
        own = np.concatenate([by_hand(model, "gaussian", unit, u) for u in U])
        away.append(np.linalg.lstsq(plane, own)[1][0])
    *panels, _ = plots.denoising_functions(runs()["ladder"], seed=2).axes
    assert {axes.get_title() for axes in panels} == {f"unit {at}" for at in np.argsort(away)[-6:]}


@pytest.mark.parametrize("name", ["vanilla", "mlp:2", "augmented_mlp:2", "gaussian:no_u", "relu"])
def test_every_kind_of_combinator(name):
    """Per channel in layer 1, without parameters at the input."""
    layers, names = ("conv:4:3", "globalmean", 3), ("identity", name, "gaussian", "gaussian")
    config = lj.LadderConfig(layers, (1,) * 4, input_shape=(6, 6, 2), combinator=names)
    combinator = config.levels[1].combinator
    a_PxD = np.random.default_rng(0).normal(size=(len(combinator.start), 4)).astype(np.float32)
    parts = {"variables": {"params": {"decoder": {"layer_1": {"combinator": a_PxD}}}}}
    parts |= {"statistics": {}, "scale": 1.0, "prepare": lj.data.Preparation()}
    model = lj.Model(config=config, train_config=lj.TrainConfig(), **parts)
    values = [None] if "no_u" in name else [-1.0, 0.5]
    g = reference_combinators.mlp((2,), name[0] == "a") if "mlp" in name else name
    found = plot_decoder.denoised(model, 1, Z, np.array([-1.0, 0.5]), [3, 0])
    assert found.shape == (len(values), 81, 2)
    for own, u in zip(found, values, strict=True):
        for place, unit in enumerate((3, 0)):
            expected = by_hand(model, g, unit, u)
            assert own[:, place] == pytest.approx(expected, rel=1e-4, abs=1e-4)
    without = plot_decoder.denoised(model, 0, Z, U, [1])
    assert without.ravel() == pytest.approx(Z, abs=1e-6)


def inputs_by_hand(model, x):
    x = x.reshape(len(x), -1) * np.float32(model.scale)
    noise = lj.draw_noise(model.config, jax.random.key(0), 0, len(x))
    corrupted = lj.encode(model.config, model.variables, None, x, noise)
    z_hat = lj.decode(model.config, model.variables, corrupted)[0]
    found = [np.asarray(own) for own in (x, corrupted.unlabelled.z[0], z_hat)]
    return found, [f"MSE {np.square(own - found[0]).mean():#.3g}" for own in found[1:]]


def test_reconstructions_are_those_of_decode():
    figure = plots.reconstructions(runs()["ladder"], digits())
    inputs, (noisy, denoised) = inputs_by_hand(lj.load(runs()["ladder"]), digits().x_test)
    first = [np.flatnonzero(digits().y_test == label)[0] for label in range(10)]
    expected = [np.clip(own[first], 0, 1) for own in inputs]
    shown = [axes.images[0].get_array() for axes in figure.axes]
    assert np.reshape(shown, (3, 10, 64)) == pytest.approx(np.array(expected), abs=1e-5)
    names = [figure.axes[at].get_ylabel() for at in (0, 10, 20)]
    assert names == ["clean", f"corrupted\n{noisy}", f"reconstructed\n{denoised}"]
    assert figure.get_suptitle().endswith(": 10 of 500 test rows of digits, seed 1")
    figure = plots.reconstructions(runs()["held_out"], flat())
    inputs, errors = inputs_by_hand(lj.load(runs()["held_out"]), flat().x_train[HELD_OUT])
    for label, axes in enumerate(figure.axes):
        row = np.flatnonzero(flat().y_train[HELD_OUT] == label)[0]
        for line, own in zip(axes.lines, inputs, strict=True):
            assert line.get_ydata() == pytest.approx(own[row], abs=1e-5)
    assert described(axes) == ("number of the feature", "value", "linear")
    names = ["clean", f"corrupted, {errors[0]}", f"reconstructed, {errors[1]}"]
    assert legend_of(figure) == names


def test_mistakes_in_python(monkeypatch):
    for call, message in (
        (lambda: plots.denoising_functions(runs()["ladder"], 3), "layer=3: .* one of 0, 1, 2"),
        (lambda: plots.denoising_functions(runs()["ladder"], 1, [20]), "units=20: .* 0 to 19"),
        (lambda: plots.denoising_functions(runs()["baseline"]), "a baseline has no decoder"),
        (lambda: plots.reconstructions(runs()["ladder"]), "the data are needed"),
        (lambda: plots.confusion(runs()["ladder"], flat()), "other data than these .flat."),
    ):
        with pytest.raises(lj.LadderError, match=message):
            call()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(lj.LadderError, match="pip install matplotlib"):
        plots.learning_curves(runs()["ladder"])
    code = "import sys; sys.modules['matplotlib'] = None; import ladder_jax.plots"
    subprocess.run([sys.executable, "-c", code], check=True)
