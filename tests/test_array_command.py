"""experiments/arrays.py: from a file of rows to predictions.csv, and one line for each mistake."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ladder_jax as lj

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "experiments"))

import arrays
from own_rows import predict as array_work
from own_rows.columns import Columns
from own_rows.read import Rows, read_rows

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("ant", "bee", "cat")
QUICK = ("--layers=12", "--steps=160")


def rows(count, seed):
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 3
    return np.eye(3, 6)[y] * 5 + rng.normal(size=(count, 6)), y


def write_csv(path, x, labels, colours=True):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b", "c", "d", *["colour"] * colours, "species"])
        for i, (row, label) in enumerate(zip(x, labels, strict=True)):
            writer.writerow([*row, *["red" if i % 2 else "blue"] * colours, label])


@pytest.fixture
def files(tmp_path):
    """A training file with 30 of 90 rows labelled, and a test file."""
    x, y = rows(90, 0)
    x = x[:, :4]
    write_csv(tmp_path / "train.csv", x, [NAMES[k] if i < 30 else "" for i, k in enumerate(y)])
    x, y = rows(40, 1)
    write_csv(tmp_path / "test.csv", x[:, :4], [NAMES[k] for k in y])
    return tmp_path


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Runs the command in this process; gives its status, output and errors."""
    monkeypatch.chdir(tmp_path)

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["arrays.py", *map(str, words)])
        status = 0
        try:
            arrays.main(arrays.define())
        except SystemExit as end:
            status = end.code or 0
        return status, *capsys.readouterr()

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def predictions(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_from_a_csv_file_to_predictions(command, files):
    words = ("--train=train.csv", "--test=test.csv", "--label_column=species", *QUICK)
    status, out, _ = command(*words, "--quiet")
    assert status == 0
    found = predictions(files / "runs/train-seed1/predictions.csv")
    assert [row["row"] for row in found] == [str(i) for i in range(1, 41)]
    right = [row["prediction"] == NAMES[i % 3] for i, row in enumerate(found)]
    assert np.mean(right) > 0.9
    for row in found:
        each = {name: float(row[f"probability_{name}"]) for name in NAMES}
        assert max(each, key=each.get) == row["prediction"]
        assert sum(each.values()) == pytest.approx(1, abs=1e-5)
    error = 100 * (1 - np.mean(right))
    assert f"test error {error:.2f} % of 40 rows" in out
    again = command(*words, "--quiet")  # of the finished run
    assert again == (0, out, "")
    folder = files / "runs/train-seed1"
    columns = Columns.from_json(json.loads((folder / "columns.json").read_text()))
    x = read_rows(files / "test.csv", columns)[0].x
    loaded = lj.LadderClassifier.load(folder)
    assert loaded.predict(x).tolist() == [row["prediction"] for row in found]


def test_without_a_test_file_the_unlabelled_rows_are_predicted(command, files):
    status, out, _ = command(
        "--train=train.csv", "--label_column=species", *QUICK, "--output=mine/p.csv"
    )
    assert status == 0
    assert "3 classes in column species" in out
    assert "colour: 2 categories as 2 columns" in out
    assert "90 rows of 6 numbers, 30 of them labelled, 3 classes" in out
    found = predictions(files / "mine/p.csv")
    assert [row["row"] for row in found] == [str(i) for i in range(31, 91)]


@pytest.mark.slow
def test_npz_with_rows_apart_and_folds(command, files):
    x, y = rows(120, 0)
    np.savez(files / "apart.npz", x=x[:30], y=y[:30], x_unlabeled=x[30:])
    np.savez(files / "marked.npz", x=x, y=np.where(np.arange(120) < 30, y, -1))
    np.savez(files / "more.npz", x=rows(40, 1)[0], y=rows(40, 1)[1])
    status, out, _ = command(
        "--train=apart.npz", "--test=more.npz", *QUICK, "--folds=2", "--workdir=apart"
    )
    assert status == 0
    assert "error on hidden labelled rows" in out
    status, *_ = command("--train=marked.npz", "--test=more.npz", *QUICK, "--workdir=marked")
    assert status == 0
    assert predictions(files / "apart/predictions.csv") == predictions(
        files / "marked/predictions.csv"
    )


def test_markers_of_no_label_in_npz(command, files):
    x, y = rows(90, 0)
    names = np.array([*NAMES, "?"])[np.where(np.arange(90) < 30, y, 3)]
    np.savez(files / "named.npz", x=x, y=names)
    status, out, _ = command("--train=named.npz", "--unlabelled=?", "--dry_run")
    assert status == 0
    assert "30 of them labelled, 3 classes" in out
    np.savez(files / "signs.npz", x=x, y=np.where(y == 0, -1.0, 1.0))
    status, out, _ = command("--train=signs.npz", "--unlabelled=", "--dry_run")
    assert "90 of them labelled, 2 classes" in out


def test_minus_one_may_be_a_class_beside_rows_apart(command, files):
    x, y = rows(60, 0)
    np.savez(files / "a.npz", x=x, y=np.where(y == 0, -1, y), x_unlabeled=x)
    assert "60 of them labelled, 3 classes" in command("--train=a.npz", "--dry_run")[1]
    np.savez(files / "b.npz", x=x, y=np.where(y == 0, -1.0, y))  # -1.0 is -1
    assert "40 of them labelled, 2 classes" in command("--train=b.npz", "--dry_run")[1]


def test_folds_hide_their_rows_from_the_fit(files, monkeypatch):
    x, y = rows(30, 0)
    train = Rows(x, np.array([*y[:20], *[None] * 10], object), None)
    seen = []

    class Spy(lj.LadderClassifier):
        def fit(self, x, y, x_unlabelled=None):
            seen.append(x)
            self.classes_ = np.arange(3)
            return self

        def score(self, x, y):
            own = {tuple(row) for row in seen[-1].tolist()}
            assert not own & {tuple(row) for row in x.tolist()}
            assert len(own) + len(x) == 30
            return 0.75

    found = array_work.errors_by_folds(Spy(random_state=0), train, 4)
    assert found == [25] * 4


def test_labels_of_another_kind_are_not_all_wrong(command, files):
    x, y = rows(60, 0)
    np.savez(files / "a.npz", x=x, y=np.where(np.arange(60) < 30, y, -1))
    np.savez(files / "words.npz", x=x[:9], y=y[:9].astype(str))
    np.savez(files / "names.npz", x=x[:9], y=np.array(NAMES)[y[:9]])
    status, out, _ = command("--train=a.npz", "--test=words.npz", "--quiet", *QUICK)
    assert (status, out.split("%")[0]) == (0, "test error 0.00 ")
    status, out, err = command("--train=a.npz", "--test=names.npz", "--quiet", *QUICK)
    assert (status, out) == (1, "")
    assert "none of its labels (ant, bee, cat…) is a class of the training file (0, 1, 2…)" in err


def test_grey_images_get_their_channel(command, files):
    x, y = rows(90, 0)
    np.savez(files / "grey.npz", x=np.repeat(x[:, :, None], 5, axis=2), y=y)
    status, out, _ = command("--train=grey.npz", "--layers=conv:2:3,globalmean", "--dry_run")
    assert status == 0
    assert "90 rows of 6x5x1 numbers" in out


def test_dry_run_writes_nothing(command, files):
    before = sorted(files.rglob("*"))
    status, out, _ = command("--train=train.csv", "--label_column=species", "--dry_run")
    assert status == 0
    assert "dense:100" in out
    for wrong in ("batch_size=1", "steps=0", "scaling=foo", "statistics=foo", "learning_rate=nan"):
        words = ("--train=train.csv", "--label_column=species", "--dry_run", f"--{wrong}")
        status, out, err = command(*words)
        assert (status, out) == (1, "")
        assert err.startswith(f"error: {wrong.split('=')[0]}")
    x, y = rows(30, 0)
    np.savez(files / "one.npz", x=x, y=np.zeros(30, int))
    before.append(files / "one.npz")
    status, _, err = command("--train=one.npz", "--dry_run")
    assert (status, "two classes are needed" in err) == (1, True)
    np.savez(files / "one.npz", x=x, y=y.astype("S1"))
    status, _, err = command("--train=one.npz")
    assert (status, "save an array of numbers or strings" in err) == (1, True)
    assert sorted(files.rglob("*")) == sorted(before)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--train is missing"),
        (("--train=absent.csv",), "absent.csv"),
        (("--train=train.csv", "--label_column=specis"), "species"),
        (("--train=train.csv", "--label_column=species", "--steps=0"), "steps=0"),
        (("--train=train.csv", "--label_column=species", "--layers=conv:3:3"), "layers="),
        (("--train=train.csv", "--label_column=species", "--hidden_noise=x"), "hidden_noise=x"),
        (("--train=train.csv", "--label_column=species", "--folds=20"), "give 2 to 10"),
        (("--train=train.csv", "--label_column=species", "--scaling=log"), "scaling=log"),
        (("--train=train.csv", "--label_column=species", "--output=."), "output=.: is a folder"),
        (("train.csv",), "train.csv: unexpected word"),
    ],
)
def test_a_mistake_is_one_line_before_any_training(command, files, words, message):
    status, _, err = command(*words)
    assert status == 1
    assert err.startswith("error: ")
    assert message in err
    assert len(err.splitlines()) == 1
    assert not (files / "runs").exists()


def test_another_setting_in_the_same_folder(command, files):
    words = ("--train=train.csv", "--label_column=species", *QUICK, "--quiet")
    assert command(*words)[0] == 0
    status, _, err = command(*words, "--input_noise=0.2")
    assert status == 1
    assert "input_noise is 0.1 there, 0.2 here" in err
    assert command(*words, "--noresume")[0] == 0
    assert (files / "runs/train-seed1/before-1/result.json").exists()


@pytest.mark.slow
def test_as_a_command(files):
    """The real process, help included."""
    run = [sys.executable, str(ROOT / "experiments/arrays.py")]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    options = {"capture_output": True, "text": True, "cwd": files, "env": environment}
    done = subprocess.run([*run, "--help"], **options, timeout=100)
    assert done.returncode == 0
    assert "--label_column" in done.stdout
    words = ("--train=train.csv", "--test=test.csv", "--label_column=species", *QUICK)
    done = subprocess.run([*run, *words], **options, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "40 predictions in runs/train-seed1/predictions.csv" in done.stdout


@pytest.mark.parametrize("value", [{}, [], {"features": [{"nam": 1}]}, {"features": 1, "x": 2}])
def test_damaged_columns(value):
    with pytest.raises(lj.DataError, match="columns: damaged"):
        Columns.from_json(value)
