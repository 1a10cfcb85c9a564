"""Reads and checks the lines and columns of a CSV file."""

from __future__ import annotations

import csv
import difflib
import itertools
from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from ladder_jax.errors import DataError
from own_rows.cells import Cells, number, show, some

_LABELS = ("label", "class", "target", "y")
_BATCH = 4096  # rows that are kept as text at the same time

Records = Iterator[tuple[int, list[str]]]


def near(name: str, names: Collection[str]) -> str:
    """Returns a question whether a similar name was meant, if there is one."""
    lower = {other.lower(): other for other in names}
    found = difflib.get_close_matches(name.lower(), lower)
    return f" (did you mean {' or '.join(lower[word] for word in found)}?)" if found else ""


def records(path: Path) -> Records:
    """Yields line number and cells of each line with any text; the header comes first."""
    line = width = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            head = []  # blank lines and the first other one
            for text in stream:
                head.append(text)
                if text.strip():
                    break
            mark = max(",;\t", key=lambda m: len(next(csv.reader(head[-1:], delimiter=m), ())))
            lines = itertools.chain(head, stream)
            reader = csv.reader(lines, delimiter=mark, strict=True, skipinitialspace=True)
            for row in reader:
                start, line = line + 1, reader.line_num
                if not "".join(row).strip():
                    continue
                width = width or len(row)
                if len(row) != width:
                    raise DataError(
                        f"{path}: line {start} has {len(row)} cells between {show(mark)}, the "
                        f"header has {width}; correct it, or put texts with {show(mark)} in quotes"
                    )
                yield start, row
    except csv.Error as error:
        problem = f"{error}; is a quotation mark missing or too much?"
        raise DataError(f"{path}: line {line + 1}: {problem}") from error
    except UnicodeDecodeError as error:
        where = f"line {_undecodable(path)}"
        raise DataError(f"{path}: {where} is not UTF-8; save the file as CSV UTF-8") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _undecodable(path: Path) -> int:
    """Returns the first line that is not UTF-8."""
    with path.open("rb") as stream:
        lines = enumerate((content.decode(errors="replace") for content in stream), 1)
        return next((line for line, text in lines if "\ufffd" in text), 1)


def header(path: Path, rows: Records) -> list[str]:
    """Returns the names of the columns, '' for a column without a name."""
    line, cells = next(rows, (1, []))
    names = [" ".join(cell.split()) for cell in cells]
    if not names:
        raise DataError(f"{path}: has no text; export it again")
    if all(number(name) is not None for name in names):
        raise DataError(
            f"{path}: line {line} has numbers only ({some(names, 5)}); "
            "put a line with the names of the columns before it"
        )
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    if twice:
        raise DataError(f"{path}: more than one column is called {some(twice)}; rename them")
    return names


def check_known(path: Path, why: str, names: Collection[str], known: Sequence[str]) -> None:
    """Raises a ``DataError`` that lists the known columns if a name is not among them."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise DataError(
            f"{path}: no column {some(unknown)}{near(unknown[0], known)}, {why}; "
            f"there {_are(known)}"
        )


def _are(names: Sequence[str]) -> str:
    """Returns the end of a sentence on the columns that there are."""
    if len(names) == 1:
        return f"is only {show(names[0])}; put a comma, semicolon or tab between columns"
    return f"are: {some(name for name in names if name)}"


def label_of(path: Path, names: list[str], label: str | None, ignore: Collection[str]) -> str:
    """Returns the name of the label column."""
    if len(names) == 1:
        raise DataError(f"{path}: there {_are(names)}")
    if label:
        check_known(path, "named by --label_column", [label], names)
        return label
    found = [name for name in names if name.lower() in _LABELS and name not in ignore]
    if len(found) != 1:
        problem = f"{some(found)} may all be it" if found else f"none is called {some(_LABELS)}"
        raise DataError(
            f"{path}: which column is the label? {problem}; give --label_column; there "
            f"{_are(names)}"
        )
    return found[0]


def kinds_of(
    path: Path, names: list[str], label: str, ignore: Collection[str], categorical: Collection[str]
) -> dict[str, str | None]:
    """Returns the columns to learn from, and their kind if it is known."""
    for flag, chosen in (("--ignore_columns", ignore), ("--categorical", categorical)):
        check_known(path, f"named by {flag}", chosen, names)
        if label in chosen:
            raise DataError(f"{path}: {flag} names the label column {label}; take it out there")
    return {
        name: "text" if name in categorical else None
        for name in names
        if name and name != label and name not in ignore
    }


def read(
    path: Path, rows: Records, names: list[str], kinds: Mapping[str, str | None]
) -> dict[str, Cells]:
    """Reads the cells of the columns in `kinds`."""
    lines = array("q")
    cells = {name: Cells(path, name, lines, kind) for name, kind in kinds.items()}
    while batch := list(itertools.islice(rows, _BATCH)):
        lines.extend(line for line, _ in batch)
        columns = list(zip(*(row for _, row in batch), strict=True))
        for name, column in cells.items():
            column.add(columns[names.index(name)])
    if not lines:
        raise DataError(f"{path}: has a header but no rows")
    return cells
