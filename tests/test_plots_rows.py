"""Pictures of rows: confusion, mistakes, and which rows are reconstructed."""

import dataclasses
import itertools
import json
import warnings

import numpy as np
import pytest
from plot_runs import HELD_OUT, described, digits, flat, runs

import ladder_jax as lj
from ladder_jax import plots
from ladder_jax.plots.rows import Rows


@pytest.mark.parametrize("seed", [1, 2])
def test_confusion_is_of_all_rows(seed):
    entry = json.loads((runs()["ladder"] / "result.json").read_text())["runs"][seed - 1]
    figure = plots.confusion(runs()["ladder"], digits(), seed=seed)
    counts = counts_of(figure, digits().y_test)
    error = entry["test_error_percent"]["labelled"]
    assert 100 * (1 - counts.trace() / 500) == pytest.approx(error)
    said = f"500 test rows of digits, seed {seed}\n{error:.2f} % wrong, by labelled statistics"
    assert said in figure.get_suptitle()
    assert described(figure.axes[0])[:2] == ("predicted class", "true class")
    figure, y = plots.confusion(runs()["held_out"], flat()), flat().y_train[HELD_OUT]
    predicted = lj.load(runs()["held_out"]).predict(flat().x_train[HELD_OUT])
    for (true, own), count in np.ndenumerate(counts_of(figure, y)):
        assert count == ((y == true) & (predicted == own)).sum()
    assert "500 held-out rows (not test rows) of flat" in figure.get_suptitle()


def counts_of(figure, y):
    counts = np.zeros((10, 10), int)
    for text in figure.axes[0].texts:
        predicted, true = text.get_position()
        counts[true, predicted], share = text.get_text().split("\n")
        assert share == f"{100 * counts[true, predicted] / (y == true).sum():.1f} %"
    assert list(counts.sum(axis=1)) == list(np.bincount(y))
    shares = 100 * counts / np.bincount(y)[:, None]
    assert np.asarray(figure.axes[0].images[0].get_array()) == pytest.approx(shares)
    return counts


def test_mistakes_are_the_most_certain():
    figure = plots.mistakes(runs()["ladder"], digits())
    p = lj.load(runs()["ladder"]).predict_proba(digits().x_test)
    wrong = np.flatnonzero(p.argmax(axis=1) != digits().y_test)
    wrong = wrong[np.argsort(-p[wrong].max(axis=1))]
    assert len(figure.axes) == 18 < len(wrong)
    for axes, row in zip(figure.axes, wrong, strict=False):
        true = digits().y_test[row]
        title = f"row {row}\n{p[row].argmax()} ({p[row].max():.2f}) / {true}"
        assert axes.get_title() == title
        assert (axes.images[0].get_array() == digits().x_test[row][..., 0] / 16).all()
    counts = f"Mistakes, {len(wrong)} of 500 test rows of digits, seed 1\n18 of {len(wrong)} shown"
    assert figure.get_suptitle().startswith(counts)
    axes = plots.mistakes(runs()["held_out"], flat()).axes[0]  # of features
    names = [label.get_text() for label in axes.get_yticklabels()]
    for name, features in zip(names, axes.images[0].get_array(), strict=True):
        row = int(name.split(":")[0].removeprefix("row "))
        assert row in HELD_OUT  # its number among all rows, not among those
        assert name.endswith(f" / {flat().y_train[row]}")
        assert list(features) == list(flat().x_train[row])


def test_reconstructions_are_of_all_classes_where_rows_are_sorted():
    """The first minibatch would be of two classes."""
    x, y = (own[np.argsort(flat().y_test, kind="stable")] for own in (flat().x_test, flat().y_test))
    model = lj.load(runs()["held_out"])
    settings = dataclasses.replace(model.train_config, batch_size=100)
    model = dataclasses.replace(model, train_config=settings)
    figure = plots.reconstructions(Rows(x, y, np.arange(500), "500 rows", model))
    assert [axes.get_title() for axes in figure.axes] == [f"class {label}" for label in range(10)]
    clean = [axes.lines[0].get_ydata() for axes in figure.axes]
    some = np.linspace(0, 499, 100).astype(int)
    first = [some[np.flatnonzero(y[some] == label)[0]] for label in range(10)]
    assert np.array(clean) == pytest.approx(x[first] / 16, abs=1e-6)


class Wrong:
    """A model that takes each of ``count`` rows for the class after its own."""

    config, train_config = lj.LadderConfig((3,), (0, 0), input_shape=(6,)), lj.TrainConfig()

    def __init__(self, y, count):
        self.p = np.full((len(y), 3), 0.01)
        self.p[np.arange(len(y)), (y + (np.arange(len(y)) < count)) % 3] = 0.98

    def predict_proba(self, x):
        return self.p


@pytest.mark.parametrize("count", [0, 1, 3])
def test_few_mistakes_of_features_can_be_read(count):
    y = np.arange(20) % 3
    x = np.random.default_rng(0).normal(size=(20, 6))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = plots.mistakes(Rows(x, y, np.arange(7, 27), "20 rows", Wrong(y, count)))
        figure.draw_without_rendering()
    if not count:
        assert (figure.axes, figure.get_suptitle()) == ([], "Mistakes, 0 of 20 rows\n")
        return
    table, bar = figure.axes
    names = [label.get_text() for label in table.get_yticklabels()]
    assert [name.split(":")[0] for name in names] == ["row 7", "row 8", "row 9"][:count]
    low, high = bar.get_ylim()
    shown = [label for label in bar.get_yticklabels() if low <= label.get_position()[1] <= high]
    boxes = sorted((own.get_window_extent() for own in shown), key=lambda box: box.y0)
    assert all(a.y1 <= b.y0 for a, b in itertools.pairwise(boxes)) and len(boxes) > 1
