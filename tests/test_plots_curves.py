"""What tells curves apart: names, colours, markers and titles; costs that are all 0."""

import json
import warnings

import pytest
from matplotlib.colors import to_rgb
from plot_runs import legend_of, runs
from report_pages import write_run

import ladder_jax as lj
from ladder_jax import plots
from ladder_jax.plots import style as plot_style

OTHERS = {"learning_rate": 0.01, "batch_size": 50, "decay_start": 0.5, "labelled_batch_size": 50}
"""So many settings that their names are too long for a legend."""


def test_folders_of_one_name_are_told_apart(tmp_path, monkeypatch):
    write_run(tmp_path / "a" / "run", done=2)
    write_run(tmp_path / "b" / "run", done=2, **OTHERS)
    write_run(tmp_path / "b" / "other", done=2, epochs=3, **OTHERS)
    monkeypatch.chdir(tmp_path / "a" / "run")
    figure = plots.learning_curves([".", tmp_path / "b" / "run", "../../b/other"])
    names = ["a/run (epoch 2 of 150)", "b/run (epoch 2 of 150)", "other (epoch 2 of 3)"]
    assert legend_of(figure) == names


@pytest.mark.parametrize("draw", [plots.learning_curves, plots.denoising_costs])
def test_no_runs(draw):
    with pytest.raises(lj.RunError, match=r"^no run is given$"):
        draw([])


def test_styles_are_those_of_okabe_and_ito():
    """Series 8 has the first colour again, but another marker."""
    known = [(0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0)]
    known += [(86, 180, 233), (0, 0, 0)]
    styles = [plot_style.style_of(at) for at in range(56)]
    shown = [tuple(round(255 * part) for part in to_rgb(own["color"])) for own in styles]
    assert shown == known * 8
    assert len({(own["color"], own["marker"]) for own in styles}) == 56


def test_titles_do_not_reach_the_next_axes(tmp_path):
    folders = []
    for at in range(3):
        config = {"input_noise": 0.25 + at / 100}
        folder = write_run(tmp_path / str(at), done=7, seeds=3, batch_size=60 + at, config=config)
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        costs = {f"cost/denoising_{i}": 0.5 for i in range(7)}
        lines = [json.dumps(json.loads(own) | costs) for own in lines]
        (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
        folders.append(folder)
    figure = plots.denoising_costs(folders)
    figure.draw_without_rendering()
    left, right, below = (axes.title.get_window_extent() for axes in figure.axes)
    assert left.x1 < right.x0 and right.x1 < figure.bbox.width
    assert below.y1 < figure.axes[0].get_window_extent().y0


def test_a_cost_of_zero_is_drawn(tmp_path):
    run = write_run(tmp_path, done=3, costs=[0, 0, 0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = plots.learning_curves(run)
        figure.draw_without_rendering()
    axes = figure.axes[0]
    assert (axes.get_yscale(), list(axes.lines[0].get_ydata())) == ("linear", [0, 0, 0])


def test_the_legend_shows_a_band_without_a_series_colour():
    figure = plots.learning_curves(runs()["ladder"])
    assert legend_of(figure)[-1] == "band: least to greatest seed"
    red, green, blue, _ = figure.legends[0].get_patches()[-1].get_facecolor()
    assert red == green == blue


def test_a_picture_that_cannot_be_written_says_nothing_of_the_run(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "own.png", tmp_path):
        with pytest.raises(lj.RunError, match=r": cannot be written \([^();]+\)$"):
            plots.save(plots.learning_curves(runs()["ladder"]), path)
