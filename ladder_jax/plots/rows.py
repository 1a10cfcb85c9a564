"""Draws what a run predicts for rows that it has not learnt from: confusion and mistakes."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np

from ladder_jax.config import LadderConfig
from ladder_jax.data import Dataset
from ladder_jax.data.split import split_rows
from ladder_jax.errors import RunError
from ladder_jax.plots.curves import open_run
from ladder_jax.plots.style import Array, Figure, add_axes, colour_bar, new_figure, show_image
from ladder_jax.storage.read_run import Folder, Run
from ladder_jax.train.result import Model, load_network


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows as the data set stores them, with the model that classifies them."""

    x: Array  # (N, *shape)
    y: Array  # classes, (N,)
    index: Array  # row numbers in the data's training or test part, (N,)
    what: str  # which rows they are, for titles
    model: Model

    @functools.cached_property
    def probabilities(self) -> Array:
        """Class probabilities (N, K) by the run's default statistics."""
        return self.model.predict_proba(self.x)

    @property
    def predicted(self) -> Array:
        """Most probable class, (N,)."""
        return self.probabilities.argmax(axis=-1)


def rows_of(run: Run, data: Dataset | None, seed: int | None) -> Rows:
    """Returns the validation rows of a run, else the test rows, else the training rows."""
    if data is None or data.fingerprint() != run.data.get("sha256"):
        name = data.name if data else "none"
        raise RunError(f"{run.path}: was trained on other data than these ({name})")
    model = load_network(run.path, seed)
    x, y, at, what = data.x_train, data.y_train, np.arange(len(data.x_train)), "training rows"
    if model.train_config.validation:
        at = split_rows(model.train_config, data).validation
        x, y, what = x[at], y[at], "held-out rows (not test rows)"
    elif data.x_test is not None and data.y_test is not None:
        x, y, at, what = data.x_test, data.y_test, np.arange(len(data.x_test)), "test rows"
    return Rows(x, y, at, f"{len(x)} {what} of {data.name}{seed_note(run, model)}", model)


def seed_note(run: Run, model: Model) -> str:
    """Returns the end of a title that names the model's seed if the folder has several."""
    return f", seed {model.train_config.seed}" if run.num_seeds > 1 else ""


def rows_for(picture: str, run: Folder | Rows, data: Dataset | None, seed: int | None) -> Rows:
    """Returns ``rows_of`` a run and raises ``RunError`` if it has no such picture."""
    if isinstance(run, Rows):  # write_figures has them, for all three pictures
        return run
    return rows_of(open_run(picture, run, data), data, seed)


def image_shape(x: Array, config: LadderConfig) -> tuple[int, ...] | None:
    """Returns (H, W, C) if the rows are images, and None if they are features."""
    shapes = [shape for shape in (x.shape[1:], config.input_shape) if len(shape) in (2, 3)]
    fitting = [(*shape, 1)[:3] for shape in shapes if math.prod(shape) == math.prod(x.shape[1:])]
    return next((shape for shape in fitting if shape[2] in (1, 3)), None)


def confusion(
    run: Folder | Rows, data: Dataset | None = None, *, seed: int | None = None
) -> Figure:
    """Draws the confusion matrix: numbers of rows, and per cent of the true class.

    It is by the run's default statistics, and shows the validation rows if the run has some, and
    the test rows otherwise.

    Args:
      run: a finished run.
      data: the data that the run was trained on.
      seed: one of the seeds in the folder; by default the first.

    Raises:
      RunError: the run is absent, damaged, not finished, of other data, or there are no such rows.
    """
    rows = rows_for("confusion", run, data, seed)
    counts = np.zeros((rows.probabilities.shape[-1],) * 2, int)  # by true and predicted class
    np.add.at(counts, (rows.y, rows.predicted), 1)
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    wrong = 100 * (1 - counts.trace() / counts.sum())
    title = f"Confusion, {rows.what}\n{wrong:.2f} % wrong, by "
    figure = new_figure(6.4, f"{title}{rows.model.train_config.statistics} statistics")
    axes = add_axes(figure, 1, 1, 0)
    size = max(7, 12 - len(counts))
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for true, predicted in zip(*np.nonzero(counts if len(counts) <= 12 else []), strict=True):
        share = shares[true, predicted]
        text, colour = f"{counts[true, predicted]}\n{share:.1f} %", "white" if share > 60 else "k"
        axes.text(predicted, true, text, color=colour, size=size, ha="center", va="center")
    ticks = range(0, len(counts), -(-len(counts) // 20))
    axes.set(xticks=ticks, yticks=ticks, xlabel="predicted class", ylabel="true class")
    colour_bar(figure, image, "rows (% of the true class)")
    return figure


def mistakes(run: Folder | Rows, data: Dataset | None = None, *, seed: int | None = None) -> Figure:
    """Draws the wrongly classified rows of which the model was most certain, up to 18.

    Rows are shown as images, or as a table of colours with a column for each feature; p is the
    probability of the predicted class, and a row's number is its index in the training or test
    part. Rows, arguments and errors are those of ``confusion``.
    """
    rows = rows_for("mistakes", run, data, seed)
    wrong = np.flatnonzero(rows.predicted != rows.y)
    wrong = wrong[np.argsort(-rows.probabilities[wrong].max(axis=-1), kind="stable")]
    at, shape = wrong[:18], image_shape(rows.x, rows.model.config)
    known = zip(rows.predicted[at], rows.probabilities[at].max(axis=-1), rows.y[at], strict=True)
    names = [f"{predicted} ({p:.2f}) / {true}" for predicted, p, true in known]
    numbers = rows.index[at]
    height = 1.6 * -(-len(at) // 6) if shape else max(1.5, 0.25 * len(at)) * bool(names)
    figure = new_figure(0.9 + height, "")
    for place, name in enumerate(names if shape else ()):
        axes = add_axes(figure, len(at), 6, place)
        show_image(axes, rows.x[at[place]].reshape(shape), rows.x.min(), rows.x.max())
        axes.set_title(f"row {numbers[place]}\n{name}", fontsize=8.5)
    if names and shape is None:
        axes = add_axes(figure, 1, 1, 0)
        image = axes.imshow(rows.x[at].reshape(len(at), -1), aspect="auto")
        names = [f"row {row}: {name}" for row, name in zip(numbers, names, strict=True)]
        axes.set_yticks(range(len(at)), names, fontsize=8.5)
        axes.set_xlabel("number of the feature")
        axes.locator_params("x", integer=True)
        colour_bar(figure, image, "value")
    title = f"Mistakes, {len(wrong)} of {rows.what}\n"
    shown = f"{len(at)} of {len(wrong)} shown, most certain first: predicted (p) / true"
    figure.suptitle(title + shown * bool(names), fontsize=11)
    return figure
