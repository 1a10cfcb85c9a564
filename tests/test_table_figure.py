"""The picture of a table: what its axes and texts say."""

import dataclasses
import sys
from pathlib import Path

import pytest
from tables_by_hand import CELL, ERRORS, LADDER, line, report_of, rows_of

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "experiments"))

from paper_tables import figure as table_figure


def test_picture_shows_the_numbers(tmp_path):
    far = dataclasses.replace(CELL, name="far", paper=(21.74, 1.77), config=CELL.config)
    far = dataclasses.replace(far, train_config=dataclasses.replace(CELL.train_config, epochs=9))
    rows = rows_of(*(line(LADDER, seed, e) for seed, e in ERRORS.items()), cells=[CELL, far])
    figure = table_figure.draw_figure(report_of(rows))
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a-cell", "far"]
    assert axes.get_xlabel() == "test error, % (logarithmic)"
    texts = [text.get_text() for text in axes.texts]
    assert texts == [
        *("paper (runs)", "ours (runs)", "> 2 %", "difference"),
        *("1.06 ± 0.37 (40)", "1.50 ± 0.70 (3)", "33.3 %", "+1.1"),
        *("21.74 ± 1.77 (40)", "–", "–", "–"),
    ]
    paper, ours, other = (bars.lines for bars in axes.containers)
    assert (paper[0].get_xdata(), ours[0].get_xdata()) == ([1.06], [pytest.approx(1.5)])
    assert ours[2][0].get_segments()[0][:, 0] == pytest.approx([0.8, 2.2])
    assert paper[2][0].get_segments()[0][:, 0] == pytest.approx([0.69, 1.43])
    assert other[0].get_xdata() == [21.74]
    assert paper[0].get_color() != ours[0].get_color()
    singles = [
        found for found in axes.lines if found.get_marker() == "|" and len(found.get_xdata()) == 3
    ]
    assert list(singles[0].get_xdata()) == [1.0, 1.2, 2.3]
    said = [text.get_text() for text in figure.texts]
    assert said[0] == "Some table, test error in %"
    assert said[1] == "Not the paper's settings: epochs 9 (paper: 150)."
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["paper, mean ± std", "ours, mean ± std", "ours, single runs"]
    table_figure.write_figure(report_of(rows), tmp_path / "table.png")
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["table.png"]


def test_picture_of_nothing_yet():
    rows = rows_of(cells=[dataclasses.replace(CELL, paper=None)])
    (axes,) = table_figure.draw_figure(report_of(rows)).axes
    assert [text.get_text() for text in axes.texts][4:] == ["–"] * 4
