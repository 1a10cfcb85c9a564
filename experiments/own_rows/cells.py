"""Columns of a file of texts while it is read: numbers, or codes of a few texts."""

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
    """A text of a file, fit for one line."""
    return repr(value if len(value) <= limit else value[: limit - 1] + "…")


def some(names: Iterable[str], most: int = 20) -> str:
    """Names with commas between them, the first of many."""
    names = list(names)
    parts = (name if name.isprintable() else show(name) for name in names[:most])
    shown = ", ".join(part if len(part) <= 40 else part[:39] + "…" for part in parts)
    return shown + (f", … ({len(names)} in all)" if len(names) > most else "")


def is_absent(text: str) -> bool:
    """Whether a cell says that there is no value."""
    return text.lower() in _ABSENT


def is_no_label(text: str) -> bool:
    """Whether a label looks as if it meant that there is none."""
    return text.lower() in _NO_LABEL


def plain(text: str) -> str:
    """Whole numbers without the .0 that pandas gives to columns with gaps."""
    found = _WHOLE.fullmatch(text)
    return found[1] if found else text


def number(text: str) -> float | None:
    """What a cell holds: NaN if it is absent, None if it is text."""
    try:
        return math.nan if is_absent(text) else None if "_" in text else float(text)
    except ValueError:
        return None


class Cells:
    """One column while a file is read.

    More than 50 different texts are numbers or an error, unless the kind is text. So no cell is
    kept as text, and a file needs at most 8 bytes per cell.

    Args:
      path: for messages.
      name: of the column.
      lines: of the rows in the file; the caller extends it before each `add`.
      kind: number, text, or None to find out.
    """

    def __init__(self, path: Any, name: str, lines: Sequence[int], kind: str | None = None):
        self.where, self.name, self.lines = f"{path}: column {name}", name, lines
        self.kind, self.free = kind, kind is None
        self.texts: dict[str, int] = {}
        self.parts: list[Array] = []
        self.doubt = ""  # about the kind, for a note

    def add(self, cells: Sequence[str]) -> None:
        """Takes the next rows.

        Raises:
          DataError: text among numbers.
        """
        if self.kind == "number":
            self.parts.append(self._numbers(cells))
            return
        texts = self.texts
        codes = [texts.setdefault(cell, len(texts)) for cell in map(str.strip, cells)]
        self.parts.append(np.array(codes, np.int32))
        if self.kind is None and len(texts) > MAX_CATEGORIES:
            self._settle()

    def codes(self) -> Array:
        """Of each row, in the order of `texts`."""
        return np.concatenate(self.parts)

    def line(self, text: str) -> int:
        """Where a text occurs first."""
        return self.lines[int(np.argmax(self.codes() == self.texts[text]))]

    def finish(self) -> None:
        """Makes `data` of what was read: numbers, or places in `categories`, -1 for none.

        Raises:
          DataError: infinite numbers, decimal commas.
        """
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
        """Rows without a value."""
        return np.isnan(self.data) if self.categories is None else self.data < 0

    def _numbers(self, cells: Sequence[str]) -> Array:
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
        """Finds out the kind from the texts so far."""
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
