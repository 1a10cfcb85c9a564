"""report.html's last part: how to make a run again, as a command or as Python code."""

import dataclasses
import json
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from report_pages import LADDER, report, write_run

import ladder_jax as lj
from ladder_jax.storage.description import describe_run, describe_settings

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "experiments"))

from cli import flags as common_flags  # noqa: E402


def parsed(line):
    """What the training command of that line would do."""
    python, script, *words = shlex.split(line)
    assert python == "python" and (ROOT / script).exists()
    values = common_flags.define(Path(script).stem, "wrong: it says labels")
    assert values([script, *words]) == [script]
    return common_flags.settings(Path(script).stem, values)


IMAGES = {"layers": ("conv:9:3", "maxpool:2", 10), "denoising_weights": (0, 0, 0, 1)}
IMAGES |= {"input_shape": (8, 8, 1), "pool_ties": "first", "activation": "leaky_relu"}
CASES = {
    "labels": {"labels": 260, "seed": 3, "epochs": 7, "learning_rate": 1e-05},
    "training": {"statistics": "running", "validation": 100, "prng": "rbg", "data_seed": 9},
    "all": {"labels": "all", "labelled_order": "independent", "matmul_precision": "bfloat16"},
    "seeds": {"seeds": 3, "seed": 5, "decay_start": 1.0, "labelled_batch_size": 50},
    "one split": {"seeds": 2, "data_seed": 1},
    "network": {"config": {"top_scale": False, "hidden_noise": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)}},
    "combinators": {"config": {"combinator": ("mlp:4:no_u", *["gaussian"] * 5, "none")}},
    "layers": {"config": {"layers": (20, 30, 10), "denoising_weights": (1, 2, 1 / 3, 0)}},
    "same λ": {"config": {"layers": (9, 500, 250, 250, 250, 10)}},
    "images": {"preset": lj.presets.get("digits-gamma-50"), "config": IMAGES},
}
CASES |= {name: {"preset": preset} for name, preset in lj.presets.PRESETS.items()}


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_command_makes_the_same_run(tmp_path, changes):
    """Both commands of an unfinished run: to go on, and to make it again."""
    folder = write_run(tmp_path / "it's a run", ended=False, done=0, **changes)
    page, known = report(folder), json.loads((folder / "config.json").read_text())
    for line, workdir in zip(page.pre, (str(folder), "runs/it's a run-again"), strict=True):
        chosen = parsed(line)
        own = describe_settings(chosen.config, chosen.train_config, chosen.num_seeds)
        assert own | {"data": known["data"]} == known
        assert chosen.parallel.seed_mode == known.get("seed_mode", "auto")
        assert chosen.workdir == workdir
        if [*changes] == ["preset"]:
            row = changes["preset"]
            assert shlex.split(line)[2:-1] == [f"--model={row.model}", f"--labels={row.labels}"]
            assert ("Conv-" in page.text) == ("MLP" not in page.text)


def test_python_code_makes_the_same_run(blobs, tiny_config, monkeypatch, tmp_path):
    train = lj.TrainConfig(labels=20, epochs=2, batch_size=50, seed=4)
    own = dataclasses.replace(LADDER, config=tiny_config, train_config=train)
    known = {"name": "blobs", "rows": 237, "sha256": blobs.fingerprint()}
    (code,) = report(write_run(tmp_path / "run", own, seeds=2, data=known)).pre
    calls = []
    monkeypatch.setattr(lj, "train_and_evaluate", lambda *args, **more: calls.append((args, more)))
    exec(code, vars(blobs).copy())
    ((own_config, own_train, own_data), more) = calls[0]
    assert (own_config, own_train, own_data.name) == (tiny_config, train, "blobs")
    assert more.pop("workdir") == "runs/run-again"
    assert more == {"num_seeds": 2, "parallel": lj.Parallel(seed_mode="sequential")}


FITS = {"conv_small": (28, 28, 1), "conv_large": (32, 32, 3), "conv_fc": (28, 28, 1), (12,): (6,)}


@pytest.mark.parametrize(("layers", "shape"), FITS.items())
def test_the_same_fit_makes_the_same_run(monkeypatch, tmp_path, layers, shape):
    """Of a fit the rows are not the user's own, so no code that names them could make it again."""

    def train(*run, split, workdir, **_):
        folder = Path(workdir)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(describe_run(*run, split=split)))
        raise lj.StoppedError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ladder_jax.estimator.classifier.train_and_evaluate", train)
    x, y = np.random.default_rng(0).normal(size=(90, *shape)), np.arange(90) % 3
    y[30:] = -1
    others = {"random_state": 3, "scaling": "range", "steps": 176}
    own = {"input_noise": 0.2, "learning_rate": 0.01, "decay_start": 0.5}
    own |= {"batch_size": 30, "labelled_batch_size": 20, "statistics": "running"}
    classifier = lj.LadderClassifier(layers, **own, **others)
    with pytest.raises(lj.StoppedError):
        classifier.fit(x, y, workdir="fit")
    page, known = report("fit"), Path("fit/config.json").read_text()
    assert "the same call of lj.LadderClassifier(...).fit (or experiments/arrays.py's" in page.text
    assert "with the same 90 rows" in page.text and "from_arrays" not in page.text
    assert page.text.count("steps (about 174)") == 2  # 6 epochs of 29
    for code, folder in zip(page.pre, (tmp_path / "fit", Path("runs/fit-again")), strict=True):
        (folder / "config.json").unlink(missing_ok=True)
        with pytest.raises(lj.StoppedError):
            exec(code, {"X": x, "y": y, "others": others})
        assert (folder / "config.json").read_text() == known
