"""Damaged, full and shared run folders: what was saved before is used, and nothing is lost."""

import json
import logging
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from test_runs import SETTINGS, without_seconds

import ladder_jax as lj
from ladder_jax.storage.run_folder import RunFolder

DIGITS = Path(__file__).resolve().parent.parent / "experiments" / "digits.py"


@pytest.fixture
def stopped(tiny_config, blobs, tmp_path):
    """A run that was stopped after three of four epochs, each saved, and the whole run."""
    settings = lj.TrainConfig(labels=20, epochs=4, batch_size=40, learning_rate=0.01)
    words = {"checkpoint_every": 1, "workdir": tmp_path / "cut"}
    whole = lj.train_and_evaluate(tiny_config, settings, blobs)
    stops = iter([False, False, True])
    with pytest.raises(lj.StoppedError):
        lj.train_and_evaluate(
            tiny_config, settings, blobs, should_stop=lambda: next(stops), **words
        )
    epochs = []

    def go_on():
        result = lj.train_and_evaluate(
            tiny_config,
            settings,
            blobs,
            on_progress=lambda progress: epochs.append(progress.metrics["epoch"]),
            **words,
        )
        return result, epochs

    return tmp_path / "cut", whole, go_on


def flip(path):
    content = bytearray(path.read_bytes())
    for at in range(len(content) // 3, len(content), 97):
        content[at] ^= 0x55
    path.write_bytes(content)


def flip_one_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "emptied": lambda path: path.write_bytes(b""),
    "flipped": flip,
    "one bit": flip_one_bit,
    "text": lambda path: path.write_text("state"),
}


def steps_of(folder):
    return sorted(int(p.stem) for p in (folder / "checkpoints").iterdir() if p.stem.isdigit())


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_newest_checkpoint_falls_back_to_the_one_before(
    stopped, damage, caplog, monkeypatch
):
    folder, whole, go_on = stopped
    older, newest = steps_of(folder)
    DAMAGES[damage](folder / "checkpoints" / f"{newest}.msgpack")
    monkeypatch.setattr(logging.getLogger("absl"), "propagate", True)
    with caplog.at_level(logging.WARNING):
        result, epochs = go_on()
    assert epochs == [3, 4]  # the third is made again
    warning = f"checkpoints/{newest}.msgpack: is not a usable checkpoint"
    assert [r for r in caplog.records if warning in r.getMessage()]
    assert (folder / "checkpoints" / f"damaged-{newest}").is_file()
    assert without_seconds(result.metrics) == without_seconds(whole.metrics)
    jax.tree.map(np.testing.assert_array_equal, result.variables, whole.variables)
    assert older < newest == steps_of(folder)[0]


def test_no_usable_checkpoint_is_one_clear_error(stopped):
    folder, _, go_on = stopped
    for step in steps_of(folder):
        DAMAGES["emptied"](folder / "checkpoints" / f"{step}.msgpack")
    with pytest.raises(
        lj.RunError, match=r"nor is an older one: set this run aside .* remove .*checkpoints"
    ):
        go_on()
    assert len(steps_of(folder)) == 2  # left as they are


def test_checkpoints_of_the_orbax_format_are_refused_in_one_line(stopped):
    folder, _, go_on = stopped
    (folder / "checkpoints" / "15").mkdir()
    with pytest.raises(lj.RunError, match=r"an older version of ladder_jax.*set this run aside"):
        go_on()


def test_what_a_kill_left_of_a_checkpoint_is_removed(stopped):
    folder, whole, go_on = stopped
    partial = folder / "checkpoints" / ".20.msgpack.partial"
    partial.write_bytes(b"half")
    result, _ = go_on()
    assert not partial.exists()
    jax.tree.map(np.testing.assert_array_equal, result.variables, whole.variables)


@pytest.mark.parametrize("keep", [1, 3])
def test_so_many_checkpoints_are_kept(tiny_config, blobs, tmp_path, keep):
    settings = lj.TrainConfig(labels=20, epochs=5, batch_size=40)
    lj.train_and_evaluate(
        tiny_config, settings, blobs, workdir=tmp_path, checkpoint_every=1, keep=keep
    )
    assert steps_of(tmp_path) == [5 * epoch for epoch in range(6 - keep, 6)]
    with pytest.raises(lj.ConfigError, match="keep=0"):
        lj.train_and_evaluate(tiny_config, settings, blobs, keep=0)


def test_second_run_in_a_folder_is_refused_while_the_first_is_at_work(tiny_config, blobs, tmp_path):
    def again(progress):
        with pytest.raises(lj.RunError, match=f"process {os.getpid()} on .* is at work there"):
            lj.train_and_evaluate(tiny_config, SETTINGS, blobs, workdir=tmp_path)

    result = lj.train_and_evaluate(
        tiny_config, SETTINGS, blobs, workdir=tmp_path, on_progress=again
    )
    # The lock of one that has ended, even one that was killed, is nobody's; many may read.
    for _ in range(2):
        with RunFolder(tmp_path, json.loads((tmp_path / "config.json").read_text())):
            found = lj.train_and_evaluate(tiny_config, SETTINGS, blobs, workdir=tmp_path)
        assert found.summary == result.summary


def test_without_resume_an_earlier_run_is_set_aside(stopped, tiny_config, blobs):
    folder, whole, _ = stopped
    lines = (folder / "metrics.jsonl").read_text()
    settings = whole.train_config
    words = {"workdir": folder, "resume": False}
    result = lj.train_and_evaluate(tiny_config, settings, blobs, **words)
    assert (folder / "before-1" / "metrics.jsonl").read_text() == lines
    assert len(steps_of(folder / "before-1")) == 2
    assert without_seconds(result.metrics) == without_seconds(whole.metrics)
    lj.train_and_evaluate(tiny_config, settings, blobs, **words)
    assert (folder / "before-2" / "result.json").exists()


@pytest.fixture
def file_size_limit():
    """Sets the largest file that may be written, which is how a full disk looks."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_metrics_line_that_does_not_fit_is_not_begun(tmp_path, file_size_limit):
    from ladder_jax.storage import files

    path = tmp_path / "metrics.jsonl"
    files.append_metrics(path, [{"seed": 1, "epoch": 1}])
    before = path.read_bytes()
    file_size_limit(len(before) + 5)
    with pytest.raises(lj.RunError, match=r"metrics.jsonl: cannot be written .*make room"):
        files.append_metrics(path, [{"seed": 1, "epoch": 2}])
    with pytest.raises(lj.RunError, match="cannot be written"):
        files.replace(path, "x" * 1000)
    assert path.read_bytes() == before


def test_stop_whose_state_cannot_be_saved_does_not_say_saved(
    tiny_config, blobs, tmp_path, file_size_limit
):
    def stop():
        file_size_limit(2000)
        return True

    with pytest.raises(lj.RunError, match="a checkpoint cannot be written"):
        lj.train_and_evaluate(tiny_config, SETTINGS, blobs, workdir=tmp_path, should_stop=stop)


def test_folder_that_can_no_longer_be_written_is_one_clear_error(tiny_config, blobs, tmp_path):
    def spoil(progress):
        if not (tmp_path / "gone").exists():
            (tmp_path / "checkpoints").rename(tmp_path / "gone")
            (tmp_path / "checkpoints").write_text("")

    words = {"workdir": tmp_path, "checkpoint_every": 1}
    with pytest.raises(lj.RunError, match=r"cannot be written .* see to it that it can be"):
        lj.train_and_evaluate(tiny_config, SETTINGS, blobs, on_progress=spoil, **words)


def test_start_on_a_full_disk_is_one_clear_error(tmp_path, file_size_limit):
    file_size_limit(3)
    with pytest.raises(lj.RunError, match="make room"):
        RunFolder(tmp_path, {"some": "configuration"})


@pytest.mark.slow
def test_full_disk_while_saving_leaves_the_checkpoint_before(tmp_path):
    """A real run for which the room ends; with room again it ends like an undisturbed one."""

    def start(folder):
        words = ["--epochs=60", "--checkpoint_every=3", "--model=baseline", "--quiet", "--noreport"]
        return subprocess.Popen(
            [sys.executable, DIGITS, *words, f"--workdir={folder}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    with start(tmp_path / "cut") as process:
        first = tmp_path / "cut" / "checkpoints" / "36.msgpack"
        while not first.exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (20_000, 20_000))
        _, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert "error:" in err
    assert "cannot be written" in err
    assert "make room and start again" in err
    assert "Traceback" not in err
    assert steps_of(tmp_path / "cut")
    for folder in ("cut", "whole"):
        with start(tmp_path / folder) as process:
            _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    for name in ("weights.msgpack", "label_indices.json"):
        got, want = ((tmp_path / run / name).read_bytes() for run in ("cut", "whole"))
        assert got == want
