"""The training commands as a user types them."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ladder_jax as lj

ROOT = Path(__file__).resolve().parent.parent
SHORT = ("--epochs=2", "--labels=50")
LABELS = {"mnist": "100", "digits": "50", "cifar10": "4000"}


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Runs a training command in this process; gives (status, stdout, stderr)."""
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LADDER_DATA_DIR", raising=False)
    from cli import console
    from cli import flags as common_flags

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(dataset, *words):
        values = common_flags.define(dataset, LABELS[dataset])
        report = [] if "--report" in words else ["--noreport"]  # it takes seconds
        monkeypatch.setattr(sys, "argv", [f"{dataset}.py", *report, *words])
        status = 0
        try:
            console.main(dataset, values, "about")
        except SystemExit as exit:
            status = exit.code or 0
        out, err = capsys.readouterr()
        return status, out, err

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def environment():
    """Of the processes that tests start."""
    return os.environ | {"PYTHONPATH": str(ROOT)}


def script(name, *words, cwd, env):
    return subprocess.run(
        [sys.executable, str(ROOT / "experiments" / name), *words],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("dataset", "words", "message"),
    [
        ("digits", ["labels=50"], "labels=50: unexpected word on the command line; did you mean"),
        ("digits", ["train"], "train: unexpected word on the command line"),
        ("digits", ["--labels=55"], "labels=55"),
        ("digits", ["--labels=0"], "labels=0"),
        ("digits", ["--labels=-10"], "labels=-10"),
        ("digits", ["--labels=many"], "labels=many"),
        ("digits", ["--labels=1290"], "labels=1290"),
        ("digits", ["--labels=2000"], "labels=2000"),
        ("digits", ["--model=vae"], "model=vae: not known; choose one of: ladder"),
        ("digits", ["--combinator=magic"], "combinator=magic"),
        ("digits", ["--lables=50"], "lables"),
        ("digits", ["--denoising_weights=1,2"], "denoising_weights=1.0,2.0: has 2 numbers; give 4"),
        ("digits", ["--denoising_weights=1,b"], "denoising_weights=1,b"),
        ("digits", ["--denoising_weights=1,1,1,-1"], "denoising_weights=-1.0"),
        ("digits", ["--hidden_noise=.1,.2"], "hidden_noise"),
        ("digits", ["--hidden_noise=-1"], "hidden_noise=-1.0"),
        ("digits", ["--hidden_noise="], "hidden_noise"),
        ("digits", ["--input_noise=-1"], "input_noise=-1.0"),
        ("digits", ["--learning_rate=-1"], "learning_rate=-1.0"),
        ("digits", ["--learning_rate=0"], "learning_rate=0.0"),
        ("digits", ["--epochs=abc"], "epochs"),
        ("digits", ["--epochs=0"], "epochs=0"),
        ("digits", ["--seed=-1"], "seed=-1"),
        ("digits", ["--batch_size=1"], "batch_size=1"),
        ("digits", ["--statistics=test"], "statistics=test"),
        ("digits", ["--validation=1290"], "validation=1290"),
        ("digits", ["--validation=-1"], "validation=-1"),
        ("digits", ["--keep=0"], "keep=0"),
        ("digits", ["--checkpoint_every=0"], "checkpoint_every=0"),
        ("digits", ["--coordinator=a:1"], "coordinator=a:1: goes with --distributed"),
        ("digits", ["--process_id=0"], "process_id=0: goes with --distributed"),
        ("digits", ["--num_processes=2"], "num_processes=2: goes with --distributed"),
        ("digits", ["--heartbeat_seconds=100"], "heartbeat_seconds=100: goes with --distributed"),
        ("digits", ["--layers=10,conv:3:3"], "layers=conv:3:3: layer 2 needs an image"),
        ("digits", ["--layers=conv:3"], "layers=conv:3: not a layer; write one of: dense:UNITS"),
        ("digits", ["--layers="], "layers=(): needs at least one layer"),
        ("digits", ["--layers=conv:10:9,globalmean"], "is larger than the layer below, 8x8x1"),
        ("digits", ["--layers=20,7"], "layers=7: digits has 10 classes"),
        ("digits", ["--combinator=gaussian,linear"], "has 2 names; give one, or one per layer"),
        ("digits", ["--combinator=sigmoid:no_u"], "combinator=sigmoid:no_u: is a function of u"),
        ("digits", ["--activation=tanh"], "activation=tanh: choose one of: relu, leaky_relu"),
        ("digits", ["--pool_ties=none"], "pool_ties=none: choose one of: all, first"),
        ("digits", ["--model=conv_fc"], "model=conv_fc: not known; choose one of: ladder"),
        ("cifar10", ["--model=ladder"], "model=ladder: not known; choose one of: gamma, baseline"),
        ("cifar10", ["--data_dir=nowhere"], "nowhere"),
        ("mnist", ["--data_dir=nowhere"], "nowhere"),
        ("mnist", ["--data_dir=."], "train-images-idx3-ubyte"),
    ],
)
def test_mistakes_end_in_one_clear_line(command, dataset, words, message):
    status, out, err = command(dataset, *words)
    assert status == 1
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "epoch 1" not in out
    assert not list(Path().glob("runs/*/metrics.jsonl"))


def test_work_folder_that_cannot_be_written(command, tmp_path):
    (tmp_path / "file").write_text("")
    status, _, err = command("digits", "--workdir=file/run", *SHORT)
    assert (status, err.count("\n")) == (1, 1)
    assert "cannot be written" in err


def test_noresume_begins_anew_and_loses_nothing(command):
    words = ("--model=baseline", "--epochs=3", "--checkpoint_every=1", "--keep=3", "--workdir=run")
    assert command("digits", *words)[0] == 0
    status, out, _ = command("digits", *words, "--noresume")
    assert status == 0
    assert "epoch 3/3" in out
    for folder in (Path("run"), Path("run", "before-1")):
        assert (folder / "result.json").exists()
        steps = [path for path in (folder / "checkpoints").iterdir() if path.stem.isdigit()]
        assert len(steps) == 3


def test_help_and_dry_run(command, tmp_path):
    status, out, _ = command("mnist", "--help")
    assert status == 0
    assert "--labels" in out
    status, out, err = command("mnist", "--dry_run", "--labels=60")
    assert (status, err) == (0, "")
    assert "settings of the 50-label row" in out
    assert "3,105,710" in out
    assert not list(tmp_path.iterdir())


def test_dry_run_of_a_convolutional_net(command):
    status, out, _ = command("cifar10", "--dry_run")
    assert status == 0
    rows = [line.split() for line in out[out.index("layer  kind") :].splitlines()]
    assert rows[0] == ["layer", "kind", "shape", "parameters", "λ", "noise", "combinator"]
    assert rows[3] == ["2", "conv:96:3:full", "32x32x96", "83,040", "-", "0.3", "-"]
    assert rows[13] == ["12", "globalmean", "10", "110", "4", "0.3", "gaussian"]


def test_other_layers_take_their_weights_from_the_preset(command):
    """λ of the two lowest layers and of the top stay, the rest goes between; images as images."""
    status, out, _ = command("digits", "--dry_run", "--layers=conv:9:3,maxpool:2,20,20,10")
    assert status == 0
    assert "denoising_weights    1000.0 10.0 0.1 0.1 0.1 0.1" in out
    assert "input_shape          8 8 1" in out
    status, out, _ = command("digits", "--dry_run", "--layers=20,10", "--model=gamma")
    assert "denoising_weights    0.0 0.0 2.0" in out
    assert "input_shape          64" in out


def test_run_prints_configuration_progress_and_result(command, tmp_path):
    status, out, err = command("digits", *SHORT)
    assert (status, err) == (0, "")
    assert (
        out.index("learning_rate        0.002") < out.index("epoch 1/2: ") < out.index("labelled *")
    )
    assert "examples/s" in out
    folder = tmp_path / "runs" / "digits-ladder-50-seed1"
    summary = json.loads((folder / "result.json").read_text())
    assert f"{summary['test_error_percent']:.2f}" in out
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "label_indices.json",
        "metrics.jsonl",
        "result.json",
        "weights.msgpack",
        ".lock",
        "checkpoints",
    }
    # Again: the result, at once. Another configuration: refused.
    status, again, _ = command("digits", *SHORT, "--tensorboard")
    assert status == 0
    assert "epoch 1/2" not in again
    assert list((folder / "tensorboard" / "seed1").glob("events*"))
    assert out.splitlines()[-4:] == again.splitlines()[-4:]
    status, _, err = command("digits", *SHORT, "--learning_rate=0.01")
    assert status == 1
    assert "training.learning_rate is 0.002 there, 0.01 here" in err


@pytest.mark.slow
def test_quiet_prints_only_the_result(command):
    status, out, err = command("digits", "--quiet", "--validation=200", *SHORT)
    assert (status, err) == (0, "")
    assert out.splitlines()[0].split() == ["statistics", "validation", "error", "%"]


def test_paper_error_stands_only_beside_its_own_row(command):
    from cli import console
    from cli.flags import Settings

    preset = lj.presets.for_labels("mnist", "ladder", 100)
    chosen = Settings(preset, preset.config, preset.train_config, "", "runs/x")
    errors = {"labelled": 1.0, "unlabelled": 1.1, "running": 1.2}
    summary = {"runs": [{"test_error_percent": errors}]}
    table = console.result_table(chosen, summary)
    assert "1.06 ± 0.37" in table
    assert "Not the paper's settings" not in table
    short = chosen._replace(train_config=dataclasses.replace(preset.train_config, epochs=2))
    table = console.result_table(short, summary)
    assert "Not the paper's settings: epochs 2 (paper: 150)." in table
    train_config = dataclasses.replace(preset.train_config, statistics="unlabelled")
    table = console.result_table(chosen._replace(train_config=train_config), summary)
    assert [line.split()[0] for line in table.splitlines() if "1.06" in line] == ["labelled"]
    preset = lj.presets.for_labels("mnist", "ladder", 200)
    chosen = Settings(preset, preset.config, preset.train_config, "", "runs/x")
    assert "1.06" not in console.result_table(chosen, summary)


def test_diverging_run_is_one_line(command):
    status, _, err = command("digits", "--learning_rate=1e30", *SHORT)
    assert status == 1
    assert "diverged in epoch 1, step" in err
    assert err.count("\n") == 1


def test_command_as_a_process_without_network_or_data(tmp_path, environment):
    """The real start-up path; the network is cut by proxies that do not exist."""
    proxy = "http://127.0.0.1:9"
    offline = {"https_proxy": proxy, "HTTPS_PROXY": proxy, "TFDS_DATA_DIR": str(tmp_path)}
    offline |= {"LADDER_DATA_DIR": "", "no_proxy": "", "NO_PROXY": ""}
    done = script("mnist.py", cwd=tmp_path, env=environment | offline)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "--data_dir" in done.stderr
    assert "experiments/digits.py" in done.stderr


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
)
def test_stopped_process_saves_and_continues(tmp_path, environment, number, status):
    words = ["--epochs=100", "--labels=50", "--model=baseline", "--workdir=run", "--noreport"]
    with subprocess.Popen(
        [sys.executable, str(ROOT / "experiments" / "digits.py"), *words],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for line in process.stdout:
            if line.startswith("epoch 2/"):
                break
        process.send_signal(number)
        _, err = process.communicate(timeout=120)
    assert process.returncode == status
    assert "run again to go on" in err
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert 2 <= len(lines) < 100
    done = script("digits.py", *words, "--quiet", cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, 101))


def test_demo_shows_both_errors(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    import demo

    errors = iter([13.0, 5.0])

    class Result:
        test_error_percent = property(lambda self: next(errors))

    monkeypatch.setattr(lj, "train_and_evaluate", lambda *args: Result())
    monkeypatch.setattr(sys, "argv", ["demo.py"])  # not pytest's own words
    demo.main()
    out = capsys.readouterr().out
    assert "supervised baseline    13.00 %" in out
    assert "full ladder             5.00 %" in out


@pytest.mark.slow
def test_interrupt_leaves_no_half_line(tmp_path, environment):
    """A killed process: whatever is in metrics.jsonl is whole lines, and a rerun ends well."""
    words = [
        sys.executable,
        str(ROOT / "experiments" / "digits.py"),
        "--epochs=100",
        "--workdir=run",
    ]
    with subprocess.Popen(
        words, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL
    ) as process:
        metrics = tmp_path / "run" / "metrics.jsonl"
        while not (metrics.exists() and metrics.read_text().count("\n") >= 7):
            time.sleep(0.05)
            assert process.poll() is None
        process.kill()
    done = script(
        "digits.py", "--epochs=100", "--workdir=run", "--quiet", cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    epochs = [json.loads(line)["epoch"] for line in metrics.read_text().splitlines()]
    assert epochs == list(range(1, 101))
