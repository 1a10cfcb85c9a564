"""Draws a table as a picture, with the paper's numbers and ours as dots with whiskers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ladder_jax import plots
from ladder_jax.storage.read_run import mean_text
from paper_tables.render import (
    NONE,
    OURS,
    Report,
    changes,
    difference_text,
    paper_text,
    share_text,
    sources,
)
from paper_tables.results import LIMIT, Row

# Okabe and Ito's colours, for colour-blind readers; the markers differ too.
_PAPER, _OWN = "#D55E00", "#0072B2"
_COLUMNS = (
    (0.682, "paper (runs)", _PAPER),
    (0.827, "ours (runs)", _OWN),
    (0.897, f"> {LIMIT:g} %", _OWN),
    (0.988, "difference", "black"),
)
_RIGHT, _PER_LETTER = 0.545, 0.0083  # right end of the chart; width of a letter in cell names
_NAMES = ("paper, mean ± std", "ours, mean ± std", "ours, single runs")


def write_figure(report: Report, path: Path) -> None:
    """Writes the picture as a PNG file."""
    plots.save(draw_figure(report), path)


def draw_figure(report: Report) -> Any:
    """Draws the picture as a matplotlib figure."""
    from matplotlib.figure import Figure  # optional: the extra `plots`

    rows = report.rows
    height = 1.75 + 0.34 * len(rows)
    left = 0.03 + _PER_LETTER * max(len(row.cell.name) for row in rows)
    figure = Figure(figsize=(9, height))
    axes = figure.add_axes((left, 0.8 / height, _RIGHT - left, 1 - 1.75 / height))
    axes.set_yticks(range(len(rows)), [row.cell.name for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    for at, row in enumerate(rows):
        _dots(axes, at, row)
    _x_axis(axes, rows, "held-out" if "held-out" in report.heading else "test")
    _numbers(axes, rows, left)
    figure.text(0.012, 1 - 0.3 / height, report.heading, fontsize=12, weight="bold", va="center")
    if note := changes(rows).strip("*"):
        figure.text(0.012, 1 - 0.56 / height, note, fontsize=9, color="#AA0000", va="center")
    _legend(figure, axes, rows, height)
    return figure


def _dots(axes: Any, at: int, row: Row) -> None:
    """Draws the paper's number and our runs in one row."""
    if at % 2:
        axes.axhspan(at - 0.5, at + 0.5, color="#F4F4F4", zorder=0)
    if row.cell.paper:
        mean, std = row.cell.paper
        _whisker(axes, mean, std, at - 0.17, _PAPER, "s", _NAMES[0])
    if row.runs:
        errors = row.errors()
        style = {"color": _OWN, "alpha": 0.5, "linestyle": "none", "marker": "|", "markersize": 7}
        axes.plot(errors, [at + 0.17] * len(errors), label=_NAMES[2], **style)
        _whisker(axes, row.mean(), row.std, at + 0.17, _OWN, "o", _NAMES[1])


def _whisker(
    axes: Any, mean: float | None, std: float | None, at: float, colour: str, mark: str, label: str
) -> None:
    """Draws a mean with its standard deviation."""
    axes.errorbar(
        [mean],
        [at],
        xerr=None if std is None else [std],
        fmt=mark,
        color=colour,
        markersize=4.5,
        capsize=2.5,
        linewidth=1.4,
        label=label,
    )


def _x_axis(axes: Any, rows: list[Row], kind: str) -> None:
    """Sets the scale and the ticks of the error axis."""
    values = [error for row in rows for error in row.errors()]
    spreads = [row.cell.paper for row in rows if row.cell.paper]
    spreads += [(row.mean(), row.std) for row in rows if row.runs]
    values += [mean + sign * (std or 0) for mean, std in spreads for sign in (-1, 0, 1)]
    values = [value for value in values if value > 0]
    wide = bool(values) and max(values) > 6 * min(values)
    if wide:
        low, high = min(values) / 1.2, max(values) * 1.2
        axes.set_xscale("log", nonpositive="clip")
        axes.set_xlim(low, high)
        ticks = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
        axes.set_xticks([tick for tick in ticks if low <= tick <= high])
        axes.set_xticks([], minor=True)
        axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel(f"{kind} error, %" + (" (logarithmic)" if wide else ""), fontsize=9)
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8.5, length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _numbers(axes: Any, rows: list[Row], left: float) -> None:
    """Writes the numbers beside the chart."""
    place = axes.get_yaxis_transform()  # x in parts of the axes, y in rows

    def write(x: float, y: float, text: str, **style: Any) -> None:
        across = (x - left) / (_RIGHT - left)
        style |= {"ha": "right", "va": "center", "fontsize": 8.5}
        axes.text(across, y, text, transform=place, **style)

    for x, head, _ in _COLUMNS:
        write(x, -0.95, head, weight="bold")
    for at, row in enumerate(rows):
        ours = f"{mean_text(row.errors())} ({row.runs})" if row.runs else NONE
        texts = (paper_text(row), ours, share_text(row), difference_text(row))
        for (x, _, colour), text in zip(_COLUMNS, texts, strict=True):
            write(x, at, text, color=colour)


def _legend(figure: Any, axes: Any, rows: list[Row], height: float) -> None:
    """Adds the legend and the note on sources."""
    handles, labels = axes.get_legend_handles_labels()
    found = dict(reversed(list(zip(labels, handles, strict=True))))  # the first row's
    if names := [name for name in _NAMES if name in found]:
        figure.legend(
            [found[name] for name in names],
            names,
            loc="center left",
            bbox_to_anchor=(0.002, 0.2 / height),
            ncols=3,
            fontsize=8.5,
            columnspacing=1.2,
            frameon=False,
        )
    note = f"ours by {OURS} statistics; difference in standard errors"
    if stars := sources(rows):
        note += f"\n{stars}"
    figure.text(0.988, 0.2 / height, note, fontsize=8.5, ha="right", va="center")
