"""The command of the tables as processes that train for real: killed, and two at a time."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# A table of the embedded digits; `trained` gets a line for each training that is started.
SCRIPT = f"""
import dataclasses, sys
sys.path.insert(0, {str(ROOT / "experiments")!r})
import tables
from cli import console
from paper_tables import cells as table_cells
import ladder_jax as lj

config = lj.LadderConfig((10,), (0, 0), input_shape=(64,))  # compiles fast
preset = lj.presets.Preset("digits", "small", 50, config, lj.TrainConfig(labels=50, epochs=200))
cells = [table_cells.preset_cell(preset)]
table_cells.TABLES["digits"] = table_cells.Table("Digits", lambda: cells)
train = console.train

def noted(chosen, data, quiet):
    with open("trained", "a") as file:
        file.write(chosen.workdir + "\\n")
    return train(chosen, data, quiet)

console.train = noted
tables.main(tables.define())
"""


@pytest.fixture
def environment():
    """Of the processes."""
    return os.environ | {"PYTHONPATH": str(ROOT)}


def start(folder, environment, *words):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "--table=digits", *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ledger_runs(folder):
    lines = (folder / "results" / "ledger.jsonl").read_text().splitlines()
    return [(line["cell"], line["seed"]) for line in map(json.loads, lines)]


FOUR = [("digits-small-50", seed) for seed in (1, 2, 3, 4)]


@pytest.mark.slow
def test_killed_twice_and_started_again(tmp_path, environment):
    """kill -9 in the middle of a run, and after a run was finished; then all is there, once."""
    metrics = tmp_path / "runs" / "digits-small-50-seed1" / "metrics.jsonl"
    ledger = tmp_path / "results" / "ledger.jsonl"
    for seen in (
        lambda: metrics.exists() and metrics.read_text().count("\n") >= 12,
        lambda: ledger.exists() and ledger.read_text().count("\n") >= 1,
    ):
        with start(tmp_path, environment, "--seeds=1-4", "--quiet") as process:
            while not seen():
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.01)
            process.kill()
    with start(tmp_path, environment, "--seeds=1-4") as process:
        out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, "")
    assert sorted(ledger_runs(tmp_path)) == FOUR
    trained = (tmp_path / "trained").read_text().split()
    # The first run was begun twice: it went on from a checkpoint, and is not begun a third time.
    assert trained.count("runs/digits-small-50-seed1") == 2
    assert len(metrics.read_text().splitlines()) == 200
    text = (tmp_path / "results" / "digits.md").read_text()
    assert "Missing: 0 of the 4 runs" in text
    assert text in out
    with start(tmp_path, environment, "--seeds=1-4") as process:
        process.communicate(timeout=300)
    assert (tmp_path / "trained").read_text().split() == trained
    assert sorted(ledger_runs(tmp_path)) == FOUR


@pytest.mark.slow
def test_two_processes_share_the_runs(tmp_path, environment):
    words = ("--seeds=1-4", "--epochs=2", "--quiet")
    processes = [start(tmp_path, environment, *words) for _ in range(2)]
    for process in processes:
        _, err = process.communicate(timeout=300)
        assert (process.returncode, err) == (0, "")
    assert sorted(ledger_runs(tmp_path)) == FOUR
    trained = (tmp_path / "trained").read_text().split()
    assert sorted(trained) == [f"runs/digits-small-50-epochs2-seed{n}" for n in (1, 2, 3, 4)]
    text = (tmp_path / "results" / "digits-epochs2.md").read_text()
    assert "Missing: 0 of the 4 runs" in text


@pytest.mark.slow
def test_seeds_at_once_have_the_errors_of_seeds_made_one_by_one(tmp_path, environment):
    lines = {}
    for mode in ("vmap", "sequential"):
        (folder := tmp_path / mode).mkdir()
        words = (f"--seed_mode={mode}", "--seeds=1-2", "--epochs=5", "--quiet")
        with start(folder, environment, *words) as process:
            _, err = process.communicate(timeout=300)
        assert (process.returncode, err) == (0, "")
        ledger = (folder / "results" / "ledger.jsonl").read_text().splitlines()
        lines[mode] = {line["seed"]: line for line in map(json.loads, ledger)}
    trained = (tmp_path / "vmap" / "trained").read_text().split()
    assert trained == ["runs/digits-small-50-epochs5-seed1-2"]
    for seed in (1, 2):
        at_once, alone = (lines[mode][seed] for mode in ("vmap", "sequential"))
        assert at_once["config"] == alone["config"]
        for kind, error in alone["test_error_percent"].items():
            assert at_once["test_error_percent"][kind] == pytest.approx(error, abs=1)
