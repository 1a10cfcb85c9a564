"""Converts columns to numbers in the way that the training file determined."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ladder_jax.errors import DataError
from own_rows.cells import Array, Cells, is_no_label, plain, show, some


class Column(NamedTuple):
    """A column in use, as a number or as one 0/1 column per category."""

    name: str
    categories: tuple[str, ...] | None = None  # '' is the category of missing values
    median: float | None = None  # fills missing numbers


class Columns(NamedTuple):
    """How rows become numbers, as plain values."""

    features: tuple[Column, ...] = ()  # in the order of the training file
    label: str | None = None
    classes: tuple[str, ...] = ()  # sorted
    unlabelled: tuple[str, ...] = ()  # labels that mean none; '' always does
    missing: str = "error"  # or "median"
    left_out: tuple[str, ...] = ()  # unused columns of the training file
    shape: tuple[int, ...] | None = None  # of a row in an .npz file; None for CSV

    def to_json(self) -> dict[str, Any]:
        """Returns plain values for ``json.dumps``, which ``from_json`` reads."""
        return self._asdict() | {"features": [column._asdict() for column in self.features]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Columns:
        """Reads what ``to_json`` returned, also after ``json.loads``."""
        try:
            rest = {key: _tuples(part) for key, part in value.items()}
            features = (
                Column(**{key: _tuples(part) for key, part in column.items()})
                for column in value["features"]
            )
            return cls(**rest | {"features": tuple(features)})
        except (AttributeError, KeyError, TypeError) as error:
            raise DataError(f"columns: damaged or of another version ({error!r})") from None


def _tuples(value: Any) -> Any:
    """Converts lists to tuples."""
    return tuple(value) if isinstance(value, list) else value


def fit(cells: Iterable[Cells], missing: str) -> tuple[list[Column], list[str]]:
    """Returns how each useful column of a training file becomes numbers, and notes on the rest."""
    features: list[Column] = []
    notes, empty, constant = [], [], []
    for column in cells:
        absent = column.absent()
        values, gaps = column.data[~absent], bool(absent.any())
        if not values.size:
            empty.append(column.name)
        elif (values == values[0]).all() and not (gaps and column.categories):
            constant.append(column.name)
        elif column.categories is None:
            median = float(np.median(values)) if missing == "median" else None
            features.append(Column(column.name, None, median))
            if len(values) > 2 and np.array_equal(column.data, values[0] + np.arange(len(absent))):
                notes.append(
                    f"{column.name}: only counts the rows; if it is an identifier, leave it out "
                    f"with --ignore_columns={column.name}"
                )
        else:
            categories = (*column.categories, *[""][: int(gaps)])
            features.append(Column(column.name, categories))
            what = f"{len(column.categories)} categories" + " and missing values" * gaps
            notes.append(f"{column.name}: {what} as {len(categories)} columns{column.doubt}")
    for names, why in ((empty, "empty"), (constant, "only one value")):
        notes += [f"left out, {why}: {some(names)}"] if names else []
    return features, notes


def encode(
    features: Sequence[Column], cells: dict[str, Cells], missing: str
) -> tuple[npt.NDArray[np.float64], list[str]]:
    """Returns rows (N, D) and notes on filled values; takes the cells out of their dictionary."""
    if missing == "error":
        _check_absent([cells[column.name] for column in features])
    widths = [1 if column.categories is None else len(column.categories) for column in features]
    x = np.empty((len(cells[features[0].name].data), sum(widths)))
    start, notes = 0, []
    for column, width in zip(features, widths, strict=True):
        found = cells.pop(column.name)
        if column.categories is None:
            x[:, start] = found.data
            if (absent := found.absent()).any():
                x[absent, start] = column.median
                what = f"{_values(absent, 'missing')} filled with the median {column.median:g}"
                notes.append(f"{column.name}: {what}")
        else:
            names = [*(found.categories or ()), ""]
            index = {name: code for code, name in enumerate(column.categories)}
            codes = np.array([index.get(name, -1) for name in names])[found.data]
            x[:, start : start + width] = codes[:, None] == np.arange(width)
            if (unseen := codes < 0).any():
                row = int(np.argmax(unseen))
                first = f"{show(names[found.data[row]])} in line {found.lines[row]}"
                what = f"{_values(unseen, 'unseen')} as all zeros, first {first}"
                notes.append(f"{column.name}: {what}")
        start += width
    return x, notes


def _values(rows: npt.NDArray[np.bool_], kind: str) -> str:
    """Returns a number of values as text."""
    return f"{rows.sum()} {kind} value{'s' * bool(rows.sum() > 1)}"


def _check_absent(cells: list[Cells]) -> None:
    """Raises ``DataError`` if there are missing values."""
    counts = {column.name: int(column.absent().sum()) for column in cells}
    if not any(counts.values()):
        return
    worst = max(cells, key=lambda column: counts[column.name])
    absent = worst.absent()
    others = [name for name, count in counts.items() if count and name != worst.name]
    also, drop = f"; also in {some(others)}" * bool(others), ",".join([worst.name, *others])
    raise DataError(
        f"{worst.where}: {_values(absent, 'missing')}, first in line "
        f"{worst.lines[int(np.argmax(absent))]}{also}; fill in, "
        f"train with --missing=median or leave out (add {drop} to --ignore_columns)"
    )


def labels(
    cells: Cells, unlabelled: Collection[str], classes: Collection[str] = ()
) -> tuple[Array, Counter[str], list[str]]:
    """Returns labels (None if there is none), the number of rows of each class, and notes."""
    # ``classes`` are those of the training file; without them these are the rows to train with.
    none, codes = {"", *unlabelled}, cells.codes()
    known = [text for text in classes or cells.texts if text not in none]
    whole = all(plain(text).lstrip("+-").isdecimal() for text in known)
    names: list[str | None] = []
    for text in cells.texts:
        name = plain(text) if whole and text not in classes else text
        names.append(None if text in none or name in none else name)
        if names[-1] is not None and text not in classes and is_no_label(name or text):
            raise DataError(
                f"{cells.where}: label {show(text)} in line {cells.line(text)} seems to mean none: "
                "add it to --unlabelled, or rename that class"
            )
    totals: Counter[Any] = Counter()
    for code, rows in enumerate(np.bincount(codes, minlength=len(names))):
        totals[names[code]] += int(rows)
    free = totals.pop(None, 0)
    marks = [text for text, name in zip(cells.texts, names, strict=True) if name is None and text]
    hint = f" ({some(marks)} means none; if it is a class, give --unlabelled=)" if marks else ""
    notes = [f"{free} of {len(codes)} rows have no label{hint}"] if free else []
    strange = [name for name in totals if classes and name not in classes]
    if strange:
        texts = [text for text, name in zip(cells.texts, names, strict=True) if name == strange[0]]
        first = f"{show(strange[0])} in line {min(map(cells.line, texts))}"
        what = f"labels that the training file does not have: {some(strange)}"
        notes.append(f"{what}; first {first}")
    if not classes and len(totals) < 2:
        found = f"the {len(codes) - free} others have the label {show(*totals)}" if totals else ""
        raise DataError(
            f"{cells.where}: {free} of {len(codes)} rows have no label{hint}"
            f"{', ' * bool(found)}{found}; at least two classes are needed"
        )
    if not classes:
        found = some(f"{name} ({totals[name]})" for name in sorted(totals))
        labelled = len(codes) - free
        if len(totals) > max(20, labelled // 2):
            raise DataError(
                f"{cells.where}: {len(totals)} classes for {labelled} rows with a label; that "
                "looks like measurements or names: give the column of the classes by --label_column"
            )
        few = max(totals.values()) >= 5  # else all classes are small
        single = [name for name in sorted(totals) if totals[name] == 1] if few else []
        notes += [f"only one row has the label {some(single)}"] if single else []
        notes.insert(0, f"{len(totals)} classes in column {cells.name}: {found}")
    return np.array(names, object)[codes], totals, notes
