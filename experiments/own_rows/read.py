"""Reads a user's own rows in a .csv or .npz file as arrays for a classifier."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ladder_jax.errors import ConfigError, DataError
from own_rows import csv_file
from own_rows.cells import Array, some
from own_rows.columns import Columns, encode, fit, labels
from own_rows.csv_file import near
from own_rows.npz_file import arrays


class Rows(NamedTuple):
    """The arrays that a classifier takes."""

    x: Array  # (N, D) float64 from CSV; (N, …) of any numbers from .npz
    y: Array | None  # texts or None per row from CSV, as stored from .npz; None without any label
    x_unlabelled: Array | None = None  # rows that an .npz file stores separately


def read_training(
    path: str | os.PathLike[str],
    label_column: str | None = None,
    *,
    ignore: Sequence[str] = (),
    categorical: Sequence[str] = (),
    missing: str = "error",
    unlabelled: Sequence[str] = ("", "-1"),
) -> tuple[Rows, Columns, list[str]]:
    """Returns rows to train with, how they were encoded, and a note on each decision."""
    if missing not in ("error", "median"):
        raise ConfigError("missing", missing, "choose one of: error, median")
    path, is_npz = _existing(path)
    if is_npz:
        if label_column or ignore or categorical or missing != "error":
            flags = "--label_column, --ignore_columns, --categorical and --missing"
            raise DataError(f"{path}: an .npz file has no columns; leave out {flags}")
        found, notes = arrays(path, "train")
        return Rows(*found), Columns(shape=found[0].shape[1:]), notes
    rows = csv_file.records(path)
    names = csv_file.header(path, rows)
    # Without ``label_column`` it is the only column called label, class, target or y.
    label = csv_file.label_of(path, names, label_column, ignore)
    kinds = csv_file.kinds_of(path, names, label, ignore, categorical)
    cells = csv_file.read(path, rows, names, {**kinds, label: "text"})
    y, totals, notes = labels(cells.pop(label), unlabelled)
    for column in cells.values():
        column.finish()
    features, more = fit(cells.values(), missing)
    if not features:
        raise DataError(f"{path}: no column to learn from; {'; '.join(more) or 'only the label'}")
    x, filled = encode(features, cells, missing)
    left_out = tuple(sorted({*names} - {label, ""} - {column.name for column in features}))
    classes = tuple(sorted(totals))
    columns = Columns(tuple(features), label, classes, tuple(unlabelled), missing, left_out)
    if "" in names:
        more.append(f"left out, no name in the header: column {names.index('') + 1}")
    return Rows(x, y), columns, [*notes, *more, *filled]


def read_rows(path: str | os.PathLike[str], columns: Columns) -> tuple[Rows, list[str]]:
    """Returns further rows, encoded as the training file determined, and notes for the user."""
    path, is_npz = _existing(path)
    if is_npz != (columns.shape is not None):
        other = "a CSV" if is_npz else "an .npz"
        raise DataError(f"{path}: the training file was {other} file; give these rows as one too")
    if is_npz:
        found, notes = arrays(path, "test", columns.shape)
        return Rows(*found), notes
    rows = csv_file.records(path)
    names = csv_file.header(path, rows)
    kinds = {c.name: "text" if c.categories else "number" for c in columns.features}
    csv_file.check_known(path, "which the training file has", kinds, names)
    known = {*kinds, *columns.left_out, columns.label, ""}
    extra = [name for name in names if name not in known]
    notes = [f"not used, not in the training file: {some(extra)}"] if extra else []
    label, y = columns.label or "", None
    cells = csv_file.read(path, rows, names, {**kinds, label: "text"} if label in names else kinds)
    if label in names:
        y, totals, more = labels(cells.pop(label), columns.unlabelled, columns.classes)
        y, notes = y if totals else None, notes + more
    else:
        notes.append(f"no column {label}: no labels")
    for column in cells.values():
        column.finish()
    x, more = encode(columns.features, cells, columns.missing)
    return Rows(x, y), notes + more


def _existing(path: str | os.PathLike[str]) -> tuple[Path, bool]:
    """Returns the path of a readable file, and whether it is an .npz file."""
    path = Path(path).expanduser()
    suffix = path.suffix.lower()
    try:
        if path.is_dir():
            raise DataError(f"{path}: is a folder; name a .csv or .npz file in it")
        if not path.exists():
            if not path.parent.is_dir():
                raise DataError(f"{path}: there is no folder {path.parent}")
            raise DataError(f"{path}: no such file{near(path.name, os.listdir(path.parent))}")
        if suffix not in (".csv", ".tsv", ".npz"):
            raise DataError(f"{path}: is no .csv or .npz file; export or save it as one")
        if path.stat().st_size == 0:
            raise DataError(f"{path}: is empty; export it again")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    return path, suffix == ".npz"
