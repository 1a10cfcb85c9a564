"""Flags under headings, and the text of --help: the flags of a first run come first."""

from __future__ import annotations

import textwrap
from typing import Any

from absl import flags

_WIDTH, _COLUMN = 80, 27


class Group:
    """Defines flags under a heading. Groups appear in the order of their first flag.

    Args:
      values: where the flags go.
      heading: of the group.
    """

    def __init__(self, values: flags.FlagValues, heading: str):
        self._options: dict[str, Any] = {"flag_values": values, "module_name": heading}

    def string(self, name: str, default: str | None, about: str) -> None:
        """A flag that takes a word."""
        flags.DEFINE_string(name, default, about, **self._options)

    def words(self, name: str, default: list[str], about: str) -> None:
        """A flag that takes words with commas between them."""
        flags.DEFINE_list(name, default, about, **self._options)

    def integer(self, name: str, default: int | None, about: str, least: int | None = None) -> None:
        """A flag that takes a whole number."""
        flags.DEFINE_integer(name, default, about, lower_bound=least, **self._options)

    def number(self, name: str, default: float | None, about: str) -> None:
        """A flag that takes a number."""
        flags.DEFINE_float(name, default, about, **self._options)

    def switch(self, name: str, default: bool | None, about: str) -> None:
        """A flag that is on, or off with "no" before its name."""
        flags.DEFINE_boolean(name, default, about, **self._options)


def help_text(values: flags.FlagValues) -> str:
    """All flags, group by group."""
    groups = values.flags_by_module_dict()
    alone = len(groups) == 1
    blocks = []
    for heading, own in groups.items():
        lines = ["Flags:" if alone else f"{heading}:"]
        lines += [line for flag in own for line in _lines(flag)]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _lines(flag: flags.Flag) -> list[str]:
    name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
    about = flag.help.rstrip(".")
    if flag.default not in (None, False, "", []) and "default" not in about:
        default = ",".join(flag.default) if isinstance(flag.default, list) else flag.default
        about += " (default on)" if flag.default is True else f" (default {default})"
    found = textwrap.wrap(about, _WIDTH - _COLUMN, break_on_hyphens=False) or [""]
    first = f"  {name}".ljust(_COLUMN)
    if len(first) > _COLUMN:
        return [first, *(" " * _COLUMN + line for line in found)]
    return [first + found[0], *(" " * _COLUMN + line for line in found[1:])]
