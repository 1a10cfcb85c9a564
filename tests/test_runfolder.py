"""Work folders that belong to another run, are damaged or cannot be used."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from test_runs import SETTINGS

import ladder_jax as lj
from ladder_jax.storage.run_folder import RunFolder


def test_finished_run_without_weights_and_checkpoints_says_so(tiny_config, blobs, tmp_path):
    lj.train_and_evaluate(tiny_config, SETTINGS, blobs, workdir=tmp_path)
    before = (tmp_path / "metrics.jsonl").read_text()
    shutil.rmtree(tmp_path / "checkpoints")
    (tmp_path / "weights.msgpack").unlink()
    summary = lj.finished_summary(tmp_path, tiny_config, SETTINGS)
    assert summary == json.loads((tmp_path / "result.json").read_text())
    with pytest.raises(lj.RunError, match="whose weights and last checkpoint are gone"):
        lj.train_and_evaluate(tiny_config, SETTINGS, blobs, workdir=tmp_path)
    assert (tmp_path / "metrics.jsonl").read_text() == before


def test_another_configuration_is_refused_with_the_fields_named(tiny_config, blobs, tmp_path):
    lj.train_and_evaluate(tiny_config, SETTINGS, blobs, workdir=tmp_path)
    other = dataclasses.replace(SETTINGS, learning_rate=0.02)
    with pytest.raises(lj.RunError, match=r"training.learning_rate is 0.01 there, 0.02 here"):
        lj.train_and_evaluate(tiny_config, other, blobs, workdir=tmp_path)
    changed = dataclasses.replace(blobs, x_train=blobs.x_train + 1)
    with pytest.raises(lj.RunError, match=r"data.sha256"):
        lj.train_and_evaluate(tiny_config, SETTINGS, changed, workdir=tmp_path)


def test_folder_of_a_version_without_a_later_field_is_understood(tiny_config, blobs, tmp_path):
    """Fields that were added since have their default in older runs."""
    lj.train_and_evaluate(tiny_config, SETTINGS, blobs, workdir=tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for field in ("activation", "pool_ties"):
        del config["model"][field]
    (tmp_path / "config.json").write_text(json.dumps(config))
    calls = []
    lj.train_and_evaluate(tiny_config, SETTINGS, blobs, workdir=tmp_path, on_progress=calls.append)
    assert not calls
    assert lj.finished_summary(tmp_path, tiny_config, SETTINGS)
    other = dataclasses.replace(tiny_config, activation="leaky_relu")
    with pytest.raises(lj.RunError, match=r"model.activation is relu there, leaky_relu here"):
        lj.train_and_evaluate(other, SETTINGS, blobs, workdir=tmp_path)
    with pytest.raises(lj.RunError, match=r"model.activation is relu there"):
        lj.finished_summary(tmp_path, other, SETTINGS)


def test_work_folder_that_cannot_be_made(tiny_config, blobs, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(lj.RunError, match="cannot be written"):
        lj.train_and_evaluate(tiny_config, SETTINGS, blobs, workdir=tmp_path / "file" / "run")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "config.json").unlink(), "but no config.json"),
        (lambda folder: (folder / "config.json").write_text("[1]"), "is damaged"),
        (lambda folder: (folder / "metrics.jsonl").write_text("{}\n"), "is damaged"),
        (lambda folder: (folder / "metrics.jsonl").unlink(), "ends in epoch 0"),
        (lambda folder: _replace_by_file(folder / "checkpoints"), "cannot be used"),
    ],
    ids=["no-config", "config", "metrics", "no-metrics", "checkpoints"],
)
def test_damaged_work_folder_is_one_clear_error(tiny_config, blobs, tmp_path, damage, words):
    with pytest.raises(lj.StoppedError):
        lj.train_and_evaluate(
            tiny_config, SETTINGS, blobs, workdir=tmp_path, should_stop=lambda: True
        )
    damage(tmp_path)
    with pytest.raises(lj.RunError, match=words):
        lj.train_and_evaluate(tiny_config, SETTINGS, blobs, workdir=tmp_path)


def _replace_by_file(folder):
    shutil.rmtree(folder)
    folder.write_text("")


def test_damaged_checkpoint_is_one_clear_error(tiny_config, blobs, tmp_path):
    with pytest.raises(lj.StoppedError):
        lj.train_and_evaluate(
            tiny_config, SETTINGS, blobs, workdir=tmp_path, should_stop=lambda: True
        )
    (path,) = (tmp_path / "checkpoints").iterdir()
    path.write_bytes(b"")
    with pytest.raises(lj.RunError, match="not a usable checkpoint"):
        lj.train_and_evaluate(tiny_config, SETTINGS, blobs, workdir=tmp_path)


def test_finished_run_is_taken_from_its_weights_or_from_its_last_checkpoint(
    tiny_config, blobs, tmp_path
):
    first = lj.train_and_evaluate(tiny_config, SETTINGS, blobs, workdir=tmp_path)
    weights = (tmp_path / "weights.msgpack").read_bytes()
    shutil.copytree(tmp_path / "checkpoints", tmp_path / "kept")
    shutil.rmtree(tmp_path / "checkpoints")
    files = {path: path.read_bytes() for path in tmp_path.glob("[a-z]*") if path.is_file()}
    again = lj.train_and_evaluate(tiny_config, SETTINGS, blobs, workdir=tmp_path)
    assert {path: path.read_bytes() for path in files} == files
    shutil.move(tmp_path / "kept", tmp_path / "checkpoints")
    (tmp_path / "weights.msgpack").write_bytes(weights[:-9])
    mended = lj.train_and_evaluate(tiny_config, SETTINGS, blobs, workdir=tmp_path)
    assert (tmp_path / "weights.msgpack").read_bytes() == weights
    for other in (again, mended):
        assert other.summary == first.summary
        assert other.metrics == first.metrics
        np.testing.assert_array_equal(other.split.labelled, first.split.labelled)
        np.testing.assert_array_equal(other.predict(blobs.x_test), first.predict(blobs.x_test))


@pytest.mark.parametrize("name", ["config", "result", "label_indices", "metrics", "diverged"])
@pytest.mark.parametrize("content", ["[", "[]", "null", "[" * 10**5, '{"1": 3}', None])
def test_any_damage_to_a_file_of_a_run_is_one_line_or_none(
    tiny_config, blobs, tmp_path, name, content
):
    """Of a run that was stopped; None is a folder in the file's place."""
    settings = dataclasses.replace(SETTINGS, epochs=2)
    stop = {"should_stop": lambda: True, "workdir": tmp_path}
    with pytest.raises(lj.StoppedError):
        lj.train_and_evaluate(tiny_config, settings, blobs, **stop)
    path = tmp_path / (f"{name}.jsonl" if name == "metrics" else f"{name}.json")
    if path.exists():
        path.unlink()
    path.mkdir() if content is None else path.write_text(content)
    for call in (
        lambda: lj.finished_summary(tmp_path, tiny_config, settings),
        lambda: lj.train_and_evaluate(tiny_config, settings, blobs, **stop),
    ):
        try:
            call()
        except (lj.RunError, lj.StoppedError) as error:
            assert "\n" not in str(error)


def test_run_set_aside_in_part_can_still_go_on(tiny_config, blobs, tmp_path, monkeypatch):
    """--noresume killed between any two of its renames."""
    from ladder_jax.storage import run_folder as runfolder

    settings = dataclasses.replace(SETTINGS, epochs=1)
    whole = lj.train_and_evaluate(tiny_config, settings, blobs, workdir=tmp_path / "whole")
    rename = runfolder.os.rename
    for after in range(1, 6):
        folder = tmp_path / f"run{after}"
        shutil.copytree(tmp_path / "whole", folder)
        left = iter(range(after))

        def some(one, other, left=left):
            if next(left, None) is None:
                raise KeyboardInterrupt
            rename(one, other)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(runfolder.os, "rename", some)
            lj.train_and_evaluate(tiny_config, settings, blobs, workdir=folder, resume=False)
        again = lj.train_and_evaluate(tiny_config, settings, blobs, workdir=folder)
        assert again.summary["runs"] == whole.summary["runs"]
        assert (folder / "weights.msgpack").exists()


def test_damage_beyond_all_numbers_is_one_line(tmp_path):
    folder = RunFolder(tmp_path, {"model": {}})
    (tmp_path / "diverged.json").write_text('{"2": [Infinity, "diverged"]}')
    with folder, pytest.raises(lj.RunError, match="is damaged; choose another work folder"):
        folder.diverged(10)
