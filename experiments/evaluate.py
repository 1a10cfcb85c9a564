"""Repeats the evaluation of a finished run, or extends it to other statistics or rows.

python experiments/evaluate.py runs/digits-ladder-50-seed1
python experiments/evaluate.py runs/mnist-ladder-100-seed1 --statistics=unlabelled
python experiments/evaluate.py RUN --rows=test --json

It needs the run's weights.msgpack and config.json, and the data it was trained on.
"""

if __name__ == "__main__":
    from cli import signals as interrupts  # noqa: F401 - before all that takes time

import json
import statistics
import sys
from pathlib import Path

from absl import flags
from cli import console

import ladder_jax as lj
from ladder_jax.data.split import split_rows
from ladder_jax.train.result import folder_of, seeds_of

ROWS = ("test", "validation", "train")


def define() -> flags.FlagValues:
    """Defines the flags of the command."""
    values = flags.FlagValues()
    flags.DEFINE_string("statistics", None, "One of them (default: all).", flag_values=values)
    flags.DEFINE_enum(
        "rows", None, ROWS, "Which (default: those of the run's own report).", flag_values=values
    )
    flags.DEFINE_string("data_dir", None, "Folder (or LADDER_DATA_DIR).", flag_values=values)
    flags.DEFINE_boolean("json", False, "Print one JSON object.", flag_values=values)
    return values


def main(values: flags.FlagValues) -> None:
    """Prints the errors of a run, and exits with status 1 on a user's mistake."""
    (run,) = console.parse(values, __doc__, words=("RUN",))
    try:
        kinds = lj.STATISTICS if values.statistics is None else (values.statistics,)
        if values.statistics not in (None, *lj.STATISTICS):
            problem = f"is one of {', '.join(lj.STATISTICS)}"
            raise lj.ConfigError("statistics", values.statistics, problem)
        models = [lj.load(run, seed) for seed in seeds_of(run)]
        folder = folder_of(run)
        data = data_of(folder, values.data_dir)
        rows = values.rows or ("validation" if models[0].train_config.validation else "test")
        own_split = "split" in json.loads((folder / "config.json").read_text())["data"]
        if rows != "test" and own_split:
            raise lj.RunError(
                f"{run}: its {rows} rows were the caller's own choice; give --rows=test"
            )
        found = [
            {"seed": model.train_config.seed} | _errors(model, data, rows, kinds)
            for model in models
        ]
    except lj.LadderError as error:
        console.fail(str(error))
    if values.json:
        print(json.dumps({"run": run, "rows": rows, "error_percent": found}))
        return
    print(f"{run}: error % on the {rows} rows of {data.name}")
    print("seed      " + "".join(f"{kind:>14}" for kind in kinds))
    for own in found:
        print(f"{own['seed']:<10}" + "".join(f"{own[kind]:14.2f}" for kind in kinds))
    if len(found) > 1:
        means = (statistics.fmean(own[kind] for own in found) for kind in kinds)
        print("mean      " + "".join(f"{mean:14.2f}" for mean in means))


def data_of(run: Path, data_dir: str | None) -> lj.Dataset:
    """Loads the data that a run was trained on and checks that they have not changed."""
    known = json.loads((run / "config.json").read_text()).get("data")  # lj.load has read it
    known = known if isinstance(known, dict) else {}
    if known.get("name") not in lj.data.NAMES:
        use = "ladder_jax.load(RUN).predict(x) in Python"
        raise lj.RunError(f"{run}: is of data given as arrays ({known.get('name')}); use {use}")
    data = lj.data.load(known["name"], data_dir=data_dir)
    if data.fingerprint() != known.get("sha256"):
        raise lj.RunError(f"{run}: was trained on other data than these {data.name} files")
    return data


def _errors(
    model: lj.Model, data: lj.Dataset, rows: str, kinds: tuple[str, ...]
) -> dict[str, float]:
    """Returns the error on ``rows`` by each kind of statistics."""
    if rows == "test":
        x, y = data.x_test, data.y_test
    else:
        at = getattr(split_rows(model.train_config, data), rows)
        x, y = data.x_train[at], data.y_train[at]
    if x is None or not len(x):
        raise lj.RunError(f"rows={rows}: this run has none")
    return {kind: lj.error_percent(model.predict(x, kind), y) for kind in kinds}


if __name__ == "__main__":
    sys.exit(main(define()))
