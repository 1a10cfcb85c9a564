"""Compares a run with the presets and writes the command or code that repeats it."""

from __future__ import annotations

import math
import shlex
from contextlib import suppress
from pprint import pformat
from typing import Any

from ladder_jax import presets
from ladder_jax.config import SETTINGS, LadderConfig
from ladder_jax.errors import ConfigError
from ladder_jax.estimator import defaults as choices
from ladder_jax.presets import Preset
from ladder_jax.report.markup import Html, tag
from ladder_jax.storage.read_run import PAPER_ROWS, Run, changed, kind_of, plain

_KINDS = {"baseline": "Supervised baseline", "bottom": "Ladder, cost at the input only"}
_NETWORKS = {"mnist-conv_fc": "Conv-FC", "mnist-conv_s": "Conv-Small", "cifar10": "Conv-Large"}


# These settings are columns of the table of layers.
_IN_LAYER_TABLE = (
    "layers",
    "denoising_weights",
    "input_noise",
    "hidden_noise",
    "combinator",
    "input_shape",
)
_OF_BASELINE = {
    "epochs": "as long as passes over all training rows, or of steps_per_epoch steps",
    "batch_size": "only sets how many steps an epoch has: training rows / batch_size",
}


def meanings(run: Run) -> dict[str, str]:
    """Returns the meaning, for that run, of each setting that the layer table does not show."""
    found = {
        name: field.metadata["help"]
        for name, field in SETTINGS.items()
        if name not in _IN_LAYER_TABLE
    }
    return found if run.config.cost_layers else found | _OF_BASELINE


def model_name(config: LadderConfig) -> str:
    """Names the model by the layers that have a denoising cost."""
    kind = kind_of(config)
    if kind == "ladder":
        costs = ", ".join(map(str, config.cost_layers))
        full = len(config.cost_layers) == len(config.layers) + 1
        return "Full ladder" if full else f"Ladder with costs at layers {costs}"
    return _KINDS.get(kind, kind)


def network_name(config: LadderConfig) -> str:
    """Returns the paper's name of a convolutional network, or the sizes of an MLP."""
    same = [p.name for p in presets.PRESETS.values() if p.config.layers == config.layers]
    for start, name in _NETWORKS.items():
        if any(row.startswith(start) for row in same):
            return name
    if all(str(layer).startswith("dense") for layer in config.layers):
        return "MLP " + "-".join(str(math.prod(shape)) for shape in config.shapes)
    return f"Network of {len(config.layers)} layers"


def nearest_preset(run: Run) -> Preset | None:
    """Returns the preset with the nearest settings, or None for data without presets."""
    name, labels = run.data["name"], run.train_config.labels
    names = [presets.for_labels(name, model, labels).name for model in presets.models(name)]

    def distance(row: Preset) -> tuple[int, bool]:
        return len(changes(run, row)), model_name(row.config) != model_name(run.config)

    return min(map(presets.get, names), key=distance, default=None)


def changes(run: Run, row: Preset) -> dict[str, tuple[Any, Any]]:
    """Returns the settings that differ from the preset's, as name -> (the run's, the preset's)."""
    found = changed(run.config, run.train_config, row)
    found.pop("statistics", None)  # each run has the errors by all kinds
    rows = PAPER_ROWS.get(run.data["name"], run.data["rows"])
    if run.data["rows"] != rows:
        found["rows"] = (run.data["rows"], rows)
    if run.data.get("split"):
        found["split"] = ("the caller's choice", "by the data seed")
    elif run.num_seeds > 1 and run.train_config.data_seed is not None:
        found["data_seed"] = (run.train_config.data_seed, "each seed's own")
    return found


def command(run: Run, row: Preset, workdir: str) -> str | None:
    """Returns the training command that repeats this run, or None if no flags describe it."""
    own = run.config.to_json() | run.train_config.to_json()
    base = row.config.to_json() | row.train_config.to_json()
    if own["layers"] != base["layers"] and not run.config.layers[0].flattens:  # as --layers does
        base["input_shape"] = list(presets.DATASETS[row.dataset].shape)
    if run.data.get("split") or own["input_shape"] != base["input_shape"]:
        return None
    if run.num_seeds == 1 and own["data_seed"] == own["seed"]:
        own["data_seed"] = None
    flags = {"model": row.model, "labels": own.pop("labels")}
    flags |= {name: plain(value) for name, value in own.items() if value != base[name]}
    if run.num_seeds > 1:
        flags |= {"num_seeds": run.num_seeds, "seed_mode": run.seed_mode or "auto"}
    words = [f"--{name}={value}" for name, value in (flags | {"workdir": workdir}).items()]
    return " ".join(["python", f"experiments/{row.dataset}.py", *map(shlex.quote, words)])


def python_code(run: Run, workdir: str) -> str:
    """Returns Python code that repeats the run, for data that the commands do not know."""
    name, split = run.data["name"], run.data.get("split")
    data = f"from_arrays(x_train, y_train, x_test, y_test, name={name!r})  # and the run's scale"
    if name in presets.DATASETS:
        data = f"load({name!r})"
    more = f"    num_seeds={run.num_seeds},\n" if run.num_seeds > 1 else ""
    more += f"    parallel=lj.Parallel(seed_mode={run.seed_mode!r}),\n" if run.seed_mode else ""
    more += f"    split=split,  # its fingerprint() is {split!r}\n" if split else ""
    model, training = (
        pformat(own.to_json(), width=80, compact=True, sort_dicts=False)
        for own in (run.config, run.train_config)
    )
    return (
        f"import ladder_jax as lj\n\ndata = lj.data.{data}\n"
        f"assert data.fingerprint() == {run.data.get('sha256')!r}\n"
        f"config = lj.LadderConfig.from_json(\n{model}\n)\n"
        f"settings = lj.TrainConfig.from_json(\n{training}\n)\n"
        f"lj.train_and_evaluate(\n    config,\n    settings,\n    data,\n{more}"
        f"    workdir={workdir!r},\n)"
    )


def fit_code(run: Run, workdir: str) -> str:
    """Returns the call of ``fit`` that repeats the run, as far as its folder describes it."""
    words = "".join(f"    {name}={value!r},\n" for name, value in run.classifier.items())
    return (
        f"import ladder_jax as lj\n\nlj.LadderClassifier(\n{words or _known_words(run)}"
        f").fit(X, y, workdir={workdir!r})  # and X_unlabeled, if there was one"
    )


def _known_words(run: Run) -> str:
    """Returns the parameters of an unsaved classifier, from the settings of its run."""
    own, config = run.config.to_json() | run.train_config.to_json(), run.config
    network = ("denoising_weights", "input_noise", "hidden_noise", "combinator")
    known, layers = {name: own[name] for name in network}, own["layers"][:-1]
    for name in choices.NETWORKS:  # they differ from others by more than their layers
        with suppress(ConfigError):
            shape, classes = config.input_shape, config.num_classes
            built = choices.network(name, input_shape=shape, num_classes=classes, **known)
            layers = name if built == config else layers
    known = {"layers": layers} | known
    for name in ("learning_rate", "decay_start", "batch_size", "labelled_batch_size", "statistics"):
        known[name] = own[name]
    words = "".join(f"    {name}={value!r},\n" for name, value in known.items())
    asked = own["epochs"] * own["steps_per_epoch"]  # rounded, and more than fit for many rows
    others = f"random_state, scaling, unlabeled_label, steps (about {asked:,})"
    return f"{words}    **others,  # as they were: {others}\n"


def how(run: Run, row: Preset | None, workdir: str) -> list[Html]:
    """Returns what to call to repeat the run in that folder."""
    if line := row and command(run, row, workdir):
        return [_code(Html(" ".join(tag("span", word) for word in line.split(" "))))]
    if not run.is_fit:
        return [_code(python_code(run, workdir))]
    fit, arrays = tag("code", "lj.LadderClassifier(...).fit"), tag("code", "experiments/arrays.py")
    rows = f" with the same {run.data['rows']:,} rows and the workdir below; "
    why = "these rows were scaled and padded before the run. What is known of the call:"
    text = tag("p", "Make the same call of ", fit, " (or ", arrays, "'s same command)", rows, why)
    return [text, _code(fit_code(run, workdir))]


def _code(text: str) -> Html:
    """Returns a block of code."""
    return tag("pre", tag("code", text), tabindex=0)
