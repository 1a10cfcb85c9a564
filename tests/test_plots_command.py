"""experiments/plot.py: which pictures it writes, what it says it leaves out."""

import json
import sys
from pathlib import Path

import pytest
from plot_runs import copy, runs

from ladder_jax import plots

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "experiments"))

import plot


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
    drawn, told = out.splitlines()[:2], out.splitlines()[2:]
    assert drawn == [f"compared/compared_{name}.png" for name in names[:2]]
    result = json.loads((runs()["ladder"] / "result.json").read_text())
    error = f"{result['test_error_percent']:.2f} ± {result['test_error_percent_std']:.2f}"
    words = f"test error {error} % (2 seeds), by the labelled statistics"
    assert told == [f"{runs()['ladder']}: {words}", f"{runs()['held_out']}: no error"]
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
