"""Pictures of runs as matplotlib figures, and ``write_figures``, which saves them in a run folder.

matplotlib is the extra ``plots``. It is imported only when a picture is drawn, and without pyplot,
so no global state is touched. Show a figure in a notebook, or write it with ``figure.savefig`` or
``save``. Colours are those of Okabe and Ito, for colour-blind readers; markers, lines or widths
differ as well.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from ladder_jax.data import Dataset
from ladder_jax.errors import RunError
from ladder_jax.plots import curves as plot_curves
from ladder_jax.plots import rows as plot_rows
from ladder_jax.plots.curves import denoising_costs, learning_curves
from ladder_jax.plots.decoder import denoising_functions, reconstructions
from ladder_jax.plots.labels import error_against_labels as error_against_labels
from ladder_jax.plots.rows import confusion, mistakes
from ladder_jax.plots.style import Figure
from ladder_jax.storage import files
from ladder_jax.storage.read_run import Folder, read_run

CAPTIONS = {
    "learning_curves": "Costs, learning rate and, with held-out rows, their error by epoch.",
    "denoising_costs": "How well each layer is denoised: its cost C(l), not multiplied by λ(l).",
    "denoising_functions": "Learnt denoising functions of some units, by signal from above.",
    "reconstructions": "Inputs as they are, with noise, and as the decoder reconstructs them.",
    "confusion": "Which classes are taken for which: rows, and per cent of each true class.",
    "mistakes": "The wrongly classified rows of which the model was most certain.",
    "error_against_labels": "Error against the number of labelled rows, beside the paper's.",
}
"""Maps the stem of a picture's file name to its caption."""

_OF_ROWS = (reconstructions, confusion, mistakes)
PICTURES: dict[str, Callable[..., Figure]] = {
    own.__name__: own for own in (learning_curves, denoising_costs, denoising_functions, *_OF_ROWS)
}
"""The pictures of one run."""


def write_figures(
    run: Folder, data: Dataset | None = None, *, output: Folder | None = None
) -> list[Path]:
    """Writes as PNG every picture that a run allows, and returns their paths.

    Args:
      run: a run folder, finished or not.
      data: the data that the run was trained on; None leaves out the pictures of rows.
      output: folder of the pictures; by default ``figures`` in the run folder.

    Raises:
      RunError: the run is absent, damaged or of other data, it allows no picture yet, or a file
        cannot be written.
      LadderError: matplotlib is not installed.
    """
    known, folder = read_run(run), Path(output or Path(run) / "figures")
    names = [name for name in PICTURES if not plot_curves.why_not(name, known, data)]
    if not names:
        plot_curves.open_run("learning_curves", run)  # says why
    figures = [PICTURES[name] for name in names]
    rows = plot_rows.rows_of(known, data, None) if set(figures) & set(_OF_ROWS) else run
    return [
        save(draw(rows if draw in _OF_ROWS else run), folder / f"{name}.png")
        for name, draw in zip(names, figures, strict=True)
    ]


def save(figure: Figure, path: Path) -> Path:
    """Writes a figure as PNG and returns the path; raises ``RunError`` if it cannot."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=150)
    return write_whole(path, content.getvalue())


def write_whole(path: Path, content: str | bytes) -> Path:
    """Writes a file atomically, creating its folder, and returns the path."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path, content)
    except (OSError, RunError) as error:
        # Not the message of files.replace: the run itself is not in danger.
        reason = getattr(error.__cause__ or error, "strerror", None) or error
        raise RunError(f"{path}: cannot be written ({reason})") from None
    return path
