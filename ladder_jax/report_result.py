"""The first parts of report.html: the result, or how far the run is, and its statistics."""

from __future__ import annotations

from ladder_jax.config import STATISTICS
from ladder_jax.presets import Preset
from ladder_jax.report.markup import Html, is_number, note, section, table, tag
from ladder_jax.report.reproduce import changes, command, how
from ladder_jax.storage.read_run import Json, Run, mean_text, percent, plain

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
    """The number to compare with the paper, and whether it can be compared."""
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
    """Why the error of one run says little, and how to come by more."""
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
    return tag("p", tag("strong", number), " ", tag("span", what), class_="number")


def _seed_table(run: Run) -> Html:
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
    """How far an unfinished run is, and how to go on."""
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
    return f"{line[name]:.4g}" if is_number(line.get(name)) else "–"


def by_statistics(run: Run, row: Preset | None) -> Html:
    """The errors by each kind of statistics."""
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
