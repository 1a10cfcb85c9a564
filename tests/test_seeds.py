"""Several seeds in one call: each as if alone, at once and one after the other."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

import ladder_jax as lj

SETTINGS = lj.TrainConfig(labels=20, epochs=3, batch_size=40, learning_rate=0.01)
MODES = {
    "sequential": lj.Parallel(devices=1, seed_mode="sequential"),
    "vmap": lj.Parallel(devices=1, seed_mode="vmap"),
    "spread": lj.Parallel(devices="all", seed_mode="vmap"),
}


@pytest.fixture(params=MODES)
def parallel(request):
    return MODES[request.param]


def without_seconds(lines):
    return [{name: v for name, v in line.items() if name != "seconds"} for line in lines]


def by_seed(lines):
    lines = without_seconds(lines)
    return {seed: [x for x in lines if x["seed"] == seed] for seed in {x["seed"] for x in lines}}


def read_lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_each_of_several_seeds_is_as_if_alone(tiny_config, blobs, tmp_path, parallel):
    several = lj.train_and_evaluate(
        tiny_config, SETTINGS, blobs, num_seeds=3, parallel=parallel, workdir=tmp_path
    )
    indices = json.loads((tmp_path / "label_indices.json").read_text())
    lines = by_seed(read_lines(tmp_path))
    for place, seed in enumerate((1, 2, 3)):
        alone = lj.train_and_evaluate(tiny_config, dataclasses.replace(SETTINGS, seed=seed), blobs)
        own = several.runs[place]
        assert own.train_config.seed == seed
        assert indices[str(seed)] == alone.split.labelled.tolist()
        for got, want in zip(lines[seed], without_seconds(alone.metrics), strict=True):
            assert got == pytest.approx(want, rel=1e-4)
        assert own.summary["runs"] == [several.summary["runs"][place]]
        for kind, error in alone.summary["runs"][0]["test_error_percent"].items():
            got = own.summary["runs"][0]["test_error_percent"][kind]
            assert got == pytest.approx(error, abs=1.3)  # one of 80 rows
        np.testing.assert_array_equal(
            own.predict(blobs.x_test[:3]),
            lj.predict(tiny_config, own.variables, blobs.x_test[:3], own.statistics["labelled"]),
        )
    if parallel.seed_mode == "sequential":  # the very same program
        assert lines[3] == without_seconds(alone.metrics)
        jax.tree.map(np.testing.assert_array_equal, own.variables, alone.variables)
    errors = [run.test_error_percent for run in several.runs]
    assert several.summary["test_error_percent"] == pytest.approx(np.mean(errors))
    assert several.test_error_percent_std == pytest.approx(np.std(errors, ddof=1))
    assert several.runs[0].test_error_percent_std is None
    assert repr(several).startswith("<Result of 3 run(s), seed ") and len(repr(several)) < 99
    assert several.summary["validation_error_percent"] is None
    assert several.variables is several.runs[0].variables
    assert by_seed(several.metrics) == lines


def test_seeds_share_the_split_of_a_given_data_seed(tiny_config, blobs, tmp_path):
    settings = dataclasses.replace(SETTINGS, data_seed=5, epochs=1)
    result = lj.train_and_evaluate(
        tiny_config, settings, blobs, num_seeds=2, parallel=MODES["vmap"], workdir=tmp_path
    )
    one, two = result.runs
    np.testing.assert_array_equal(one.split.labelled, two.split.labelled)
    assert one.metrics[0]["cost/total"] != two.metrics[0]["cost/total"]
    with pytest.raises(lj.RunError, match=r"data_seed is 5 there, None here"):
        lj.train_and_evaluate(
            tiny_config,
            dataclasses.replace(settings, data_seed=None),
            blobs,
            num_seeds=2,
            parallel=MODES["vmap"],
            workdir=tmp_path,
        )


def test_validation_of_several_seeds(tiny_config, blobs, parallel):
    settings = dataclasses.replace(SETTINGS, validation=60, statistics="running", epochs=2)
    result = lj.train_and_evaluate(tiny_config, settings, blobs, num_seeds=2, parallel=parallel)
    assert result.test_error_percent is None
    own = [run.summary["validation_error_percent"] for run in result.runs]
    assert result.validation_error_percent == pytest.approx(np.mean(own))
    for run in result.runs:
        assert run.metrics[-1]["validation_error_percent"] == run.validation_error_percent
        assert len(run.split.validation) == 60
    assert set(result.runs[0].split.validation) != set(result.runs[1].split.validation)


def test_stopped_seeds_go_on_bit_for_bit(tiny_config, blobs, tmp_path, parallel):
    words = {"num_seeds": 2, "parallel": parallel}
    whole = lj.train_and_evaluate(tiny_config, SETTINGS, blobs, workdir=tmp_path / "whole", **words)
    # Of two at once in the first epoch; one after the other, in the second run's.
    stops = iter([False] * (7 if parallel.seed_mode == "sequential" else 0) + [True])
    with pytest.raises(lj.StoppedError, match="run again"):
        lj.train_and_evaluate(
            tiny_config,
            SETTINGS,
            blobs,
            workdir=tmp_path / "cut",
            should_stop=lambda: next(stops),
            **words,
        )
    cut = lj.train_and_evaluate(tiny_config, SETTINGS, blobs, workdir=tmp_path / "cut", **words)
    assert cut.summary["runs"] == whole.summary["runs"]
    in_order = without_seconds(read_lines(tmp_path / "whole"))
    assert without_seconds(read_lines(tmp_path / "cut")) == in_order
    for one, other in zip(cut.runs, whole.runs, strict=True):
        jax.tree.map(np.testing.assert_array_equal, one.variables, other.variables)
    again = lj.train_and_evaluate(tiny_config, SETTINGS, blobs, workdir=tmp_path / "cut", **words)
    assert again.summary == cut.summary
    assert lj.finished_summary(tmp_path / "cut", tiny_config, SETTINGS, 2) == cut.summary


def test_first_seed_trained_again_after_the_second_leaves_the_same_file(
    tiny_config, blobs, tmp_path
):
    """Its checkpoints are lost while the second is under way."""
    words = {"num_seeds": 2, "parallel": MODES["sequential"]}
    stops = iter([False] * 8 + [True])
    with pytest.raises(lj.StoppedError):
        lj.train_and_evaluate(
            *(tiny_config, SETTINGS, blobs),
            workdir=tmp_path,
            should_stop=lambda: next(stops),
            **words,
        )
    assert {line["seed"] for line in read_lines(tmp_path)} == {1, 2}
    shutil.rmtree(tmp_path / "checkpoints" / "seed1")
    lj.train_and_evaluate(tiny_config, SETTINGS, blobs, workdir=tmp_path, **words)
    lines = [(line["seed"], line["epoch"]) for line in read_lines(tmp_path)]
    assert lines == [(seed, epoch) for seed in (1, 2) for epoch in (1, 2, 3)]


@pytest.fixture
def poisoned(monkeypatch):
    """Makes the run of one seed, or all of them, not a number from its second epoch on."""

    def poison(seeds):
        from ladder_jax.train.group import Group

        original = Group.bad_costs

        def check(self, costs):
            for place, seed in enumerate(self.seeds):
                if seed in seeds and self.step > self.plan.steps_per_epoch:
                    costs["denoising_0"] = costs["denoising_0"].copy()
                    costs["denoising_0"][place] = np.nan
            return original(self, costs)

        monkeypatch.setattr(Group, "bad_costs", check)

    return poison


def test_other_seeds_finish_when_one_diverges(tiny_config, blobs, tmp_path, parallel, poisoned):
    words = {"num_seeds": 3, "parallel": parallel}
    whole = lj.train_and_evaluate(tiny_config, SETTINGS, blobs, **words)
    poisoned({2})
    result = lj.train_and_evaluate(tiny_config, SETTINGS, blobs, workdir=tmp_path, **words)
    first, second, third = result.summary["runs"]
    assert (first, third) == (whole.summary["runs"][0], whole.summary["runs"][2])
    assert second == {
        "seed": 2,
        "test_error_percent": None,
        "reason": "diverged in epoch 2, step 1: cost/denoising_0 is nan",
    }
    assert [run.train_config.seed for run in result.runs] == [1, 3]
    lines = by_seed(read_lines(tmp_path))
    assert {seed: len(own) for seed, own in lines.items()} == {1: 3, 2: 1, 3: 3}
    errors = [run.test_error_percent for run in result.runs]
    assert result.summary["test_error_percent"] == pytest.approx(np.mean(errors))
    again = lj.train_and_evaluate(tiny_config, SETTINGS, blobs, workdir=tmp_path, **words)
    assert again.summary == result.summary
    assert len(again.runs) == 2


def test_all_seeds_diverged_is_an_error(tiny_config, blobs, tmp_path, parallel, poisoned):
    poisoned({1, 2})
    with pytest.raises(lj.DivergedError, match="denoising_0 is nan"):
        lj.train_and_evaluate(
            tiny_config, SETTINGS, blobs, num_seeds=2, parallel=parallel, workdir=tmp_path
        )
    assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize("mode", ["sequential", "vmap"])
def test_seed_that_diverges_in_its_last_step_stays_diverged(
    tiny_config, blobs, tmp_path, monkeypatch, mode
):
    """It shows in no cost and its metrics are whole; the process ends before result.json."""
    from ladder_jax.train import run as runs
    from ladder_jax.train.group import Group

    original = Group.bad_parameters

    def poison_last(self, state):
        if self.is_finished and 1 in self.seeds:
            place = self.seeds.index(1)

            def spoil(leaf):
                leaf[place if mode == "vmap" else ...] = np.nan

            jax.tree.map(spoil, state.params)
        return original(self, state)

    monkeypatch.setattr(Group, "bad_parameters", poison_last)
    words = {"num_seeds": 2, "parallel": MODES[mode], "workdir": tmp_path}
    with monkeypatch.context() as ended:
        ended.setattr(runs, "summarize", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            lj.train_and_evaluate(tiny_config, SETTINGS, blobs, **words)
    for _ in range(2):
        result = lj.train_and_evaluate(tiny_config, SETTINGS, blobs, **words)
        first, second = result.summary["runs"]
        assert "a parameter is not finite" in first["reason"]
        assert result.summary["test_error_percent"] == second["test_error_percent"]["labelled"]
        assert [run.train_config.seed for run in result.runs] == [2]
        assert {seed: len(own) for seed, own in by_seed(result.metrics).items()} == {1: 3, 2: 3}


def test_generators_that_cannot_draw_several_seeds_at_once_do_not(tiny_config, blobs):
    settings = dataclasses.replace(SETTINGS, prng="rbg", epochs=1)
    with pytest.raises(lj.ConfigError, match="prng=rbg draws other numbers"):
        lj.train_and_evaluate(tiny_config, settings, blobs, num_seeds=2, parallel=MODES["vmap"])
    several = lj.train_and_evaluate(
        tiny_config, settings, blobs, num_seeds=2, parallel=lj.Parallel(devices=2)
    )
    alone = lj.train_and_evaluate(tiny_config, dataclasses.replace(settings, seed=2), blobs)
    assert several.runs[1].metrics[0]["cost/total"] == pytest.approx(
        alone.metrics[0]["cost/total"], rel=1e-5
    )
    threefry = lj.train_and_evaluate(
        tiny_config, dataclasses.replace(settings, prng="threefry"), blobs
    )
    assert threefry.metrics[0]["cost/total"] != several.metrics[0]["cost/total"]


def test_a_folder_of_other_seeds_or_another_mode_is_refused(tiny_config, blobs, tmp_path):
    settings = dataclasses.replace(SETTINGS, epochs=1)
    words = {"workdir": tmp_path}
    lj.train_and_evaluate(
        tiny_config, settings, blobs, num_seeds=2, parallel=MODES["vmap"], **words
    )
    for change, message in (
        ({"num_seeds": 3, "parallel": MODES["vmap"]}, "num_seeds is 2 there, 3 here"),
        ({}, "num_seeds is 2 there, 1 here"),
        (
            {"num_seeds": 2, "parallel": MODES["sequential"]},
            "seed_mode is vmap there, sequential here",
        ),
    ):
        with pytest.raises(lj.RunError, match=message):
            lj.train_and_evaluate(tiny_config, settings, blobs, **change, **words)


def test_seed_mode_is_chosen_by_the_devices():
    assert not lj.Parallel(devices=1).seeds_at_once(10)  # on a CPU
    assert lj.Parallel(devices=2).seeds_at_once(10)
    assert lj.Parallel(devices=1, seed_mode="vmap").seeds_at_once(10)
    assert not lj.Parallel(devices=1, seed_mode="vmap").seeds_at_once(1)
    assert not lj.Parallel(devices=2, kind="pmap").seeds_at_once(10)
    assert len(lj.Parallel(devices="all").layout(6).devices) == 6  # of 8, each gets as many
    assert len(lj.Parallel(devices="all").layout(7).devices) == 7
    assert len(lj.Parallel(devices="all").layout(10).devices) == 5
    with pytest.raises(lj.ConfigError, match="seed_mode"):
        lj.Parallel(kind="pmap", seed_mode="vmap")


def test_seeds_whose_images_are_whitened_apart_are_not_trained_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("LADDER_CACHE_DIR", str(tmp_path))
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (40, 2, 2, 3), dtype=np.uint8), np.arange(40) % 2
    data = lj.data.from_arrays(x, y, x[:10], y[:10], preprocessing="gcn_zca")
    config = lj.LadderConfig((4, 2), (1, 1, 1), input_shape=(12,))
    settings = lj.TrainConfig(labels=10, epochs=1, validation=10, batch_size=10)
    with pytest.raises(lj.ConfigError, match="use sequential"):
        lj.train_and_evaluate(config, settings, data, num_seeds=2, parallel=MODES["vmap"])
    at_once = lj.Parallel(devices=2)
    result = lj.train_and_evaluate(config, settings, data, num_seeds=2, parallel=at_once)
    assert len(result.runs) == 2
