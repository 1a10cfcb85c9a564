"""The numbers of a table, and which runs count for which cell. Nothing is trained here."""

import dataclasses
import sys
from pathlib import Path

import pytest
from tables_by_hand import CELL, ERRORS, LADDER, line, report_of, rows_of, small_preset

import ladder_jax as lj

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "experiments"))

from paper_tables import cells as table_cells
from paper_tables import render as table_text
from paper_tables import results as table_rows


def test_statistics_by_hand():
    (row,) = rows_of(*(line(LADDER, seed, errors) for seed, errors in ERRORS.items()))
    assert (row.runs, row.cell) == (3, CELL)
    assert row.mean() == pytest.approx(1.5, abs=1e-12)
    assert row.std == pytest.approx(0.7, abs=1e-12)
    assert row.share_above == pytest.approx(100 / 3)
    assert row.standard_errors == pytest.approx(1.07749, abs=1e-5)
    assert row.mean("unlabelled") == pytest.approx(1.6)
    assert row.mean("running") == pytest.approx(2.1)
    text = table_text.markdown(report_of([row]))
    (found,) = (row for row in text.splitlines() if "a-cell" in row)
    assert [word.strip() for word in found.strip("|").split("|")] == [
        *("a-cell", "100", "1.06 ± 0.37 (40)", "1.50 ± 0.70", "3", "33.3 %", "+1.1"),
        *("1.60", "2.10"),
    ]
    assert "by the labelled statistics" in text
    assert "Missing: 2 of the 5 runs" in text
    assert "python 3.11.7; jax 0.10.2; commit `abcdef0`; data mnist (sha256 01234567…)" in text
    assert "Device: 1 x cpu." in text
    assert "Not the paper's settings" not in text


def test_below_the_paper_is_negative():
    (row,) = rows_of(line(LADDER, 1, (0.8, 1, 1)), line(LADDER, 2, (1.0, 1, 1)))
    # -.16/√(.02/2 + .1369/40) = -.16/.115856
    assert row.standard_errors == pytest.approx(-1.38103, abs=1e-5)
    assert table_text.difference_text(row) == "−1.4"


def test_what_cannot_be_computed_is_a_dash():
    (none,) = rows_of()
    assert (none.mean(), none.std, none.share_above, none.standard_errors) == (None,) * 4
    (one,) = rows_of(line(LADDER, 1, (2.5, 1, 1)))
    assert (one.mean(), one.std, one.share_above, one.standard_errors) == (2.5, None, 100, None)
    two = [line(LADDER, seed, (seed, 1, 1)) for seed in (1, 2)]
    single = dataclasses.replace(CELL, paper=(0.36, None), paper_runs=1)
    (row,) = rows_of(*two, cells=[single])
    assert row.standard_errors is None
    assert table_text.paper_text(row) == "0.36 (1)"
    (row,) = rows_of(*two, cells=[dataclasses.replace(CELL, paper=None)])
    assert (row.standard_errors, table_text.paper_text(row)) == (None, "–")
    cifar = small_preset("cifar10")
    cell = dataclasses.replace(CELL, preset=cifar)
    (row,) = rows_of(line(cifar, 1, (20.4, 1, 1)), cells=[cell])
    assert (row.mean(), row.share_above) == (20.4, None)


def test_only_runs_with_the_cells_settings_count():
    good = line(LADDER, 1, (1.0, 1, 1))
    other = dataclasses.replace(LADDER.config, input_noise=0.4)
    strangers = [
        line(LADDER, 2, (9.0, 9, 9), epochs=1),
        line(LADDER, 3, (9.0, 9, 9), validation=10),
        line(LADDER, 4, (9.0, 9, 9), data_seed=1),
        line(LADDER, 5, (9.0, 9, 9), config=other),
        line(small_preset("digits"), 6, (9.0, 9, 9)),
        {"cell": "a-cell", "seed": 7, "test_error_percent": {"labelled": 9.0}},
        line(LADDER, 8, (9.0, 9, 9)) | {"config": {"model": {"unknown": 1}, "training": {}}},
    ]
    (row,) = rows_of(*strangers, good)
    assert row.lines == {1: good}
    assert not rows_of(*strangers)[0].lines


def test_a_line_of_an_older_version_lacks_fields_with_a_default():
    old = line(LADDER, 1, (1.0, 1, 1))
    del old["config"]["model"]["top_scale"], old["config"]["training"]["labelled_order"]
    assert rows_of(old)[0].runs == 1


def test_the_first_line_of_a_seed_counts_once():
    (row,) = rows_of(line(LADDER, 1, (1.0, 1, 1)), line(LADDER, 1, (9.0, 9, 9)))
    assert row.errors() == [1.0]


def test_divergence_is_listed_and_not_averaged():
    (row,) = rows_of(
        line(LADDER, 1, (1.0, 1, 1)), line(LADDER, 2, reason="diverged in epoch 3, step 4")
    )
    assert (row.runs, row.mean(), row.share_above) == (1, 1.0, 0)
    text = table_text.markdown(report_of([row]))
    assert "Diverged, in no average above:\n\n- a-cell seed 2: diverged in epoch 3, step 4" in text


def test_short_trials_are_called_so():
    (cell,) = table_cells.with_changes([CELL], {"epochs": 1, "validation": 10})
    assert rows_of(line(LADDER, 1, (9, 9, 9), epochs=1), cells=[cell])[0].runs == 0
    rows = rows_of(line(LADDER, 1, (1.25, 1, 1), epochs=1, validation=10), cells=[cell])
    assert rows[0].errors() == [1.25]
    text = table_text.markdown(report_of(rows))
    assert "**Not the paper's settings: epochs 1 (paper: 150), validation 10 (paper: 0).**" in text
    assert text.startswith("# Some table, error on held-out rows in %")
    assert cell.folder(3) == "mnist-ladder-100-epochs1-validation10-seed3"
    (same,) = table_cells.with_changes([CELL], {"epochs": 150})
    assert (same.changes, same.folder(3)) == ({}, CELL.folder(3))


def test_other_sources_have_a_star():
    cell = dataclasses.replace(CELL, paper=(1.002, 0.12), paper_runs=10, source="Somebody 2016")
    text = table_text.markdown(report_of(rows_of(cells=[cell])))
    assert "1.00 ± 0.12 (10) *" in text
    assert "\\* Somebody 2016." in text


def test_cells_of_the_tables():
    cells = {cell.name: cell for cell in table_cells.get_table("1").cells()}
    assert len(cells) == 13
    assert all(cell.config == lj.presets.get(name).config for name, cell in cells.items())
    runs = {name: (cell.paper_runs, cell.default_runs) for name, cell in cells.items()}
    forty = [name for name in cells if name.endswith("-100")]
    assert sorted(forty) == [f"mnist-{m}-100" for m in ("baseline", "bottom", "gamma", "ladder")]
    assert runs == {name: (40, 40) if name in forty else (10, 10) for name in cells}
    assert cells["mnist-ladder-50"].paper == (1.62, 0.65)
    assert table_cells.preset_cell(small_preset("cifar10")).paper_runs == 4
    assert table_cells.preset_cell(small_preset("cifar10", paper=(9.27, None))).paper_runs == 1
    conv = small_preset(model="conv_fc")
    assert table_cells.preset_cell(conv).paper_runs == 10


def test_tables_of_convolutional_networks():
    names = {key: [cell.name for cell in table_cells.get_table(key).cells()] for key in "23"}
    assert names["2"] and all(name.startswith("mnist-conv_") for name in names["2"])
    assert names["3"] and all(name.startswith("cifar10-") for name in names["3"])


def test_combinators_share_runs_with_table_1():
    cells = {cell.name: cell for cell in table_cells.get_table("combinators").cells()}
    assert len(cells) == 10
    assert all(cell.default_runs == 10 for cell in cells.values())
    gaussian = cells["mnist-ladder-100/gaussian"]
    assert gaussian.folder(2) == "mnist-ladder-100-seed2"
    (own,) = (c for c in table_cells.get_table("1").cells() if c.name == "mnist-ladder-100")
    assert table_rows.identity(gaussian) == table_rows.identity(own)
    assert (gaussian.paper, gaussian.paper_runs) == ((1.06, 0.37), 40)
    mlp = cells["mnist-ladder-100/augmented_mlp:2:2:2"]
    assert mlp.folder(2) == "mnist-ladder-100-augmented_mlp-2-2-2-seed2"
    assert mlp.paper == pytest.approx((1.002, 0.12017), abs=1e-5)
    assert mlp.config.combinator != gaussian.config.combinator


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("3", (3,)),
        ("1-4", (1, 2, 3, 4)),
        ("1,2,5", (1, 2, 5)),
        ("7-8,1, 8", (7, 8, 1)),
        ("0", (0,)),
    ],
)
def test_seeds(text, seeds):
    assert table_cells.parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "3-1", "-1", "1-", "1..3", "1-99999999", "٣"])
def test_seeds_that_are_none(text):
    with pytest.raises(lj.ConfigError, match="seeds="):
        table_cells.parse_seeds(text)


def test_cells_by_pattern():
    cells = table_cells.get_table("1").cells()
    names = [cell.name for cell in table_cells.select(cells, "*-gamma-*,mnist-ladder-50")]
    assert names == ["mnist-ladder-50", *(f"mnist-gamma-{n}" for n in (100, 1000, "all"))]
    assert table_cells.select(cells, None) == cells
    with pytest.raises(lj.ConfigError, match=r"cells=gamma: .*mnist-gamma-100"):
        table_cells.select(cells, "mnist-ladder-50,gamma")
