"""Prints JSON objects of the benchmarks, one per line on standard input, as Markdown tables.

for m in ladder gamma; do python benchmarks/step.py --model=$m; done | python benchmarks/as_table.py
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

_NOT_SHOWN = ("versions", "device", "blocks")


def rows_of(report: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One row for each object in the report's lists, or one for the report itself."""
    shown = {name: value for name, value in report.items() if name not in _NOT_SHOWN}
    lists = {name: value for name, value in shown.items() if isinstance(value, list)}
    rest = {name: value for name, value in shown.items() if name not in lists}
    for name, rows in lists.items():
        yield from (rest | {"": name} | row for row in rows)
    if not lists:
        yield rest


def tables(lines: list[str]) -> str:
    """Rows with the same columns in one table, in the order in which they came."""
    found: dict[tuple[str, ...], list[str]] = {}
    for report in map(json.loads, filter(str.strip, lines)):
        for row in rows_of(report):
            cells = " | ".join(str(value) for value in row.values())
            found.setdefault(tuple(row), []).append(f"| {cells} |")
    texts = []
    for columns, rows in found.items():
        rule = "|".join("---" for _ in columns)
        texts.append("\n".join([f"| {' | '.join(columns)} |", f"|{rule}|", *rows]))
    return "\n\n".join(texts)


if __name__ == "__main__":
    print(tables(sys.stdin.readlines()))
