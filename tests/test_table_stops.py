"""The command of the tables beside other processes, stopped, and on run folders that are there."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from tables_by_hand import CELLS, LADDER, Command, line, small_preset

import ladder_jax as lj
from ladder_jax.storage.ledger import Ledger

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "experiments"))

from cli import console
from cli import flags as common_flags
from paper_tables.results import identity


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    return Command(monkeypatch, capsys, tmp_path)


def write_finished(preset, folder, **changes):
    """A run folder as the training commands leave it."""
    made = line(preset, 1, (0.5, 0.6, 0.7), **changes)
    Path(folder).mkdir(parents=True)
    Path(folder, "config.json").write_text(json.dumps(made["config"]))
    run = {"seed": 1, "test_error_percent": made["test_error_percent"]}
    rest = {name: made[name] for name in ("config", "versions", "device", "wall_seconds")}
    Path(folder, "result.json").write_text(json.dumps({"runs": [run], **rest}))
    os.utime(Path(folder, "result.json"), (0, 3600))


def test_finished_run_folder_is_taken_up_without_data(command, monkeypatch):
    monkeypatch.delattr(lj.data, "load")
    values = common_flags.define("mnist", labels="100")
    values(["mnist.py"])
    folder = common_flags.settings("mnist", values).workdir  # where mnist.py puts that run
    assert folder == os.path.join("runs", CELLS[0].folder(1))
    write_finished(LADDER, folder)
    _, out, _ = command("--dry_run", "--seeds=1")
    assert f"mnist-ladder-100 seed 1: finished in {folder}, to be entered" in out
    assert not Path("results").exists()
    status, _, err = command("--seeds=1", "--cells=*ladder*")
    assert (status, err, command.trained) == (0, "", [])
    (found,) = command.lines
    assert found["test_error_percent"]["labelled"] == 0.5
    assert found["finished"] == "1970-01-01T01:00:00+00:00"


@pytest.mark.parametrize("other", [{"epochs": 7}, {"preset": small_preset("digits")}])
def test_folder_of_another_run_is_reported_and_the_others_are_made(command, other):
    other = dict(other)
    write_finished(other.pop("preset", LADDER), "runs/mnist-ladder-100-seed1", **other)
    status, out, err = command("--seeds=1-2")
    assert (status, err.count("\n")) == (1, 1)
    assert err.startswith("error: workdir=runs/mnist-ladder-100-seed1: holds a run ")
    assert [call[:2] for call in command.trained] == command.ledger
    assert len(command.trained) == 3
    assert "Missing: 1 of the 4 runs" in out


def test_run_that_another_process_makes_is_left_to_it(command):
    key = f"{identity(CELLS[0])} seed 1"
    with Ledger("results/ledger.jsonl").claim(key):
        status, out, _ = command("--seeds=1")
    assert status == 0
    assert command.ledger == [("mnist-gamma-1000", 1)]
    assert "1 of them are being made by another process" in out
    command("--seeds=1")
    assert command.ledger[1:] == [("mnist-ladder-100", 1)]


def test_run_that_another_process_finished_just_now_is_not_made_again(command, monkeypatch):
    claim = Ledger.claim

    def late(ledger, key):
        if not ledger.lines():  # the other process is faster by a moment
            ledger.append(line(LADDER, 1, (0.5, 0.6, 0.7)))
        return claim(ledger, key)

    monkeypatch.setattr(Ledger, "claim", late)
    command("--seeds=1")
    assert command.ledger == [("mnist-ladder-100", 1), ("mnist-gamma-1000", 1)]
    assert [call[:2] for call in command.trained] == [("mnist-gamma-1000", 1)]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_after_the_last_step_ends_with_the_run_in_the_ledger(
    command, monkeypatch, number, status
):
    good = command.train

    def train(chosen, data, quiet):
        console._StopOnSignal()
        os.kill(os.getpid(), number)
        return good(chosen, data, quiet)

    monkeypatch.setattr(console, "train", train)
    assert command()[0] == status
    assert command.ledger == [("mnist-ladder-100", 1)]
    monkeypatch.setattr(console, "train", good)
    assert command()[0] == 0
    assert len(command.ledger) == len(set(command.ledger)) == 5


def test_signal_between_runs(command, monkeypatch):
    monkeypatch.setattr(lj.data, "load", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    assert command()[0] == 143
    monkeypatch.setattr(lj.data, "load", lambda *_, **__: os.kill(os.getpid(), signal.SIGINT))
    assert command()[0] == 130


def test_table_is_written_after_each_run(command, monkeypatch):
    def train(chosen, data, quiet):
        if command.trained:
            raise KeyboardInterrupt
        return command.train(chosen, data, quiet)

    monkeypatch.setattr(console, "train", train)
    assert command()[0] == 130
    text = Path("results/small.md").read_text()
    assert "Missing: 4 of the 5 runs" in text
    assert not list(Path("results").glob("*.partial")) + list(Path("results").glob("*.png"))
