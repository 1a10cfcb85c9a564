"""Holds the columns of a text file while it is read, as numbers or as codes of a few texts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from ladder_jax.errors import DataError

Array = npt.NDArray[Any]

MAX_CATEGORIES = 50
_ABSENT = frozenset(("", "na", "n/a", "nan", "null", "?"))
_NO_LABEL = _ABSENT | {"none", "-", "-1.0", "unlabelled", "unlabeled", "unknown", "<na>"}
_WHOLE = re.compile(r"([+-]?\d+)\.0+")
_DECIMAL_COMMA = re.compile(r"[+-]?\d[\d.]*,\d+")


def show(value: str, limit: int = 40) -> str:
    """Returns a text from a file, quoted and short enough for one line."""
    return repr(value if len(value) <= limit else value[: limit - 1] + "…")


def some(names: Iterable[str], most: int = 20) -> str:
    """Returns the first names with commas between them."""
    names = list(names)
    parts = (name if name.isprintable() else show(name) for name in names[:most])
    shown = ", ".join(part if len(part) <= 40 else part[:39] + "…" for part in parts)
    return shown + (f", … ({len(names)} in all)" if len(names) > most else "")


def is_absent(text: str) -> bool:
    """Returns whether a cell means that there is no value."""
    return text.lower() in _ABSENT


def is_no_label(text: str) -> bool:
    """Returns whether a label looks as if it means that there is none."""
    return text.lower() in _NO_LABEL


def plain(text: str) -> str:
    """Removes the .0 that pandas appends to integers in columns with gaps."""
    found = _WHOLE.fullmatch(text)
    return found[1] if found else text


def number(text: str) -> float | None:
    """Parses a cell: NaN if it is absent, None if it is text."""
    try:
        return math.nan if is_absent(text) else None if "_" in text else float(text)
    except ValueError:
        return None


class Cells:
    """One column while a file is read, with at most 8 bytes per cell."""

    def __init__(self, path: Any, name: str, lines: Sequence[int], kind: str | None = None):
        # ``lines`` are line numbers of the rows; the caller extends them before each `add`.
        self.where, self.name, self.lines = f"{path}: column {name}", name, lines
        self.kind, self.free = kind, kind is None  # number, text, or None to find out
        self.texts: dict[str, int] = {}
        self.parts: list[Array] = []
        self.doubt = ""  # about the kind, for a note

    def add(self, cells: Sequence[str]) -> None:
        """Adds the cells of the next rows."""
        if self.kind == "number":
            self.parts.append(self._numbers(cells))
            return
        texts = self.texts
        codes = [texts.setdefault(cell, len(texts)) for cell in map(str.strip, cells)]
        self.parts.append(np.array(codes, np.int32))
        # More different texts must be numbers, so that a column needs at most 8 bytes per cell.
        if self.kind is None and len(texts) > MAX_CATEGORIES:
            self._settle()

    def codes(self) -> Array:
        """Returns the code of each row, an index into `texts`."""
        return np.concatenate(self.parts)

    def line(self, text: str) -> int:
        """Returns the line in which a text occurs first."""
        return self.lines[int(np.argmax(self.codes() == self.texts[text]))]

    def finish(self) -> None:
        """Sets `data` to numbers, or to indices into `categories` with -1 for no value."""
        if self.kind is None:
            self._settle(last=True)
        self.data, self.parts = np.concatenate(self.parts), []
        self.categories: list[str] | None = None
        if self.kind == "number":
            if (infinite := np.isinf(self.data)).any():
                row = int(np.argmax(infinite))
                raise DataError(
                    f"{self.where}: {self.data[row]} in line {self.lines[row]}; correct it"
                )
            return
        names = ["" if is_absent(text) else plain(text) for text in self.texts]
        self.categories = sorted({*names} - {""})
        index = {name: code for code, name in enumerate(self.categories)} | {"": -1}
        self.data = np.array([index[name] for name in names])[self.data]

    def absent(self) -> npt.NDArray[np.bool_]:
        """Returns a mask of the rows without a value."""
        return np.isnan(self.data) if self.categories is None else self.data < 0

    def _numbers(self, cells: Sequence[str]) -> Array:
        """Parses cells as numbers."""
        try:
            if "_" not in "".join(cells):
                return np.fromiter(map(float, cells), np.float64, len(cells))
        except ValueError:
            pass
        values = [number(cell.strip()) for cell in cells]
        if None in values:
            row = values.index(None)
            self._fail(cells[row].strip(), self.lines[sum(map(len, self.parts)) + row])
        return np.array(values, np.float64)

    def _settle(self, last: bool = False) -> None:
        """Determines the kind from the texts so far."""
        values = {text: number(text) for text in self.texts}
        wrong = [text for text, value in values.items() if value is None]
        if not wrong:
            table = np.array(list(values.values()), np.float64)
            self.kind, self.parts = "number", [table[part] for part in self.parts]
            return
        kinds = {plain(text) for text in values if not is_absent(text)}
        commas = last and all(map(_DECIMAL_COMMA.fullmatch, wrong))
        if commas or len(kinds) > MAX_CATEGORIES:
            self._fail(wrong[0], self.line(wrong[0]))
        if last and 2 * len(wrong) < len(values):
            first = f"{show(wrong[0])} in line {self.line(wrong[0])}"
            self.doubt = f" (most are numbers: is {first} a mistake?)"

    def _fail(self, text: str, line: int) -> NoReturn:
        """Raises the ``DataError`` for a text among numbers."""
        problem = f"{self.where}: {show(text)} in line {line} is not a number"
        if _DECIMAL_COMMA.fullmatch(text):
            raise DataError(f"{problem}; write it with a decimal point, without other separators")
        if not self.free:
            raise DataError(f"{problem}, as in the training file; correct it")
        raise DataError(
            f"{problem}, and there are more than {MAX_CATEGORIES} different values: correct it "
            "or, if this is an identifier or free text, leave it out with "
            f"--ignore_columns={self.name} (--categorical={self.name} to insist)"
        )
