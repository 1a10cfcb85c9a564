"""Renders a table as Markdown."""

from __future__ import annotations

from typing import Any, NamedTuple

from ladder_jax.config import STATISTICS
from ladder_jax.storage.read_run import mean_text, percent
from paper_tables.results import LIMIT, Row

OURS, *OTHERS = STATISTICS
"""The statistics of the compared error, and those that are listed in addition."""

NONE = "–"


class Report(NamedTuple):
    """A table and the facts that are printed around it."""

    title: str
    command: str
    rows: list[Row]
    asked: int  # number of requested runs
    missing: int  # how many of them are not in the ledger

    @property
    def heading(self) -> str:
        """Title, and which error the numbers are."""
        held_out = any(row.cell.train_config.validation for row in self.rows)
        return f"{self.title}, {'error on held-out rows' if held_out else 'test error'} in %"


def markdown(report: Report) -> str:
    """Returns the whole text, ending in a newline."""
    parts = [f"# {report.heading}", changes(report.rows), _table(report.rows)]
    parts += [_legend(report.rows), _progress(report), _diverged(report.rows)]
    parts += [_provenance(report.rows)]
    return "\n\n".join(part for part in parts if part) + "\n"


def changes(rows: list[Row]) -> str:
    """Returns a sentence on settings that are not the paper's, or an empty string."""
    texts = []
    for name in dict.fromkeys(name for row in rows for name in row.cell.changes):
        cells = [row.cell for row in rows if name in row.cell.changes]
        own = {cell.changes[name] for cell in cells}
        paper = {getattr(cell.preset.train_config, name) for cell in cells}
        texts.append(f"{name} {_some(own)} (paper: {_some(paper)})")
    return f"**Not the paper's settings: {', '.join(texts)}.**" if texts else ""


def paper_text(row: Row) -> str:
    """Returns the published number like ``1.06 ± 0.37 (40)``, with * if not the paper's."""
    cell = row.cell
    star = " *" if cell.source else ""
    return f"{percent(*cell.paper)} ({cell.paper_runs}){star}" if cell.paper else NONE


def sources(rows: list[Row]) -> str:
    """Returns what the * means, or an empty string."""
    found = {row.cell.source for row in rows if row.cell.source}
    return f"* {_some(found)}" if found else ""


def difference_text(row: Row) -> str:
    """Returns the difference in standard errors, with its sign."""
    found = row.standard_errors
    return NONE if found is None else f"{found:+.1f}".replace("-", "−")


def share_text(row: Row) -> str:
    """Returns the share of runs above the limit."""
    share = row.share_above
    return NONE if share is None else f"{share:.3g} %"


def _table(rows: list[Row]) -> str:
    """Returns the table of all cells."""
    heads = ["cell", "labels", "paper", "ours", "runs", f"above {LIMIT:g} %", "difference"]
    heads += [f"ours, {kind}" for kind in OTHERS]
    lines = [heads, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines.insert(1, rule)
    return "\n".join(f"| {' | '.join(_padded(line, widths))} |" for line in lines)


def _padded(line: list[str], widths: list[int]) -> list[str]:
    """Aligns a line of the table, the first cell to the left."""
    first, *rest = line
    return [first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])]


def _cells(row: Row) -> list[str]:
    """Returns a line of the table."""
    others = [row.mean(kind) for kind in OTHERS]
    return [
        row.cell.name,
        str(row.cell.train_config.labels),
        paper_text(row),
        mean_text(row.errors()),
        str(row.runs),
        share_text(row),
        difference_text(row),
        *(NONE if mean is None else percent(mean) for mean in others),
    ]


def _legend(rows: list[Row]) -> str:
    """Returns the explanation below the table."""
    text = (
        "Mean ± standard deviation (n − 1) over runs; the paper's number of runs in brackets. "
        f"Ours is by the {OURS} statistics, as the paper's; the last columns are means by the "
        f"others. Above {LIMIT:g} %: share of our runs. Difference, in standard errors: "
        "(ours − paper)/√(s²/n of ours + s²/n of the paper)."
    )
    stars = sources(rows)
    return f"{text}\n\n\\{stars}." if stars else text


def _progress(report: Report) -> str:
    """Returns how many runs are missing."""
    command = f"`{report.command}`"
    return f"Missing: {report.missing} of the {report.asked} runs that {command} asks for."


def _diverged(rows: list[Row]) -> str:
    """Returns a list of the runs that diverged."""
    lines = [
        f"- {row.cell.name} seed {seed}: {reason}"
        for row in rows
        for seed, reason in row.diverged.items()
    ]
    return "\n".join(["Diverged, in no average above:", "", *lines]) if lines else ""


def _provenance(rows: list[Row]) -> str:
    """Returns the versions, commits, data and devices of all runs."""
    lines = [line for row in rows for line in row.lines.values()]
    if not lines:
        return ""
    versions = [line.get("versions") or {} for line in lines]
    texts = []
    for name in dict.fromkeys(name for found in versions for name in found):
        if not name.startswith("git_"):
            values = {found[name] for found in versions if found.get(name)}
            texts += [f"{name} {_some(values)}"] if values else []
    texts += [f"commit {_some({_commit(found) for found in versions})}"]
    texts += [f"data {_some({_data(line['config']['data']) for line in lines})}"]
    devices = {line.get("device") for line in lines}
    return f"Computed with {'; '.join(texts)}. Device: {_some(devices)}."


def _commit(versions: dict[str, Any]) -> str:
    """Returns the commit of a run as text."""
    commit = versions.get("git_commit")
    if not commit:
        return "unknown"
    return f"`{commit[:7]}`" + (" with changes" if versions.get("git_dirty") else "")


def _data(data: dict[str, Any]) -> str:
    """Returns the data set of a run as text."""
    return f"{data['name']} (sha256 {str(data.get('sha256'))[:8]}…)"


def _some(values: set[Any]) -> str:
    """Returns different values, sorted and with commas between them."""
    return ", ".join(map(str, sorted(values, key=lambda value: (str(type(value)), value))))
