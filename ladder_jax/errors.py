"""Defines the errors that a user can cause and fix, and checks of settings that raise them."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any


# Each message is one line that names the field, the value it had and what to do. Everything else
# that is raised is a bug of this package.
class LadderError(Exception):
    """Base of all errors that the caller can fix."""


class ConfigError(LadderError, ValueError):
    """A setting has a value that cannot be used.

    Args:
      field: name of the setting, as in the configuration and on the command line.
      value: the offending value.
      problem: what is wrong with it and what to do, as the rest of a sentence.
    """

    def __init__(self, field: str, value: Any, problem: str):
        self.field = field
        self.value = value
        self.problem = problem
        super().__init__(f"{_short(field)}={_short(value)}: {problem}")


class DataError(LadderError, ValueError):
    """A data file or array is absent, damaged or of the wrong shape."""


class RunError(LadderError):
    """A work folder cannot be used for this run."""


class PeerError(RunError):
    """Another process of a run on several hosts ended or cannot be reached."""


class DivergedError(LadderError):
    """A cost became infinite or not a number."""


class StoppedError(LadderError):
    """The caller asked the run to stop; what was computed is saved."""


def no_space(error: BaseException) -> bool:
    """Returns whether an error or its cause reports that a disk, quota or file size is used up."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    text = str(error)
    own = isinstance(error, OSError) and error.errno in full
    told = any(os.strerror(number) in text for number in full) or "RESOURCE_EXHAUSTED" in text
    cause = error.__cause__ or error.__context__
    return own or told or (cause is not None and no_space(cause))


@contextmanager
def while_writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns an ``OSError`` into a ``RunError`` that says what to do about the file."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        mend = "make room" if no_space(error) else "see to it that it can be written"
        raise RunError(
            f"{path}: cannot be written ({reason}); {mend} and start again: the run goes on "
            "from its last checkpoint"
        ) from error


def _short(value: Any, limit: int = 80) -> str:
    """Returns a value as one line of at most ``limit`` characters."""
    if isinstance(value, (list, tuple)):
        text = ",".join(str(item) for item in value)
    else:
        try:
            text = str(value)
        except ValueError:  # an int of thousands of digits
            text = f"a huge {type(value).__name__}"
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


Check = Callable[[str, Any], Any]
"""Takes a setting's name and value; returns the value to keep, or raises ``ConfigError``."""


def sequence(field: str, values: Any) -> tuple[Any, ...]:
    """Checks that the value is a list, not a string, and returns it as a tuple."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ConfigError(field, values, "a list is needed")
    return tuple(values)


def number(field: str, value: Any) -> float:
    """Checks that the value is finite and not below 0, and returns it as a float."""
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
    """Checks each value with ``number`` and returns them as a tuple."""
    return tuple(number(field, value) for value in sequence(field, values))


def whole(field: str, value: Any, least: int, hint: str = "") -> int:
    """Checks for an integer from ``least`` to below 2^31; ``hint`` names an allowed alternative."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise ConfigError(
            field, value, f"a whole number of at least {least} is needed {hint}".strip()
        )
    if int(value) >= 2**31:
        raise ConfigError(field, value, "must be below 2^31")
    return int(value)


def whole_numbers(field: str, values: Any) -> tuple[int, ...]:
    """Checks that the values are integers of at least 1 and returns them as a tuple."""
    return tuple(whole(field, value, 1) for value in sequence(field, values))


def choice(field: str, value: Any, choices: Iterable[str]) -> str:
    """Checks that the value is one of the choices."""
    names = list(choices)
    if not isinstance(value, str) or value not in names:
        raise ConfigError(field, value, f"choose one of: {', '.join(names)}")
    return value


def true_or_false(field: str, value: Any) -> bool:
    """Checks that the value is a bool."""
    if not isinstance(value, bool):
        raise ConfigError(field, value, "give true or false")
    return value


def fraction(field: str, value: Any) -> float:
    """Checks that the value is a number from 0 to 1."""
    found = number(field, value)
    if found > 1:
        raise ConfigError(field, found, "a fraction from 0 to 1 is needed")
    return found


def positive(field: str, value: Any) -> float:
    """Checks that the value is a number above 0."""
    found = number(field, value)
    if found == 0:
        raise ConfigError(field, found, "must be above 0")
    return found


def at_least(least: int) -> Check:
    """Returns a check that a value is an integer, not below ``least``."""
    return lambda field, value: whole(field, value, least)


def one_of(choices: Iterable[str]) -> Check:
    """Returns a check that a value is one of the choices."""
    return lambda field, value: choice(field, value, choices)
