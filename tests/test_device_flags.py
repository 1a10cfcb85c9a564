"""How the training commands' flags about devices and seeds reach the library, and what is said."""

from pathlib import Path

import pytest

import ladder_jax as lj
from ladder_jax.storage import environment

EXPERIMENTS = Path(__file__).resolve().parent.parent / "experiments"


@pytest.fixture
def chosen(monkeypatch):
    """The settings that words on the command line of digits.py give."""
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    from cli import flags as common_flags

    def settings(*words):
        values = common_flags.define("digits", "50")
        values(["digits.py", *words])
        return common_flags.settings("digits", values)

    return settings


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], lj.Parallel(None, "jit", "auto")),
        (["--devices=all", "--parallel=pmap"], lj.Parallel("all", "pmap")),
        (["--devices=3", "--seed_mode=vmap"], lj.Parallel(3, "jit", "vmap")),
    ],
)
def test_flags_reach_the_training(chosen, monkeypatch, words, wanted):
    settings = chosen("--num_seeds=6", *words)
    assert settings.parallel == wanted
    from cli import console

    told = []
    monkeypatch.setattr(lj, "train_and_evaluate", lambda *a, **words: told.append(words))
    console.train(settings, lj.data.load("digits"), quiet=True)
    assert [(words["parallel"], words["num_seeds"]) for words in told] == [(wanted, 6)]


@pytest.mark.parametrize(
    ("words", "used"),
    [
        ([], "1 x cpu"),
        (["--parallel=pmap", "--devices=4"], "4 x cpu, pmap"),
        (["--devices=2", "--num_seeds=4"], "2 x cpu, 4 seeds at once"),
        (["--devices=2", "--num_seeds=4", "--prng=rbg"], "2 x cpu, jit"),  # it cannot at once
    ],
)
def test_what_is_trained_on_is_said(chosen, monkeypatch, capsys, words, used):
    settings = chosen("--matmul_precision=bfloat16", *words)
    from cli import console

    monkeypatch.setattr(lj, "train_and_evaluate", lambda *a, **words: None)
    monkeypatch.setattr(environment, "device", lambda devices: f"{len(devices)} x cpu")
    console.train(settings, lj.data.load("digits"), quiet=False)
    assert capsys.readouterr().out.splitlines() == [
        f"preparing the data, compiling the training step; {used}",
        "matmul_precision=bfloat16 has no effect on CPUs",
    ]


def test_seeds_at_once_are_not_taken_for_one(monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    from cli import progress

    told = lj.Progress(1, 2, 1, 20, {"total": 1.0}, None, seed=4, seeds=3)
    assert progress._seed_text(told) == "3 seeds, mean costs: "
    for line, seed in (({"epoch": 1}, 4), ({"epoch": 1, "seed": 5}, 5)):  # 4 diverged, say
        text = progress._seed_text(told._replace(metrics=line))
        assert text == f"3 seeds, costs of seed {seed}: "


def test_devices_as_a_word_are_refused_with_what_to_give(tiny_config, blobs):
    settings = lj.TrainConfig(labels=20)
    with pytest.raises(lj.ConfigError, match=r'parallel=all: give lj.Parallel\(devices="all"\)'):
        lj.train_and_evaluate(tiny_config, settings, blobs, parallel="all")
