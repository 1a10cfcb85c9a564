"""experiments/plot.py, and error against labels, which only several runs have."""

import json
import sys
from pathlib import Path

import pytest
from plot_runs import copy, described, legend_of, runs

import ladder_jax as lj
from ladder_jax import plots

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "experiments"))

import plot


def test_error_against_labels(tmp_path):
    """Mean and deviation of a ledger's runs, a dot for each, the paper's points beside them."""

    def line(preset, seed, error, **settings):
        preset = lj.presets.get(preset)
        training = preset.train_config.to_json() | {"seed": seed, "data_seed": seed} | settings
        data = {"name": preset.dataset, "rows": 60000}
        config = {"model": preset.config.to_json(), "training": training, "data": data}
        errors = dict.fromkeys(lj.STATISTICS, error)
        return json.dumps({"seed": seed, "test_error_percent": errors, "config": config}) + "\n"

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
    dots = [list(own.get_ydata()) for own in axes.lines if own.get_marker() == "."]
    assert dots == [[1.0, 1.4, 0.6], [1.6]]
    for model, bars in (("ladder", of_ladder), ("gamma", of_gamma)):
        known = [own for own in lj.presets.PRESETS.values() if own.paper_error]
        rows = [own for own in known if own.name.startswith(f"mnist-{model}-")]
        assert list(bars[0].get_ydata()) == [own.paper_error[0] for own in rows]
        for own, segment in zip(rows, bars[2][0].get_segments(), strict=True):
            low, high = segment[:, 1]
            assert ((high + low) / 2, (high - low) / 2) == pytest.approx(own.paper_error)
        labels = [60000 if own.labels == "all" else own.labels for own in rows]
        assert bars[0].get_xdata() == pytest.approx(labels, rel=0.3)  # shifted to lie side by side
        assert bars[0].get_markerfacecolor() == "white"
    assert legend_of(figure) == ["ladder (3 runs)", "open: the paper", "gamma (1 run)"]
    assert described(axes) == ("labelled rows", "test error (%)", "log")
    ticks = [label.get_text() for label in axes.get_xticklabels()]
    assert (axes.get_xscale(), ticks) == ("log", ["50", "100", "1,000", "60,000"])


@pytest.fixture
def command(monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["plot.py", *map(str, words)])
        with pytest.raises(SystemExit) as exit:
            sys.exit(plot.main(plot.define()))
        return exit.value.code or 0, *capsys.readouterr()

    return run


def test_command(command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    names = list(plots.PICTURES)
    assert {*names, "error_against_labels"} == set(plots.CAPTIONS)
    paths = [(folder := runs()["ladder"] / "figures") / f"{name}.png" for name in names]
    told = "".join(f"{path}\n" for path in [*paths, folder.parent / "report.html"])
    assert command(runs()["ladder"]) == (0, told, "")
    assert sorted(folder.iterdir()) == sorted(paths)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    needing = "reconstructions, confusion, mistakes"
    _, out, err = command(runs()["held_out"], "--output=one")
    assert out.split() == [f"one/{name}.png" for name in names[:3]]
    assert err.startswith(f"left out: {needing} (data given as arrays:")
    _, out, err = command(runs()["unfinished"], "--output", "two")
    assert out.split() == [f"two/{name}.png" for name in names[:2]]
    assert err == f"left out: denoising_functions, {needing} (the run is not finished)\n"
    _, out, err = command(runs()["ladder"], runs()["held_out"])
    assert out.split() == [f"compared/compared_{name}.png" for name in names[:2]]
    assert sorted(folder.iterdir()) == sorted(paths)  # a report shows its own run only
    assert err == "left out: error_against_labels (all runs have the same number of labels)\n"


def test_users_mistakes_are_one_line(command, tmp_path):
    def spoil(name, run="ladder", content="{\n"):
        spoilt = copy(runs()[run], tmp_path / f"{run}-{name.split('.')[0]}")
        (spoilt / name).write_text(content)
        return spoilt

    other = copy(runs()["ladder"], tmp_path / "other", data={"sha256": "0"})
    for words, message in {
        (): "RUN is missing",
        ("nowhere",): "nowhere: no such run folder",
        (tmp_path,): "is no run folder: it has no config.json",
        (spoil("metrics.jsonl", "unfinished", ""),): "no epoch is finished yet",
        (spoil("config.json"),): "config.json: is damaged",
        (spoil("metrics.jsonl"),): "metrics.jsonl: is damaged",
        (spoil("weights.msgpack"),): "weights.msgpack: is damaged",
        (other,): "was trained on other data than",
        ("--ledger=none",): "none: no such ledger",
    }.items():
        status, out, err = command(*words)
        assert (status, out, err.count("\n")) == (1, "", 1), (words, err)
        assert err.startswith("error: ") and message in err
