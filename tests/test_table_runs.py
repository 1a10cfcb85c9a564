"""The command of the tables: what it runs, and what it does not."""

import os
import sys
from pathlib import Path

import pytest
from tables_by_hand import ERROR, LADDER, Command, small_data

import ladder_jax as lj
from ladder_jax.storage.ledger import Ledger

LOAD = lj.data.load


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    return Command(monkeypatch, capsys, tmp_path)


def test_runs_what_is_missing_once_and_seed_by_seed(command):
    status, out, err = command()
    assert (status, err) == (0, "")
    ladder, gamma = "mnist-ladder-100", "mnist-gamma-1000"
    order = [(ladder, 1), (gamma, 1), (ladder, 2), (gamma, 2), (ladder, 3)]
    assert [call[:2] for call in command.trained] == command.ledger == order
    assert {path.name for path in Path("results").iterdir()} == {
        *("ledger.jsonl", "ledger.jsonl.lock", ".claims", "small.md", "small.png")
    }
    assert Path("results/small.md").read_text() in out
    assert "5 of 5 runs are missing" in out
    assert "Missing: 0 of the 5 runs that `python experiments/tables.py --table=small`" in out
    status, again, _ = command("--data_dir=nothing-is-read")
    assert (status, len(command.trained)) == (0, 5)
    assert "0 of 5 runs are missing" in again
    assert command.ledger == order


def test_line_of_the_ledger(command):
    command("--seeds=2", "--cells=*ladder*")
    (found,) = command.lines
    data = {"name": "mnist", "rows": 20, "sha256": small_data("mnist").fingerprint()}
    settings = LADDER.train_config.to_json() | {"seed": 2, "data_seed": 2}
    assert found.pop("finished").endswith("+00:00")
    config = {"model": LADDER.config.to_json(), "training": settings, "num_seeds": 1, "data": data}
    assert found == {
        "cell": "mnist-ladder-100",
        "seed": 2,
        "test_error_percent": ERROR,
        "config": config,
        "versions": {"jax": "1"},
        "device": "1 x cpu",
        "wall_seconds": 2.5,
    }


def test_cells_and_seeds_limit_what_is_run_and_not_what_is_shown(command):
    status, out, _ = command("--cells=*gamma*", "--seeds=7,9", "--quiet")
    assert command.ledger == [("mnist-gamma-1000", 7), ("mnist-gamma-1000", 9)]
    assert status == 0
    assert out.startswith("# Small, test error in %")
    status, out, _ = command("--cells=*ladder*", "--seeds=1", "--quiet")
    (gamma,) = (line for line in out.splitlines() if "mnist-gamma-1000" in line)
    assert "1.00 ± 0.00 |    2 |" in gamma
    assert len(command.trained) == 3


def test_short_trials_have_a_table_of_their_own(command):
    command("--seeds=1")
    status, out, _ = command("--seeds=1", "--epochs=1")
    assert (status, len(command.trained)) == (0, 4)
    assert "Not the paper's settings: epochs 1 (paper: 150)" in out
    assert command.trained[2][2] == os.path.join("runs", "mnist-ladder-100-epochs1-seed1")
    assert Path("results/small-epochs1.md").exists()
    text = Path("results/small.md").read_text()
    assert "Not the paper's settings" not in text
    _, out, _ = command("--dry_run")
    assert "mnist-ladder-100: to be run with seed 2-3" in out  # the trial is no run of the table
    assert len(command.trained) == 4


def test_dry_run_writes_nothing(command, tmp_path):
    status, out, err = command("--dry_run")
    assert (status, err, command.trained) == (0, "", [])
    assert "| mnist-ladder-100 |" in out
    assert "mnist-gamma-1000: to be run with seed 1-2" in out
    assert not list(tmp_path.iterdir())


def test_divergence_is_recorded_and_not_tried_again(command, monkeypatch):
    good = command.train

    def train(chosen, data, quiet):
        if chosen.train_config.seed == 2:
            raise lj.DivergedError("diverged in epoch 1, step 3: bad; try less; kept in runs/x")
        return good(chosen, data, quiet)

    monkeypatch.setattr("cli.console.train", train)
    status, out, err = command("--cells=*ladder*")
    assert (status, err) == (0, "")
    lines = command.lines
    assert [line["seed"] for line in lines] == [1, 2, 3]
    assert lines[1]["reason"] == "diverged in epoch 1, step 3: bad"
    assert lines[1]["test_error_percent"] is None
    assert {"config", "versions", "device", "wall_seconds", "finished"} <= set(lines[1])
    assert "- mnist-ladder-100 seed 2: diverged in epoch 1, step 3: bad\n" in out
    _, out, _ = command("--cells=*ladder*")
    assert "0 of 3 runs are missing" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--table=7"], "table=7: choose one of: 1, 2, 3, combinators"),
        (["--table="], "table=: choose one of"),
        (["--cells=nothing"], "cells=nothing: is no cell of this table; it has: mnist-ladder-100"),
        (["--seeds=5-1"], "seeds=5-1: give seeds like 1-10"),
        (["--epochs=0"], "epochs=0"),
        (["--batch_size=x"], "flag --batch_size=x"),
        (["seeds=1"], "seeds=1: unexpected word"),
        (["--out=file/results"], "out=file/results: cannot be written"),
        (["--ledger=file/ledger.jsonl"], "file/ledger.jsonl: cannot be"),
        (["--ledger=damaged"], "damaged: line 1 is damaged"),
    ],
)
def test_mistakes_end_in_one_line_before_anything_is_run(command, words, message):
    Path("file").write_text("")
    Path("damaged").write_text("what\n")
    status, _, err = command(*words)
    assert (status, err.count("\n"), command.trained) == (1, 1, [])
    assert err.startswith(f"error: {message}")


def test_missing_data_is_one_line(command, monkeypatch):
    monkeypatch.setattr(lj.data, "load", LOAD)
    status, _, err = command("--data_dir=nowhere")
    assert (status, err.count("\n")) == (1, 1)
    assert "nowhere" in err


def test_ledger_that_cannot_be_written_ends_at_once(command, monkeypatch):
    def full(self, line):
        raise lj.RunError("results/ledger.jsonl: cannot be written (no space)")

    monkeypatch.setattr(Ledger, "append", full)
    status, _, err = command()
    assert (status, err.count("\n"), len(command.trained)) == (1, 1, 1)


def test_without_matplotlib_a_line_says_how_to_get_it(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    status, out, err = command("--seeds=1")
    assert (status, err) == (0, "")
    assert 'pip install -e ".[plots]"' in out
    assert not Path("results/small.png").exists()


def test_help(command):
    status, out, _ = command("--help")
    assert status == 0
    assert all(f"--{name}" in out for name in ("table", "cells", "seeds", "[no]dry_run"))


def test_seeds_of_a_cell_are_trained_at_once_where_devices_are_made_for_that(command):
    words = ("--seed_mode=vmap", "--seeds_at_once=4")
    assert command(*words, "--cells=mnist-ladder-100", "--seeds=2")[0] == 0  # one is no group
    assert command(*words, "--seeds=1-8")[0] == 0
    ladder, gamma = "mnist-ladder-100", "mnist-gamma-1000"
    assert command.trained == [
        (ladder, 2, f"runs/{ladder}-seed2"),
        (ladder, 3, f"runs/{ladder}-seed3-6"),
        (ladder, 7, f"runs/{ladder}-seed7-8"),
        (gamma, 1, f"runs/{gamma}-seed1-4"),
        (gamma, 5, f"runs/{gamma}-seed5-8"),
        (ladder, 1, f"runs/{ladder}-seed1"),
    ]
    assert sorted(command.ledger) == [(name, n) for name in (gamma, ladder) for n in range(1, 9)]
    for line in command.lines:  # as of runs made one by one
        assert line["config"]["training"]["seed"] == line["seed"]
        assert line["config"]["num_seeds"] == 1
        assert line["wall_seconds"] == 2.5
    trained = list(command.trained)
    assert command(*words, "--seeds=1-8")[0] == 0
    assert command("--seeds=1-8")[0] == 0
    assert command.trained == trained


def test_group_that_cannot_be_trained_at_once_is_made_one_by_one(command, monkeypatch):
    from cli import console

    train = command.train

    def fails_at_once(chosen, data, quiet):
        if chosen.num_seeds > 1:
            raise lj.ConfigError("seed_mode", "vmap", "not here")
        return train(chosen, data, quiet)

    monkeypatch.setattr(console, "train", fails_at_once)
    assert command("--seed_mode=vmap", "--seeds=1-2")[0] == 0
    assert len(command.ledger) == 4
