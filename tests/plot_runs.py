"""Run folders for the tests of pictures, and what a figure says."""

import atexit
import functools
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

import ladder_jax as lj

HELD_OUT = np.random.default_rng(1).permutation(1297)[-500:]  # by docs/architecture.md, of seed 1


@functools.cache
def digits():
    return lj.data.load("digits")


@functools.cache
def flat():
    x, x_test = (own.reshape(-1, 64) for own in (digits().x_train, digits().x_test))
    y, y_test = digits().y_train, digits().y_test
    return lj.data.from_arrays(x, y, x_test, y_test, name="flat", scale=1 / 16)


@functools.cache
def runs():
    """Run folders: two seeds and an unfinished one; copies told baseline, told of held-out rows."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    config = lj.LadderConfig((20, 10), (10, 1, 0.1), input_shape=(64,))
    settings = lj.TrainConfig(labels=50, epochs=3, batch_size=2000)
    more = {"num_seeds": 2, "parallel": lj.Parallel(1, seed_mode="sequential")}
    lj.train_and_evaluate(config, settings, digits(), workdir=folder / "ladder", **more)
    more["should_stop"] = lambda: (folder / "unfinished" / "metrics.jsonl").exists()
    with pytest.raises(lj.StoppedError):
        lj.train_and_evaluate(config, settings, digits(), workdir=folder / "unfinished", **more)
    copy(folder / "ladder", folder / "baseline", model={"denoising_weights": [0, 0, 0]})
    data, training = {"name": "flat", "sha256": flat().fingerprint()}, {"validation": 500}
    held_out = copy(folder / "ladder", folder / "held_out", data=data, training=training)
    lines = (own | {"validation_error_percent": 9 / own["epoch"]} for own in metrics_of(held_out))
    (held_out / "metrics.jsonl").write_text("".join(json.dumps(own) + "\n" for own in lines))
    return {path.name: path for path in folder.iterdir()}


def copy(run, to, **changes):
    shutil.copytree(run, to)
    known = json.loads((run / "config.json").read_text())
    known |= {name: known[name] | own for name, own in changes.items()}
    (to / "config.json").write_text(json.dumps(known))
    return to


def metrics_of(run, key=None, seed=1):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line[key] if key else line for line in lines if line["seed"] == seed]


def legend_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def described(axes):
    return axes.get_xlabel(), axes.get_ylabel(), axes.get_yscale()
