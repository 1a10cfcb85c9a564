"""Writes report.html, one page that shows a run folder and needs no network and no scripts."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from ladder_jax.config import STATISTICS, LadderConfig, TrainConfig
from ladder_jax.errors import RunError
from ladder_jax.ladder.network import parameter_counts
from ladder_jax.layers import by
from ladder_jax.plots import CAPTIONS, PICTURES, write_whole
from ladder_jax.presets import Preset
from ladder_jax.report.markup import (
    Html,
    chart,
    is_number,
    is_png,
    note,
    picture,
    section,
    table,
    tag,
)
from ladder_jax.report.reproduce import (
    changes,
    command,
    how,
    meanings,
    model_name,
    nearest_preset,
    network_name,
)
from ladder_jax.storage.files import Json
from ladder_jax.storage.read_run import Run, mean_text, percent, plain, read_run

# Control characters and lone surrogates, which names from files may contain.
_NO_TEXT = "[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]"


def write_report(run: str | os.PathLike[str]) -> Path:
    """Writes report.html into a run folder, from the files there alone.

    The run may be unfinished. The same files give the same bytes.

    Args:
      run: the folder.

    Returns:
      The path of the page.

    Raises:
      RunError: it is no run folder, a file in it is damaged, or the page cannot be written.
    """
    path = Path(run) / "report.html"
    text = re.sub(_NO_TEXT, "\ufffd", _page(read_run(os.path.abspath(run))))
    return write_whole(path, text)


def _page(run: Run) -> str:
    """Returns the whole page as HTML."""
    row = nearest_preset(run)
    labels = f"{run.train_config.labels} labels"
    count = run.label_count(run.train_config.seed)
    if run.data.get("split") and count is not None:  # all that there are, so "all" says nothing
        labels = f"{count:,} labels of {run.data['rows']:,} rows"
    title = f"{model_name(run.config)} on {run.data['name']}, {labels}"
    weights = plain(run.config.denoising_weights).replace(",", ", ")
    about = f"{network_name(run.config)} · λ = {weights} · {run.seeds} · folder "
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Html(Path(__file__).with_name("page.css").read_text("utf-8"))),
    )
    top = tag("header", tag("h1", title), tag("p", about, tag("code", run.path.name)))
    parts = (result, by_statistics, _pictures, _data, _configuration, _reproduce)
    body = tag("body", top, tag("main", *(part(run, row) for part in parts)))
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _pictures(run: Run, row: Preset | None) -> Html:
    """Returns the curves of metrics.jsonl, then the pictures in figures/."""
    try:
        found = {path.stem: path.read_bytes() for path in (run.path / "figures").glob("*.png")}
    except OSError as error:
        raise RunError(f"{error.filename}: cannot be read ({error.strerror})") from None
    content = []
    if not is_png(found.get("learning_curves", b"")):  # it shows the same
        curves = _curve(run, "cost/total", "total cost")
        curves += _curve(run, "validation_error_percent", "validation error in %")
        content.append(tag("div", *curves, class_="curves"))
    order = [stem for stem in PICTURES if stem in found] + sorted(found.keys() - {*PICTURES})
    content += [picture(stem, found[stem], CAPTIONS.get(stem, "")) for stem in order]
    if not found:
        install, plot = tag("code", "pip install matplotlib"), "python experiments/plot.py RUN"
        content.append(tag("p", "More pictures: ", install, ", then ", tag("code", plot), "."))
    return section("Pictures", *content)


def _curve(run: Run, field: str, label: str) -> list[Html]:
    """Returns a figure of one metric, or nothing if a value is missing."""
    lines = []
    for _, own in sorted(run.metrics.items()):
        values: list[Any] = [line.get(field) for line in own]
        if all(map(is_number, values)):
            lines.append(values)
    about = "Cross-entropy of the labelled rows plus the weighted denoising costs, averaged over "
    about = f"{about}each epoch" if field == "cost/total" else "Error on the held-out rows"
    each = "; one line for each seed." if len(lines) > 1 else "."
    return [tag("figure", chart(label, lines), tag("figcaption", about, each))] if lines else []


def _data(run: Run, row: Preset | None) -> Html:
    """Returns the facts about the data and the labelled rows."""
    rows, train, split = run.data["rows"], run.train_config, run.data.get("split")
    counts = sorted(set(run.labelled.values()))
    labelled = " to ".join(map(str, counts[:1] + counts[1:][-1:])) or str(train.labels)
    if train.labels != "all" and not split:
        classes = run.config.num_classes
        labelled += f", balanced: {int(train.labels) // classes} of each of {classes} classes"
    used = f"{rows - train.validation:,}" if train.validation and not split else f"{rows:,}"
    own_rows = "each seed's own" if train.data_seed is None else f"from data seed {train.data_seed}"
    facts = [
        ["name", run.data["name"]],
        ["training rows", used],
        ["fingerprint", tag("code", run.data.get("sha256", "–"))],
        ["labelled rows", labelled],
        ["held-out rows", f"{train.validation:,}" if train.validation else "none"],
        ["choice of these", f"the caller's, fingerprint {split}" if split else own_rows],
        ["seeds of the runs", run.seeds],
    ]
    about = "Rows without a label are not trained on. Those with one are in "
    if run.config.cost_layers:
        about = "The rows with labels also take part without them. Which they are is in "
    words = tag("p", about, tag("code", "label_indices.json"), ".")
    return section("Data", table("What the network was trained on", [], facts), words)


def _configuration(run: Run, row: Preset | None) -> Html:
    """Returns the tables of layers and of settings."""
    config, counts = run.config, parameter_counts(run.config)
    layers: list[list[object]] = []
    for i, kind in enumerate(["input", *map(str, config.layers)]):
        level, noise = config.levels[i], plain(config.noise_levels[i])
        weight = plain(config.denoising_weights[i]) if i in config.cost_layers else "–"
        layers.append([i, kind, by(config.shapes[i]), f"{counts[i]:,}", weight, noise])
        layers[-1].append(level.name if level else "–")
    heads = ["layer", "kind", "shape", "parameters", "λ", "noise", "combinator"]
    about = (
        "λ weighs a layer's denoising cost. The noise is the standard deviation of what is added "
        "to the layer in training. The combinator makes the reconstruction ẑ from the noisy layer "
        "and the signal from above. – is a layer without that."
    )
    default = LadderConfig(config.layers, config.denoising_weights, input_shape=config.input_shape)
    base = default.to_json() | TrainConfig().to_json()
    if row:
        base = row.config.to_json() | row.train_config.to_json()
    settings, own, means = [], config.to_json() | run.train_config.to_json(), meanings(run)
    for name in own:
        same = own[name] == base[name]
        if name in means or not same:
            other: object = "unchanged" if same else tag("b", f"changed from {_shown(name, base)}")
            other = "–" if name in ("seed", "data_seed") or run.is_fit else other
            settings.append([name, _shown(name, own), other, means.get(name, "see the layers")])
    beside = "–" if run.is_fit else row.name if row else "the default"  # a fit has its own
    titles = ["setting", "value", beside, "meaning"]
    return section(
        "Configuration",
        tag("p", about),
        table(f"Layers, {sum(counts):,} parameters in all", heads, layers),
        table("Settings", titles, settings),
    )


def _shown(name: str, settings: Json) -> str:
    """Returns a setting's value as text, with words for what None stands for."""
    absent = {"data_seed": "the seed", "steps_per_epoch": "a whole pass"}
    return plain(settings[name]) if settings[name] is not None else absent.get(name, "–")


def _reproduce(run: Run, row: Preset | None) -> Html:
    """Returns how to repeat the run and what it was computed with."""
    again = f"runs/{run.path.name}-again"
    content = [tag("p", "In the project's folder, as a run of its own:"), *how(run, row, again)]
    versions = dict(run.result.get("versions", {}))
    commit, dirty = versions.pop("git_commit", None), versions.pop("git_dirty", None)
    if run.result:
        state = ", with changes that are in no commit" if dirty else ", without changes"
        code = [tag("code", commit), state] if commit else ["not in a git checkout"]
        seconds: Any = run.result.get("wall_seconds")
        time = f"{seconds} seconds ({seconds / 3600:.2f} hours)" if is_number(seconds) else "–"
        facts = [
            ["git commit", tag("span", *code)],
            ["device", run.result.get("device", "–")],
            ["wall time", time],
            *([name, version or "–"] for name, version in versions.items()),
        ]
        content.append(table("What the run was made with", [], facts))
    bits = (
        "The same seed gives the same bits on the same machine with the same versions of Python "
        "packages, resumed or not; this is tested on CPUs. Other machines, devices or versions of "
        "JAX round differently."
    )
    return section("How to reproduce", *content, tag("p", bits))


_KINDS = {
    "labelled": "After training, one pass over the labelled training rows measures the mean and "
    "variance of every unit. These fixed numbers normalise the rows to be classified, as in the "
    "authors' code.",
    "unlabelled": "The same, measured over the whole training part, with and without labels.",
    "running": "No pass after training: the average over the labelled minibatches of the last "
    "epoch, without noise, the latest counting most.",
}
_WHY = (
    "Batch normalisation needs a mean and a variance for every unit, and at test time somebody "
    "has to say of which rows. Never of the test batch: the class of a row would depend on the "
    "rows it happens to stand beside, the error on the size and order of the batches, and the "
    "network would be fitted to rows that it must not have seen."
)


def result(run: Run, row: Preset | None) -> Html:
    """Returns the error to compare with the paper, and whether it can be compared."""
    if not run.result:
        return section("Not finished", *_progress(run, row))
    kind, errors = STATISTICS[0], run.errors(STATISTICS[0])
    different = changes(run, row) if row else {}
    several = f"mean ± standard deviation (n − 1) of {len(errors)} runs, " * (len(errors) > 1)
    what = f"{run.part} error, {several}by the {kind} statistics"
    numbers, notes = [_number(f"{mean_text(errors)} %", what)], []
    if not errors:
        why = "there was no test set to measure it on"
        if run.is_fit:
            why = "a classifier is measured by its score, or by the command that has the test file"
        numbers = [_number("No error", why)]
    elif run.train_config.statistics != kind:
        own = run.train_config.statistics
        text = f"{mean_text(run.errors(own))} %, by the {own} statistics"
        notes.append(note(f"The run itself reports {text}."))
    if run.train_config.validation:
        held_out = f"{run.train_config.validation} rows were held out of the training set"
        notes.append(note(f"{held_out} and the error is theirs. The test set was not touched."))
    if row is None or row.paper_error is None:
        notes.append(note(f"The paper has no number for {run.data['name']}."))
    elif not different and errors:
        one = " of one run" if row.paper_error[1] is None else ", mean ± standard deviation"
        numbers.append(_number(f"{percent(*row.paper_error)} %", f"the paper's test error{one}"))
        if (row.dataset, row.model) == ("cifar10", "baseline"):
            notes.append(note("The paper's baseline had dropout where this one has noise."))
    if row and different:
        than = "paper" if row.paper_error else "preset"
        pairs = {name: f"{plain(a)} ({than}: {plain(b)})" for name, (a, b) in different.items()}
        words = [f"{name} {text}" if len(text) < 50 else name for name, text in pairs.items()]
        start = f"Not the {than}'s settings. From the nearest row, {row.name}, differ: "
        notes.append(note(start, "; ".join(words), "."))
    if len(errors) == 1:
        notes.append(_one_seed(run, row))
    runs = [_seed_table(run)] if run.num_seeds > 1 else []
    return section("Result", tag("div", *numbers, class_="numbers"), *notes, *runs)


def _one_seed(run: Run, row: Preset | None) -> Html:
    """Returns a note that the error of one run says little, and how to run more."""
    why = " Single runs scatter. "
    if row and row.paper_error and row.paper_error[1] is not None:
        why = " Single runs scatter; the paper's numbers are means over 4 to 40 runs. "
    more = [tag("code", "--num_seeds=10"), " gives"]
    if run.is_fit:
        more = ["Fits with other values of ", tag("code", "random_state"), " give"]
    elif not (row and command(run, row, "")):
        more = [tag("code", "num_seeds=10"), " (in Python) gives"]
    return note(tag("strong", "One seed is no comparison."), why, *more, " mean and deviation.")


def _number(number: str, what: str) -> Html:
    """Returns a large number with its description."""
    return tag("p", tag("strong", number), " ", tag("span", what), class_="number")


def _seed_table(run: Run) -> Html:
    """Returns the errors of each seed and their mean."""
    rows: list[list[object]] = []
    for entry in run.runs:
        found = entry.get(f"{run.part}_error_percent")
        errors = [percent(found[kind]) for kind in STATISTICS] if found else None
        rows.append([entry["seed"], *(errors or [entry.get("reason", "–")])])
    rows.append(["mean ± std", *(mean_text(run.errors(kind)) for kind in STATISTICS)])
    lost = sum("reason" in entry for entry in run.runs)
    caption = f"{run.part.capitalize()} error in %, seed by seed"
    caption += f"; {lost} diverged and in no average" if lost else ""
    return table(caption, ["seed", *STATISTICS], rows)


def _progress(run: Run, row: Preset | None) -> list[Html]:
    """Returns how far an unfinished run is, and how to continue it."""
    epochs, begun = run.train_config.epochs, len(run.metrics)
    whole = begun >= run.num_seeds and all(len(own) >= epochs for own in run.metrics.values())
    state = "is trained, but not yet evaluated" if whole else "has not come to its end"
    held_out = run.train_config.validation > 0
    rows = [
        [seed, f"{len(own)} of {epochs}", _value(own[-1], "cost/total")]
        + [_value(own[-1], "validation_error_percent")] * held_out
        for seed, own in sorted(run.metrics.items())
    ]
    heads = ["seed", "epochs", "total cost", *["validation error %"] * held_out]
    how_far = table("How far it is", heads, rows) if rows else tag("p", "No epoch has ended yet.")
    content = [note(f"This run {state}, so there is no error to report."), how_far]
    if begun < run.num_seeds and run.num_seeds > 1:
        content.append(tag("p", f"Not begun: {run.num_seeds - begun} of {run.num_seeds} seeds."))
    go_on = "To go on from its last checkpoint (epochs since then are trained again):"
    return [*content, tag("p", go_on), *how(run, row, str(run.path))]


def _value(line: Json, name: str) -> str:
    """Returns a number of metrics.jsonl as text."""
    return f"{line[name]:.4g}" if is_number(line.get(name)) else "–"


def by_statistics(run: Run, row: Preset | None) -> Html:
    """Returns the errors by each kind of statistics."""
    comparable = row is not None and row.paper_error and not changes(run, row)
    paper = "comparable with the paper" if comparable else "the paper's rule"
    rows = []
    for kind in STATISTICS:
        marks = [tag("b", "reported")] * (kind == run.train_config.statistics)
        marks += [tag("b", paper)] * (kind == STATISTICS[0])
        name = tag("span", kind, *(Html(f" {mark}") for mark in marks))
        rows.append([name, mean_text(run.errors(kind)), _KINDS[kind]])
    heads = ["statistics", f"{run.part} error %", "where mean and variance come from"]
    caption = "The same trained network by three kinds of statistics"
    return section("Which statistics", tag("p", _WHY), table(caption, heads, rows))
