"""Stopped runs: they go on bit for bit, whatever they were at."""

import dataclasses

import jax
import numpy as np
import pytest
from test_runs import SETTINGS, read_lines, without_seconds

import ladder_jax as lj
from ladder_jax.train import parallel


@pytest.mark.parametrize("chunks", [1, 3, 8, 11])
def test_stopped_run_continues_bit_for_bit(tiny_config, blobs, tmp_path, monkeypatch, chunks):
    """Stopped inside and between epochs; also with the running statistics tracked."""
    monkeypatch.setattr("ladder_jax.train.schedule.MAX_CHUNK_STEPS", 2)
    settings = dataclasses.replace(
        SETTINGS, batch_size=50, validation=30, statistics="running", labels=8
    )
    calls = []

    def stop_once():
        calls.append(None)
        return len(calls) == chunks

    whole = lj.train_and_evaluate(tiny_config, settings, blobs, workdir=tmp_path / "whole")
    with pytest.raises(lj.StoppedError, match="run again"):
        lj.train_and_evaluate(
            tiny_config, settings, blobs, workdir=tmp_path / "cut", should_stop=stop_once
        )
    assert not (tmp_path / "cut" / "result.json").exists()
    steps = []
    cut = lj.train_and_evaluate(
        tiny_config,
        settings,
        blobs,
        workdir=tmp_path / "cut",
        on_progress=lambda progress: steps.append(progress.step),
    )
    assert steps[0] == (chunks + 1) * 2  # it goes on; it does not begin again
    assert without_seconds(read_lines(tmp_path / "cut")) == without_seconds(whole.metrics)
    jax.tree.map(np.testing.assert_array_equal, whole.variables, cut.variables)
    assert whole.summary["runs"] == cut.summary["runs"]


def test_a_run_compiles_its_steps_once(tiny_config, blobs):
    before = parallel._jitted._cache_size()
    settings = dataclasses.replace(SETTINGS, batch_size=37)  # no other test's
    lj.train_and_evaluate(tiny_config, settings, blobs)
    assert parallel._jitted._cache_size() == before + 1


def test_run_stopped_in_its_evaluation_only_evaluates_when_it_goes_on(tiny_config, blobs, tmp_path):
    whole = lj.train_and_evaluate(tiny_config, SETTINGS, blobs)
    steps = []
    with pytest.raises(lj.StoppedError, match="stopped in the evaluation; saved in"):
        lj.train_and_evaluate(
            tiny_config,
            SETTINGS,
            blobs,
            workdir=tmp_path,
            on_progress=lambda progress: steps.append(progress.step == progress.steps),
            should_stop=lambda: steps[-1],
        )
    assert not (tmp_path / "result.json").exists()
    steps.clear()
    again = lj.train_and_evaluate(
        tiny_config, SETTINGS, blobs, workdir=tmp_path, on_progress=steps.append
    )
    assert not steps
    assert again.summary["runs"] == whole.summary["runs"]


def test_run_stopped_between_todays_chunk_boundaries_continues(
    tiny_config, blobs, tmp_path, monkeypatch
):
    """As of a run that was begun on another kind of device: single steps, then five at once."""
    calls = []
    monkeypatch.setattr("ladder_jax.train.schedule.MAX_CHUNK_STEPS", 1)
    with pytest.raises(lj.StoppedError):
        lj.train_and_evaluate(
            tiny_config,
            SETTINGS,
            blobs,
            workdir=tmp_path,
            should_stop=lambda: bool(calls.append(None)) or len(calls) == 8,
        )
    monkeypatch.undo()
    steps = []
    result = lj.train_and_evaluate(
        tiny_config,
        SETTINGS,
        blobs,
        workdir=tmp_path,
        on_progress=lambda progress: steps.append((progress.step, progress.chunk_steps)),
    )
    assert steps == [(10, 2), (15, 5), (20, 5), (25, 5), (30, 5)]
    whole = lj.train_and_evaluate(tiny_config, SETTINGS, blobs)
    for one, other in zip(result.metrics, whole.metrics, strict=True):
        assert one["cost/total"] == pytest.approx(other["cost/total"], rel=1e-3)


def test_lines_after_the_checkpoint_are_replaced_not_doubled(tiny_config, blobs, tmp_path):
    """As after a kill: metrics ran ahead of the last checkpoint and end in half a line."""

    class Killed(Exception):
        pass

    def kill(progress):
        if progress.metrics and progress.metrics["epoch"] == 5:
            raise Killed

    folder = tmp_path / "run"
    with pytest.raises(Killed):
        lj.train_and_evaluate(
            tiny_config, SETTINGS, blobs, workdir=folder, on_progress=kill, checkpoint_every=2
        )
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"seed": 1, "epo')
    lj.train_and_evaluate(tiny_config, SETTINGS, blobs, workdir=folder, checkpoint_every=2)
    whole = lj.train_and_evaluate(tiny_config, SETTINGS, blobs)
    assert without_seconds(read_lines(folder)) == without_seconds(whole.metrics)
