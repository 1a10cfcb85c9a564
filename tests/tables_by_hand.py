"""A table small enough to check by hand, and lines of a ledger for it."""

import dataclasses
import signal
import sys
import types
from pathlib import Path

import numpy as np

import ladder_jax as lj
from ladder_jax.storage.description import describe_run
from ladder_jax.storage.ledger import Ledger

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "experiments"))

import tables
from cli import console
from paper_tables import cells as table_cells
from paper_tables import render as table_text
from paper_tables import results as table_rows

ERROR = {"labelled": 1.0, "unlabelled": 1.1, "running": 1.2}


def small_preset(dataset="mnist", model="ladder", labels=100, paper=(1.06, 0.37), epochs=150):
    config = lj.LadderConfig((10,), (1, 0.1), input_shape=(64,))
    settings = lj.TrainConfig(labels=labels, epochs=epochs)
    return lj.presets.Preset(dataset, model, labels, config, settings, paper)


LADDER, GAMMA = small_preset(), small_preset(model="gamma", labels=1000)
CELLS = [
    dataclasses.replace(table_cells.preset_cell(preset), default_runs=runs)
    for preset, runs in ((LADDER, 3), (GAMMA, 2))
]


def small_data(name, data_dir=None):
    """Twenty rows under the name of a real data set."""
    y = np.arange(20) % 10
    x = np.eye(10, 64)[y].astype(np.float32)
    return lj.data.from_arrays(x, y, x, y, name=name)


def line(preset, seed, errors=None, reason=None, **changes):
    """A line of the ledger, written as the commands write it; errors by the three statistics."""
    config = changes.pop("config", preset.config)
    settings = dataclasses.replace(preset.train_config, seed=seed, **changes)
    training = settings.to_json() | {"data_seed": settings.split_seed}
    found = errors and dict(zip(("labelled", "unlabelled", "running"), errors, strict=True))
    held_out = settings.validation > 0
    return {
        "cell": preset.name,
        "seed": seed,
        "test_error_percent": None if held_out else found,
        **({"validation_error_percent": found} if held_out else {}),
        **({"reason": reason} if reason else {}),
        "config": {
            "model": config.to_json(),
            "training": training,
            "data": {"name": preset.dataset, "rows": 20, "sha256": "0123456789abcdef"},
        },
        "versions": {"python": "3.11.7", "jax": "0.10.2", "git_commit": "abcdef01234"},
        "device": "1 x cpu",
        "wall_seconds": 1.5,
        "finished": "2026-01-02T03:04:05+00:00",
    }


# Mean 1.5; deviations -.5, -.3, .8: std √(.98/2) = .7. With the paper's 1.06 ± .37 of 40 runs:
# .44/√(.49/3 + .1369/40) = .44/√.166756 = 1.0775 standard errors.
ERRORS = {1: (1.0, 1.3, 2.0), 2: (1.2, 1.6, 2.0), 3: (2.3, 1.9, 2.3)}
CELL = dataclasses.replace(CELLS[0], name="a-cell")


def rows_of(*lines, cells=(CELL,)):
    return table_rows.make_rows(list(cells), list(lines))


def report_of(rows, asked=5, missing=2):
    return table_text.Report("Some table", "python experiments/tables.py", rows, asked, missing)


class Command:
    """The command on a small table, without training or data.

    Attributes:
      trained: (preset, seed, run folder) of each training, in order.
    """

    def __init__(self, monkeypatch, capsys, folder):
        self.monkeypatch, self.capsys, self.trained = monkeypatch, capsys, []
        monkeypatch.chdir(folder)
        monkeypatch.setitem(table_cells.TABLES, "small", table_cells.Table("Small", lambda: CELLS))
        monkeypatch.setattr(lj.data, "load", small_data)
        monkeypatch.setattr(console, "train", self.train)

    def __call__(self, *words):
        """Runs it; gives (status, stdout, stderr). Leaves the handlers of signals alone."""
        if not any(word.startswith("--table") for word in words):
            words = ("--table=small", *words)
        if not any(word.startswith("--seed_mode") for word in words):
            words = ("--seed_mode=sequential", *words)
        self.monkeypatch.setattr(sys, "argv", ["tables.py", *words])
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        status = 0
        try:
            tables.main(tables.define())
        except SystemExit as exit:
            status = exit.code or 0
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return status, *self.capsys.readouterr()

    def train(self, chosen, data, quiet):
        """What stands for ``console.train``."""
        assert data.name == chosen.preset.dataset
        self.trained.append((chosen.preset.name, chosen.train_config.seed, chosen.workdir))
        seeds = range(chosen.train_config.seed, chosen.train_config.seed + chosen.num_seeds)
        config = describe_run(chosen.config, chosen.train_config, data, len(seeds), len(seeds) > 1)
        runs = [{"seed": seed, "test_error_percent": ERROR} for seed in seeds]
        rest = {"versions": {"jax": "1"}, "device": "1 x cpu", "wall_seconds": 2.5 * len(seeds)}
        return types.SimpleNamespace(summary={"runs": runs, "config": config, **rest})

    @property
    def ledger(self):
        """(cell, seed) of each line."""
        return [(line["cell"], line["seed"]) for line in self.lines]

    @property
    def lines(self):
        """All lines of the ledger."""
        return Ledger("results/ledger.jsonl").lines()
