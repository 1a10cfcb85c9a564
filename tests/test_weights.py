"""Exported models: the same predictions anywhere, and nothing but clear errors from bad files."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import serialization
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ladder_jax as lj
from ladder_jax.train import result as weights

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = lj.TrainConfig(labels=20, epochs=1, batch_size=40, learning_rate=0.01)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of two seeds on small whitened images, its result and its test rows."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("export")
    x = rng.integers(0, 256, (60, 2, 2, 3), dtype=np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LADDER_CACHE_DIR", str(folder / "cache"))
        data = lj.data.from_arrays(
            x, np.arange(60) % 2, x[:9], np.arange(9) % 2, preprocessing="gcn_zca"
        )
        config = lj.LadderConfig((4, 2), (1, 1, 1), input_shape=(12,))
        result = lj.train_and_evaluate(
            config, SETTINGS, data, num_seeds=2, workdir=folder / "run", parallel=lj.Parallel(1)
        )
    return folder / "run", result, x[:9]


def test_loaded_model_predicts_as_the_result_does(run, tmp_path):
    """From the two files alone, raw rows in: whitening, scale and statistics are in them."""
    folder, result, x = run
    for name in ("weights.msgpack", "config.json"):
        shutil.copy(folder / name, tmp_path)
    for own in result.runs:
        model = lj.load(tmp_path, own.train_config.seed)
        assert (model.config, model.train_config) == (own.config, own.train_config)
        for kind in lj.STATISTICS:
            np.testing.assert_array_equal(model.predict(x, kind), own.predict(x, kind))
        jax.tree.map(np.testing.assert_array_equal, model.variables, own.variables)
        jax.tree.map(np.testing.assert_array_equal, model.statistics, own.statistics)
        np.testing.assert_array_equal(model.prepare(x), own.prepare(x))
    first = lj.load(tmp_path / "weights.msgpack")
    assert first.train_config.seed == 1
    with pytest.raises(lj.RunError, match="has no seed 3; it has 1, 2"):
        lj.load(tmp_path, seed=3)
    with pytest.raises(lj.ConfigError, match="statistics=other: is one of labelled"):
        first.predict(x, "other")


def test_files_of_a_newer_version_say_so(run, tmp_path):
    folder, _, _ = run
    shutil.copy(folder / "config.json", tmp_path)
    newer = {"format": weights.FORMAT + 1, "anything": 0}
    (tmp_path / "weights.msgpack").write_bytes(serialization.msgpack_serialize(newer))
    with pytest.raises(lj.RunError, match=r"has format 2, this version .* reads up to 1"):
        lj.load(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["model"]["attention"] = True
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(lj.RunError, match=r"newer version of ladder_jax .attention=True"):
        lj.load(tmp_path)


def test_unfinished_run_and_weights_of_another_network_say_so(run, tmp_path):
    folder, _, _ = run
    with pytest.raises(lj.RunError, match=r"has no config.json; give the folder of a finished run"):
        lj.load(tmp_path)
    shutil.copy(folder / "config.json", tmp_path)
    with pytest.raises(lj.RunError, match="give the folder of a finished run, or finish this one"):
        lj.load(tmp_path)
    shutil.copy(folder / "weights.msgpack", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["model"]["layers"][0] = "dense:5"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(lj.RunError, match="is damaged or of another network"):
        lj.load(tmp_path)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["1", "variables", "statistics", "scale"]), inner)
    ),
    max_leaves=8,
)


def test_config_of_another_kind_is_one_clear_error(run, tmp_path):
    folder, _, _ = run
    shutil.copy(folder / "weights.msgpack", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    for model in ([], "text", None, {"layers": 3}, {"input_noise": 10**400}):
        (tmp_path / "config.json").write_text(json.dumps(config | {"model": model}))
        with pytest.raises(lj.RunError):
            lj.load(tmp_path)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.data())
def test_any_bytes_are_a_model_or_one_clear_error(run, tmp_path, data):
    folder, _, x = run
    shutil.copy(folder / "config.json", tmp_path)
    good = (folder / "weights.msgpack").read_bytes()
    kind = data.draw(st.sampled_from(["cut", "flipped", "bytes", "tree"]))
    if kind == "cut":
        content = good[: data.draw(st.integers(0, len(good) - 1))]
    elif kind == "flipped":
        changed = bytearray(good)
        for at in data.draw(st.lists(st.integers(0, len(good) - 1), min_size=1, max_size=5)):
            changed[at] = data.draw(st.integers(0, 255))
        content = bytes(changed)
    elif kind == "bytes":
        content = data.draw(st.binary(max_size=60))
    else:
        tree = data.draw(plain)
        content = serialization.msgpack_serialize(tree)
        if data.draw(st.booleans()):  # with a digest that fits
            digest = hashlib.sha256(content).digest()
            whole = {"format": 1, "sha256": digest, "seeds": content}
            content = serialization.msgpack_serialize(whole)
    (tmp_path / "weights.msgpack").write_bytes(content)
    try:
        model = lj.load(tmp_path)
    except lj.RunError as error:
        assert "\n" not in str(error)
    else:
        assert content == good
        assert model.predict(x).shape == (9,)


def evaluate(*words, cwd):
    return subprocess.run(
        [sys.executable, ROOT / "experiments" / "evaluate.py", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=120,
    )


def test_evaluate_repeats_and_extends_what_the_run_reported(tmp_path):
    words = ("--model=baseline", "--epochs=2", "--validation=100", "--quiet", "--workdir=run")
    words += ("--noreport",)
    digits = ROOT / "experiments" / "digits.py"
    subprocess.run([sys.executable, digits, *words], check=True, cwd=tmp_path, timeout=120)
    (entry,) = json.loads((tmp_path / "run" / "result.json").read_text())["runs"]
    done = evaluate("run", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (again,) = json.loads(done.stdout)["error_percent"]
    assert again == {"seed": 1} | entry["validation_error_percent"]
    done = evaluate("run/weights.msgpack", "--statistics=unlabelled", "--rows=test", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "error % on the test rows of digits" in done.stdout
    assert "unlabelled" in done.stdout
    assert "running" not in done.stdout
    for words, message in (
        ((), "RUN is missing"),
        (("nowhere",), "nowhere: holds no weights"),
        (("run", "--statistics=mine"), "statistics=mine: is one of"),
        (("run", "--rows=all"), "rows"),
        (("run", "run"), "unexpected word"),
    ):
        done = evaluate(*words, cwd=tmp_path)
        assert done.returncode == 1
        assert message in done.stderr
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_evaluate_does_not_guess_at_other_data(run, tmp_path):
    folder, _, _ = run
    done = evaluate(str(folder), cwd=tmp_path)
    assert done.returncode == 1
    assert "is of data given as arrays (arrays); use ladder_jax.load" in done.stderr
    for name in ("weights.msgpack", "config.json"):
        shutil.copy(folder / name, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["data"]["name"] = "digits"
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "was trained on other data" in evaluate(str(tmp_path), cwd=tmp_path).stderr
