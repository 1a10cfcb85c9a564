"""--help of every command, and the metrics for TensorBoard."""

import json
import runpy
import signal
import sys
from pathlib import Path

import pytest

import ladder_jax as lj

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "experiments"))

import arrays
import evaluate
import plot
import tables
from cli import console
from cli import flags as common_flags
from cli import flags as flag_groups
from cli import tensorboard as tensorboard_mirror

COMMANDS = {
    "mnist": lambda: common_flags.define("mnist", "100"),
    "cifar10": lambda: common_flags.define("cifar10", "4000"),
    "digits": lambda: common_flags.define("digits", "50"),
    "arrays": arrays.define,
    "evaluate": evaluate.define,
    "plot": plot.define,
    "tables": tables.define,
}


SCRIPTS = ("demo", *COMMANDS)
EXPERIMENTS = Path(common_flags.__file__).parent.parent


def test_every_command_is_known():
    commands = {path.stem for path in EXPERIMENTS.glob("*.py") if "__main__" in path.read_text()}
    assert commands == set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_and_wrong_words_of_the_real_command(name, monkeypatch, capsys):
    def ends(*words):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *words])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(EXPERIMENTS / f"{name}.py"), run_name="__main__")
        return end.value.code, *capsys.readouterr()

    taken = signal.getsignal(signal.SIGINT)
    try:
        status, out, err = ends("--help")
        assert (status, err) == (0, "")
        assert out.startswith(runpy.run_path(str(EXPERIMENTS / f"{name}.py"))["__doc__"].strip())
        status, out, err = ends("--no_such_flag=1")
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert "no_such_flag" in err
    finally:
        signal.signal(signal.SIGINT, taken)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_screen_per_group(name):
    values = COMMANDS[name]()
    text = flag_groups.help_text(values)
    for block in text.split("\n\n"):
        assert len(block.splitlines()) <= 24, block
        assert max(map(len, block.splitlines())) <= 80, block
    for flag in values:
        shown = f"--[no]{flag}" if values[flag].boolean else f"--{flag}"
        assert f"  {shown} " in text
    assert text.startswith(("Common:", "Flags:"))


def test_common_flags_come_first():
    text = flag_groups.help_text(COMMANDS["mnist"]())
    first = text.split("\n\n")[0]
    assert first.splitlines()[1].startswith("  --model ")
    assert "--labels" in first
    assert "(default 100)" in first
    assert "--keep" not in first


def test_an_unknown_flag_names_the_nearest_and_the_help(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["digits.py", "--lables=3"])
    with pytest.raises(SystemExit):
        console.parse(COMMANDS["digits"](), "")
    error = capsys.readouterr().err
    assert error.endswith("'lables'. Did you mean: labels? (--help lists all flags)\n")


def scalars(folder):
    """Tag -> [(step, value)], read with the format's own reader."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c  # noqa: F401 - the format of the files

    found = {}
    for path in folder.glob("events*"):
        data = path.read_bytes()
        while data:
            size = int.from_bytes(data[:8], "little")
            event = Event.FromString(data[12 : 12 + size])
            data = data[16 + size :]
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def test_tensorboard_has_the_metrics_of_all_seeds(tiny_config, blobs, tmp_path):
    pytest.importorskip("tensorboardX", reason="the extra tensorboard is not installed")
    settings = lj.TrainConfig(labels=40, epochs=2)
    for epochs in (1, 2):  # a second process makes the files anew
        mirror = tensorboard_mirror.Mirror(str(tmp_path))
        stop = {"should_stop": (lambda: True)} if epochs == 1 else {}
        try:
            lj.train_and_evaluate(
                tiny_config,
                settings,
                blobs,
                num_seeds=2,
                parallel=lj.Parallel(seed_mode="vmap", devices=1),
                workdir=tmp_path,
                on_progress=mirror,
                **stop,
            )
        except lj.StoppedError:
            assert epochs == 1
        mirror.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    for seed in (1, 2):
        own = [line for line in lines if line["seed"] == seed]
        found = scalars(tmp_path / "tensorboard" / f"seed{seed}")
        assert set(found) == set(own[0]) - {"seed", "epoch"}
        for name, values in found.items():
            assert values == [(line["epoch"], pytest.approx(line[name])) for line in own]


def test_without_tensorboardx_one_clear_line(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(lj.ConfigError, match="pip install tensorboardX"):
        tensorboard_mirror.Mirror(str(tmp_path))
