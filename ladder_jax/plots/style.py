"""Defines the style that all pictures share."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ladder_jax.errors import LadderError
from ladder_jax.storage.read_run import SEEDS, Run

if TYPE_CHECKING:  # matplotlib is optional, so it is imported where it is used
    from matplotlib.figure import Figure as Figure
else:
    Figure = Any

Array = npt.NDArray[Any]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
BAND, PAPER = "band: least to greatest seed", "open: the paper"
"""Legend entries that belong to no single series; they are grey and come last."""


def new_figure(height: float, title: str) -> Figure:
    """Creates an empty figure, with the height in inches."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise LadderError("pictures need matplotlib: pip install matplotlib") from None
    figure = Figure(figsize=(7.6, height), layout="constrained", facecolor="white")
    figure.suptitle(title, fontsize=11)
    return figure


def add_axes(figure: Figure, count: int, columns: int, place: int, **shared: bool) -> Any:
    """Adds the axes at ``place``, from 0, of ``count``, with x or y ``shared`` with the first."""
    columns = min(columns, count)
    first = {name: figure.axes[0] for name in shared if figure.axes}
    return figure.add_subplot(-(-count // columns), columns, place + 1, **first)


def style_of(at: int) -> dict[str, Any]:
    """Returns colour, marker and line of a series."""
    # 7 colours and 8 markers, so that 56 series differ.
    style = {"color": COLOURS[at % 7], "marker": "os^DvPX*"[at % 8]}
    return style | {"linestyle": ("-", "--", "-.", ":")[at % 4], "markersize": 4.5}


def texts(run: Run) -> dict[str, str]:
    """Returns the data and every setting of a run except its seeds, as short texts for a legend."""
    fields = run.config.to_json() | run.train_config.to_json() | {"data": run.data["name"]}
    words = {name: "λ" if name == "denoising_weights" else name for name in fields}
    return {name: f"{words[name]} {_short(fields[name])}" for name in fields if name not in SEEDS}


def without_seeds(run: Run) -> str:
    """Returns a text that is the same for runs on the same data that differ only in their seeds."""
    rows = {name: run.data.get(name) for name in ("sha256", "split")}  # a name is not enough
    return json.dumps(texts(run) | rows)


def _short(value: Any) -> str:
    """Returns a value as short text."""
    if isinstance(value, list):
        return ",".join(map(_short, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def dress(axes: Any, x: str, y: str, log: bool = False) -> None:
    """Adds labels, a grid and an open frame; ``log`` needs a value above 0 to have an effect."""
    axes.set(xlabel=x, ylabel=y, axisbelow=True)
    axes.tick_params(labelsize=8.5)
    axes.grid(color="#E0E0E0", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if log and any((np.asarray(line.get_ydata()) > 0).any() for line in axes.lines):
        axes.set_yscale("log", nonpositive="mask")
        plain_logarithm(axes.yaxis)


def plain_logarithm(axis: Any) -> None:
    """Sets ticks with plain numbers, so many that some are visible and none overlap."""
    from matplotlib import ticker

    low, high = axis.get_view_interval()
    steps = {12: (1, 1.5, 2, 3, 4, 6, 8), 300: (1, 2, 5)}
    subs = next((own for ratio, own in steps.items() if high < ratio * low), (1,))
    few = ticker.MaxNLocator(4)
    axis.set_major_locator(few if high < 2 * low else ticker.LogLocator(subs=subs, numticks=99))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(ticker.NullFormatter())


def show_image(axes: Any, image: Array, low: float, high: float) -> None:
    """Draws an image (H, W, 1 or 3) without ticks, from black (low) to white (high)."""
    levels = np.clip((image - low) / ((high - low) or 1), 0, 1)
    axes.imshow(levels if image.shape[-1] == 3 else levels[..., 0], cmap="gray", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])


def legend(figure: Figure) -> None:
    """Adds one legend for all axes, with each name once."""
    from matplotlib.patches import Patch

    found: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(name, handle)
    if BAND in found:
        found[BAND] = Patch(facecolor="#888888", alpha=0.35)
    names = sorted(found, key=lambda name: name in (BAND, PAPER))
    columns = max(1, min(4, 110 // (8 + max(map(len, names)))))
    style: dict[str, Any] = {"ncols": columns, "fontsize": 8.5, "frameon": False}
    style["handlelength"] = 3  # a whole period of each line
    figure.legend([found[name] for name in names], names, loc="outside lower center", **style)


def colour_bar(figure: Figure, colours: Any, label: str, ticks: Any = None) -> None:
    """Adds one colour bar beside all axes."""
    bar = figure.colorbar(colours, ax=figure.axes, ticks=ticks, aspect=30, pad=0.02)
    bar.set_label(label)
    bar.ax.tick_params(labelsize=8.5)
