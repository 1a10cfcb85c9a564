"""Builds the markup of report.html: escaped elements, tables, pictures, and curves as SVG."""

from __future__ import annotations

import base64
import html
import math
import struct
from collections.abc import Sequence
from typing import Any

# Explicit roles, because browsers drop them where the CSS for small screens changes the display.
_ROLES = {"table": "table", "thead": "rowgroup", "tbody": "rowgroup", "tr": "row", "td": "cell"}
_ROLES |= {"col": "columnheader", "row": "rowheader"}


class Html(str):
    """Text that is markup already and is not escaped by ``tag``."""


def tag(name: str, /, *content: object, **attributes: object) -> Html:
    """Returns an element; ``class_`` is written class, ``aria_label`` aria-label; "" is omitted."""
    if role := _ROLES.get(str(attributes.get("scope", name))):
        attributes["role"] = role
    named = ((key.rstrip("_").replace("_", "-"), str(v)) for key, v in attributes.items())
    words = "".join(f' {key}="{html.escape(value)}"' for key, value in named if value)
    inner = "".join(c if isinstance(c, Html) else html.escape(str(c)) for c in content)
    return Html(f"<{name}{words}" + (" />" if name in ("img", "meta") else f">{inner}</{name}>"))


def section(name: str, *content: object) -> Html:
    """Returns a part of the page under a heading."""
    return tag("section", tag("h2", name), *content)


def note(*content: object) -> Html:
    """Returns a paragraph of small print."""
    return tag("p", *content, class_="note")


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> Html:
    """Returns a table that scrolls in its own box; the first cell of each row is its heading."""
    columns = range(max(map(len, rows)))
    full = [row for row in rows if len(row) == len(columns)]
    # Small screens put columns with long text below the others.
    kinds = ["long" * any(len(str(row[i])) > 30 for row in full) for i in columns]
    lines = []
    for row in rows:
        cells = [tag("th", row[0], scope="row")]
        cells += [tag("td", cell, class_=kinds[i]) for i, cell in enumerate(row) if i]
        if missing := len(columns) - len(row):  # the last cell takes up the rest
            cells[-1] = tag("td", row[-1], colspan=1 + missing, class_="long")
        lines.append(tag("tr", *cells))
    heads = [tag("th", word, scope="col", class_=kinds[i]) for i, word in enumerate(head)]
    top = [tag("thead", tag("tr", *heads))] if head else []
    kind = "stack" if head and "long" in kinds else ""
    inner = tag("table", tag("caption", caption), *top, tag("tbody", *lines), class_=kind)
    return tag("div", inner, class_="scroll", tabindex=0, role="region", aria_label=caption)


def is_png(content: bytes) -> bool:
    """Returns whether the content begins as a PNG image does."""
    return content[:8] == b"\x89PNG\r\n\x1a\n" and len(content) >= 24


def picture(stem: str, content: bytes, caption: str) -> Html:
    """Returns a PNG image with its caption, which scrolls on a small screen if it is wide."""
    if not is_png(content):
        return tag("p", f"figures/{stem}.png is no PNG image and is left out.", class_="note")
    width, height = struct.unpack(">II", content[16:24])
    source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    name = stem.replace("_", " ")
    image = tag("img", src=source, alt=caption or name, width=width, height=height)
    box = tag("div", image, class_="scroll", tabindex=0, role="region", aria_label=name)
    words = (tag("strong", f"{name.capitalize()}."), " ", caption)
    return tag("figure", box, tag("figcaption", *words))


def chart(label: str, lines: Sequence[Sequence[float]]) -> Html:
    """Returns curves over the epochs as SVG with axes, one line of values for each seed."""
    low, high = min(map(min, lines)), max(map(max, lines))
    epochs, log = max(map(len, lines)), low > 1e-99 and high > 20 * low
    ticks = _ticks(min(low, 0), high)
    if log:  # values that differ by much
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        ticks = [10.0**i for i in range(first, last + 1)]
    low, high = min(low, ticks[0]), max(high, ticks[-1])
    scale = math.log10 if log else float
    span = scale(high) - scale(low) or 1

    def x(epoch: float) -> str:
        return f"{50 + 300 * (epoch - 1) / max(epochs - 1, 1):.1f}"

    def y(value: float, down: float = 0) -> str:
        return f"{190 - 165 * (scale(value) - scale(low)) / span + down:.1f}"

    parts = [tag("path", d=f"M50 {y(tick)}H350", class_="grid") for tick in ticks]
    parts += [tag("text", f"{t:g}", x=45, y=y(t, 4), class_="left") for t in ticks]
    steps = [t for t in _ticks(0, epochs) if 1 <= t <= epochs and t == int(t)]
    parts += [tag("text", f"{t:g}", x=x(t), y=206) for t in sorted({1.0, *steps})]
    parts += [tag("text", label, x=4, y=12, class_="axis"), tag("text", "epoch", x=200, y=222)]
    for own in lines:
        points = " ".join(f"{x(i)},{y(v)}" for i, v in enumerate(own, 1))
        parts.append(tag("polyline", points=points))
        parts.append(tag("circle", cx=x(len(own)), cy=y(own[-1]), r=2.5))
    ends = "; ".join(f"from {own[0]:.4g} to {own[-1]:.4g} in epoch {len(own)}" for own in lines)
    name = label.replace(" ", "-")
    each = "One line for each seed: " if len(lines) > 1 else "It goes "
    words = [tag("title", f"{label} by epoch", id=f"{name}-title")]
    words.append(tag("desc", f"{each}{ends}.", id=f"{name}-about"))
    ids = f"{name}-title {name}-about"
    return tag("svg", *words, *parts, viewBox="0 0 360 228", role="img", aria_labelledby=ids)


def _ticks(low: float, high: float) -> list[float]:
    """Returns a few round numbers from below ``low`` to above ``high``."""
    raw = ((high - low) or 1) / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(i * step, 12) for i in range(first, last + 1)]


def is_number(value: Any) -> bool:
    """Returns whether a value from a file is a number that can be shown and drawn."""
    return isinstance(value, (int, float)) and abs(value) < 1e99
