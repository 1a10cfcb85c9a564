"""What commit 1e7a8f2 left on disks loads as it did and predicts what it did; see fixtures/."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import ladder_jax as lj

sys.path.insert(0, str(Path(__file__).resolve().parent / "fixtures"))

import make
from make import NAMES, RUNS, data_of

FIXTURES = Path(make.__file__).parent
EXPECTED = json.loads((FIXTURES / "expected.json").read_text())
FINISHED = [name for name in RUNS if name != "unfinished"]


@pytest.fixture
def copy(tmp_path):
    """Copies a fixture, so that nothing is ever written into the kept one."""
    return lambda name: Path(shutil.copytree(FIXTURES / name, tmp_path / name))


def read(folder, name):
    return json.loads((folder / name).read_text())


def test_no_byte_has_changed():
    paths = [path for path in FIXTURES.glob("*/**/*") if path.is_file()]
    paths = [path for path in paths if "__pycache__" not in path.parts]
    digests = {
        path.relative_to(FIXTURES).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
    }
    assert digests == EXPECTED["sha256"]


@pytest.mark.parametrize("name", FINISHED)
def test_a_run_predicts_what_it_did(name):
    config, train, seeds = RUNS[name]
    known = EXPECTED[name]
    x = np.array(known["x"], data_of(name).x_test.dtype)
    assert list(known["probabilities"]) == [str(1 + i) for i in range(seeds)]
    for seed, by_kind in known["probabilities"].items():
        model = lj.load(FIXTURES / name, int(seed))
        assert model.config == config
        assert model.train_config.seed == int(seed)
        assert model.train_config.epochs == train.epochs
        assert list(by_kind) == list(lj.STATISTICS)
        for kind, wanted in by_kind.items():
            np.testing.assert_allclose(model.predict_proba(x, kind), wanted, rtol=0, atol=1e-5)
    first = lj.load(FIXTURES / name)
    np.testing.assert_array_equal(
        first.predict(x), np.argmax(known["probabilities"]["1"]["labelled"], axis=1)
    )


@pytest.mark.parametrize("name", FINISHED)
def test_a_finished_run_is_known_and_not_trained_again(name, copy):
    config, train, seeds = RUNS[name]
    folder, told = copy(name), []
    known, ways = read(folder, "result.json"), lj.Parallel(devices=1, seed_mode="sequential")
    assert lj.finished_summary(folder, config, train, seeds) == known
    result = lj.train_and_evaluate(
        config,
        train,
        data_of(name),
        num_seeds=seeds,
        parallel=ways,
        workdir=folder,
        on_progress=told.append,
    )
    assert not told
    assert result.summary == known
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    assert result.metrics == [json.loads(line) for line in lines]
    assert [line["epoch"] for line in result.metrics] == [1, 2, 3, 4] * seeds
    labelled = read(folder, "label_indices.json")
    for seed, own in zip(labelled, result.runs or [result], strict=True):
        assert labelled[seed] == own.split.labelled.tolist()
    x, y = data_of(name).x_test, data_of(name).y_test
    for own, entry in zip(result.runs or [result], known["runs"], strict=True):
        assert own.train_config.seed == entry["seed"]
        for kind, error in (entry["test_error_percent"] or {}).items():
            assert lj.error_percent(own.predict(x, kind), y) == error


@pytest.mark.parametrize("name", FINISHED)
def test_another_configuration_is_refused(name):
    config, _, seeds = RUNS[name]
    other = lj.TrainConfig(labels=16, epochs=5)
    with pytest.raises(lj.RunError, match="holds a run with another configuration"):
        lj.finished_summary(FIXTURES / name, config, other, seeds)


@pytest.mark.parametrize("name", [*RUNS, "classifier"])
def test_report(name, copy):
    folder = copy(name)
    if name == "classifier":  # fitted without a work folder: a model, not a run
        with pytest.raises(lj.RunError, match="is a saved model, not a run folder"):
            lj.report.write_report(folder)
        return
    page = lj.report.write_report(folder).read_text()
    assert read(folder, "config.json")["data"]["sha256"] in page
    if name in FINISHED:
        result = read(folder, "result.json")
        part = "validation" if RUNS[name][1].validation else "test"
        assert f"{result[f'{part}_error_percent']:.2f}" in page


def test_classifier():
    known = EXPECTED["classifier"]
    own, x = lj.LadderClassifier.load(FIXTURES / "classifier"), np.array(known["x"])
    np.testing.assert_allclose(own.predict_proba(x), known["probabilities"], rtol=0, atol=1e-5)
    assert own.predict(x).tolist() == known["predicted"]
    assert own.classes_.tolist() == list(NAMES)
    assert (own.n_features_in_, own.n_iter_) == (6, 81)
    parameters = {"layers": [8], "steps": 80, "random_state": 1, "unlabeled_label": ""}
    assert parameters.items() <= own.get_params().items()
    assert [line["epoch"] for line in own.history_] == list(range(1, 1 + len(own.history_)))
    with pytest.raises(lj.RunError, match="holds a LadderClassifier"):
        lj.load(FIXTURES / "classifier")


def test_an_unfinished_run_is_refused_in_one_line(copy):
    config, train, _ = RUNS["unfinished"]
    with pytest.raises(lj.RunError, match=r"checkpoints of an older version.*set this run aside"):
        lj.train_and_evaluate(config, train, data_of("unfinished"), workdir=copy("unfinished"))


def test_unfinished_run():
    """Its two epochs are there and a checkpoint, and no result."""
    config, train, seeds = RUNS["unfinished"]
    folder = FIXTURES / "unfinished"
    assert lj.finished_summary(folder, config, train, seeds) is None
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]
    assert (folder / "checkpoints").is_dir()
    with pytest.raises(lj.RunError, match="no weights"):
        lj.load(folder)
