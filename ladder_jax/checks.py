"""Checks of single settings, with errors that name the field."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

from ladder_jax.errors import ConfigError


def sequence(field: str, values: Any) -> tuple[Any, ...]:
    """The values as a tuple; text is no list.

    Raises:
      ConfigError: it is not a sequence.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ConfigError(field, values, "a list is needed")
    return tuple(values)


def number(field: str, value: Any) -> float:
    """The value as a float.

    Raises:
      ConfigError: not a number, not finite or below 0.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ConfigError(field, value, "not a number")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found) or found < 0:
        raise ConfigError(field, value, "must be a finite number, not below 0")
    return found


def numbers(field: str, values: Any) -> tuple[float, ...]:
    """The values as floats, each checked as by ``number``."""
    return tuple(number(field, value) for value in sequence(field, values))


def whole(field: str, value: Any, least: int, hint: str = "") -> int:
    """The value as an int, from ``least`` to below 2^31.

    Raises:
      ConfigError: it is something else; ``hint`` names what else would do.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise ConfigError(
            field, value, f"a whole number of at least {least} is needed {hint}".strip()
        )
    if int(value) >= 2**31:
        raise ConfigError(field, value, "must be below 2^31")
    return int(value)


def whole_numbers(field: str, values: Any) -> tuple[int, ...]:
    """The values as whole numbers of at least 1, each checked as by ``whole``."""
    return tuple(whole(field, value, 1) for value in sequence(field, values))


def choice(field: str, value: Any, choices: Iterable[str]) -> None:
    """Checks that the value is one of the choices.

    Raises:
      ConfigError: it is not.
    """
    names = list(choices)
    if not isinstance(value, str) or value not in names:
        raise ConfigError(field, value, f"choose one of: {', '.join(names)}")
