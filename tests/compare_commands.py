"""Commands of one tree, for compare_commits.py: python compare_commands.py TREE OUT.json

Started in an empty folder. Each command runs in this process, with modules of its own, and leaves
its output, its errors and its exit status. Times, paths and versions of the code are taken out.
"""

import contextlib
import csv
import hashlib
import io
import json
import os
import re
import runpy
import sys
from pathlib import Path

import numpy as np

import ladder_jax as lj

TREE, OUT = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
HERE = Path.cwd().resolve()
EXPERIMENTS = TREE / "experiments"
COMMANDS = ("mnist", "cifar10", "digits", "demo", "arrays", "tables", "evaluate", "plot")
QUICK = "digits --layers=dense:16,dense:10 --denoising_weights=100,1,0.1 --epochs=2 --labels=50"
ROWS = "arrays --layers=12 --steps=60 --label_column=species"
MADE = f"""
{QUICK} --workdir=runs/a --validation=200
{QUICK} --workdir=runs/a --validation=200
{QUICK} --workdir=runs/a
{QUICK} --workdir=runs/a --validation=200 --quiet
{QUICK} --workdir=runs/two --num_seeds=2 --noreport
{QUICK} --workdir=runs/two --num_seeds=2 --seed_mode=vmap
{QUICK} --workdir=runs/wild --learning_rate=1e30
{QUICK} --workdir=runs/wilder --learning_rate=1e30 --num_seeds=2 --quiet
digits --epochs=1 --model=baseline --noreport --quiet
digits --epochs=1 --model=baseline --noreport --noresume
evaluate runs/a
evaluate runs/a --rows=test --statistics=running
evaluate runs/two --json
plot runs/a
plot runs/two runs/a
plot --ledger=results/ledger.jsonl
{ROWS} --train=train.csv --test=test.csv --dry_run
{ROWS} --train=train.csv --test=test.csv --workdir=runs/rows
{ROWS} --train=train.csv --test=test.csv --workdir=runs/rows --quiet
arrays --layers=12 --steps=60 --train=train.npz --workdir=runs/npz --folds=3 --scaling=range
plot runs/rows
evaluate runs/rows
evaluate runs/npz
"""
MISTAKES = """
mnist --no_such_flag=1
digits labels=50
digits --lables=50
digits --labels=55
digits --labels=many
digits --labels=2000
digits --model=vae
digits --combinator=magic
digits --combinator=sigmoid:no_u
digits --combinator=gaussian,linear
digits --denoising_weights=1,2
digits --hidden_noise=-1
digits --learning_rate=0
digits --epochs=abc
digits --batch_size=1
digits --statistics=test
digits --validation=1290
digits --keep=0
digits --coordinator=a:1
digits --layers=10,conv:3:3
digits --layers=conv:3
digits --layers=conv:10:9,globalmean
digits --layers=20,7
digits --activation=tanh
digits --devices=9
digits --parallel=vmap
digits --seed_mode=all
cifar10 --model=ladder
cifar10 --data_dir=nowhere
mnist --data_dir=nowhere
mnist --data_dir=.
tables
tables --table=9
tables --table=1 --cells=no-such
tables --table=1 --seeds=3-1
arrays
arrays --train=nowhere.csv
arrays --train=train.csv --label_column=none
arrays --train=train.csv
arrays --train=train.csv --label_column=species --layers=x
arrays --train=train.csv --label_column=species --steps=0
arrays --train=train.csv --label_column=colour --test=test.csv
evaluate
evaluate nowhere
evaluate runs/a --statistics=test
evaluate runs/a --rows=all
plot
plot nowhere
demo now
"""


def commands():
    yield from (f"{name} --help" for name in COMMANDS)
    labels = {"mnist": (50, 60, 100, 1000, 20000, "all"), "cifar10": (1000, 4000, "all")}
    for dataset in ("mnist", "cifar10", "digits"):
        for model in lj.presets.models(dataset):
            for count in labels.get(dataset, (10, 50, "all")):
                yield f"{dataset} --dry_run --model={model} --labels={count}"
    yield "digits --dry_run --layers=conv:9:3,maxpool:2,20,20,10 --num_seeds=3"
    yield "digits --dry_run --combinator=augmented_mlp,linear,none,gaussian --seed=7 --data_seed=1"
    for table in ("1", "2", "3", "combinators"):
        yield f"tables --dry_run --table={table}"
    yield "tables --dry_run --table=1 --epochs=1 --seeds=1,3-4 --cells=mnist-ladder-*"
    yield from (line for line in (MADE + MISTAKES).splitlines() if line)


def normal(text):
    """The text without what differs from one call, or one folder, to the next."""
    for path, name in ((HERE, "HERE"), (TREE, "TREE")):
        text = text.replace(str(path), name)
    text = re.sub(r"[0-9.]+ examples/s, .* left", "SPEED", text)
    text = re.sub(r"\bprocess [0-9]+ on \S+", "PROCESS", text)
    text = re.sub(r"base64,[A-Za-z0-9+/=]+", "PICTURE", text)
    text = re.sub(r"^(\S+\.py):[0-9]+: (\w*Warning)", r"FILE: \2", text, flags=re.MULTILINE)
    text = re.sub(r"\b[0-9a-f]{40}\b", "COMMIT", text)
    return re.sub(r"\b[0-9.]+ (s|seconds|hours)\b", r"TIME \1", text)


def run(line):
    """Exit status, output and errors of a command."""
    name, *words = line.split()
    for module, own in list(sys.modules.items()):
        if str(getattr(own, "__file__", "")).startswith(str(EXPERIMENTS)):
            del sys.modules[module]
    out, err, status, found = io.StringIO(), io.StringIO(), 0, {}
    sys.argv = [str(EXPERIMENTS / f"{name}.py"), *words]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as end:
            status = end.code or 0
        except Exception as error:
            found["failed"] = f"{type(error).__name__}: {error}"
    found |= {"status": status, "output": out.getvalue(), "errors": err.getvalue()}
    return {key: normal(value) if isinstance(value, str) else value for key, value in found.items()}


def write_rows():
    rng = np.random.default_rng(0)
    y = np.arange(130) % 3
    x = np.eye(3, 4)[y] * 5 + rng.normal(size=(130, 4))
    for name, own in (("train", range(90)), ("test", range(90, 130))):
        with open(f"{name}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["a", "b", "c", "d", "colour", "species"])
            for i in own:
                label = "" if 30 <= i < 90 else ("ant", "bee", "cat")[y[i]]
                writer.writerow([*x[i], "red" if i % 2 else "blue", label])
    np.savez("train.npz", x=x[:90], y=np.where(np.arange(90) < 30, y[:90], -1))


def files():
    """Of each file that the commands left its digest, or its text where that holds times."""
    found = {}
    for path in sorted(p for p in HERE.rglob("*") if p.is_file() and "checkpoints" not in p.parts):
        name = str(path.relative_to(HERE))
        if path.suffix in (".png", ".msgpack", ".csv"):
            found[f"sha256 of {name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = normal(path.read_text()) if path.suffix == ".html" else "there"
    return found


def main():
    sys.path.insert(0, str(EXPERIMENTS))
    os.environ["COLUMNS"] = "100"
    write_rows()
    found = {f"{number} {line}": run(line) for number, line in enumerate(commands())}
    found["files left by the commands"] = files()
    OUT.write_text(json.dumps(found))


main()
