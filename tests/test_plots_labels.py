"""Error against the number of labelled rows: the points, and how many labels a run has."""

import json

import pytest
from plot_runs import copy, described, legend_of, runs
from report_pages import write_run

import ladder_jax as lj
from ladder_jax import plots
from ladder_jax.plots.labels import points_of
from ladder_jax.storage.read_run import read_run, read_runs


def line(preset, seed, error, part="test", data=(), **settings):
    """A line of a ledger."""
    preset = lj.presets.get(preset)
    training = preset.train_config.to_json() | {"seed": seed, "data_seed": seed} | settings
    data = {"name": preset.dataset, "rows": 60000} | dict(data)
    config = {"model": preset.config.to_json(), "training": training, "data": data}
    errors = dict.fromkeys(lj.STATISTICS, error)
    return json.dumps({"seed": seed, f"{part}_error_percent": errors, "config": config}) + "\n"


def test_error_against_labels(tmp_path):
    """Mean and deviation of a ledger's runs, a dot for each, the paper's points beside them."""
    lines = [line("mnist-ladder-100", 1, 1.0), line("mnist-ladder-100", 2, 1.4)]
    lines += [lines[0], line("mnist-ladder-100", 3, 9.0, epochs=1)]  # twice; not the paper's
    lines += [line("mnist-ladder-all", 1, 0.6), line("mnist-gamma-1000", 1, 1.6)]
    (tmp_path / "ledger.jsonl").write_text("".join(lines))
    figure = plots.error_against_labels(ledger=tmp_path / "ledger.jsonl")
    axes = figure.axes[0]
    ladder, of_ladder, _, of_gamma = (bars.lines for bars in axes.containers)
    assert list(ladder[0].get_ydata()) == pytest.approx([1.2, 0.6])
    low, high = ladder[2][0].get_segments()[0][:, 1]
    assert (high - low) / 2 == pytest.approx(0.4 / 2**0.5)
    dots = [own for own in axes.lines if own.get_marker() == "."]
    assert [list(own.get_ydata()) for own in dots] == [[1.0, 1.4, 0.6], [1.6]]
    for own, at in zip(dots, ([100, 100, 60000], [1000]), strict=True):
        assert own.get_xdata() == pytest.approx(at, rel=0.1)
    assert sorted(set(dots[0].get_xdata())) == list(ladder[0].get_xdata())  # below its mean
    for model, bars in (("ladder", of_ladder), ("gamma", of_gamma)):
        known = [own for own in lj.presets.PRESETS.values() if own.paper_error]
        rows = [own for own in known if own.name.startswith(f"mnist-{model}-")]
        assert list(bars[0].get_ydata()) == [own.paper_error[0] for own in rows]
        for own, segment in zip(rows, bars[2][0].get_segments(), strict=True):
            low, high = segment[:, 1]
            assert ((high + low) / 2, (high - low) / 2) == pytest.approx(own.paper_error)
        labels = [60000 if own.labels == "all" else own.labels for own in rows]
        assert bars[0].get_xdata() == pytest.approx(labels, rel=0.1)  # shifted to lie side by side
        assert bars[0].get_markerfacecolor() == "white"
    assert legend_of(figure) == ["ladder (3 runs)", "gamma (1 run)", "open: the paper"]
    assert described(axes) == ("labelled rows", "test error (%)", "log")
    ticks = [label.get_text() for label in axes.get_xticklabels()]
    assert (axes.get_xscale(), ticks) == ("log", ["50", "100", "1,000", "60,000"])


def test_two_data_sets_and_held_out_rows(tmp_path):
    ledger, held_out = tmp_path / "ledger.jsonl", {"part": "validation", "validation": 10_000}
    ledger.write_text(line("mnist-ladder-100", 1, 5.0, **held_out))
    axes = plots.error_against_labels(ledger=ledger).axes[0]
    assert axes.get_ylabel() == "error on held-out rows (%)"
    small = {"name": "digits", "rows": 1297}
    lines = line("digits-ladder-50", 1, 5.0, data=small), line("mnist-ladder-100", 1, 1.0)
    ledger.write_text("".join(lines))
    figure = plots.error_against_labels(ledger=ledger)
    names = ["digits ladder (1 run)", "mnist ladder (1 run)", "open: the paper"]
    assert legend_of(figure) == names
    assert figure.axes[0].get_ylabel() == "test error (%)"
    figure = plots.error_against_labels([write_run(tmp_path / "run", validation=10_000)], ledger)
    assert legend_of(figure)[0] == "mnist ladder, validation 10000 (1 run)"
    label = "error (%), on test rows or, with validation, on held-out rows"
    assert figure.axes[0].get_ylabel() == label


def own_split(folder, labels):
    """A copy of a run of two seeds, told of a split of the caller's own with so many labels."""
    split = {"data": {"split": f"{labels:016}"}, "training": {"labels": "all"}}
    copied = copy(runs()["ladder"], folder, **split)
    indices = {seed: list(range(labels)) for seed in (1, 2)}
    (copied / "label_indices.json").write_text(json.dumps(indices))
    return copied


def test_all_of_a_split_are_those_with_a_label(tmp_path):
    """Not all rows: "all" labels are those that the split has; a ledger does not say how many."""
    few, many = (own_split(tmp_path / str(labels), labels) for labels in (40, 400))
    found = points_of(read_runs([few, many]))
    assert [point.labels for point in found] == [40, 40, 400, 400]
    figure = plots.error_against_labels([few, many])
    ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert ticks == ["40", "400"]
    assert legend_of(plots.learning_curves(few))[0] == "digits ladder, 40 labels (2 seeds)"
    (many / "label_indices.json").unlink()
    assert points_of([read_run(many)]) == []
    lines = [json.loads(line("mnist-ladder-all", 1, 0.6, data=own)) for own in ({}, {"split": "1"})]
    assert [point.labels for point in points_of([], lines)] == [60000]
    other = json.loads(line("mnist-ladder-100", 1, 2.0, epochs=1))  # no preset's, but all there is
    assert [point.labels for point in points_of([], [lines[1], other])] == [100]
    held_out = line("mnist-ladder-all", 1, 0.6, "validation", validation=10_000)
    assert [point.labels for point in points_of([], [json.loads(held_out)])] == [50000]
