"""How a setting is declared: once, as a field with its default, its meaning and its check."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from ladder_jax.errors import Check, ConfigError

_Kind = TypeVar("_Kind", bound=type)


def setting(default: Any, help: str, check: Check) -> Any:
    """A field of a configuration.

    Args:
      default: its value; ``dataclasses.MISSING`` if one has to be given. Where it is None, None is
        a value that needs no check.
      help: what it means, short enough for ``--help``.
      check: applied to each other value.
    """
    return dataclasses.field(default=default, metadata={"help": help, "check": check})


def with_attributes(cls: _Kind) -> _Kind:
    """Adds the meaning of each field to the docstring of the class."""
    meanings = [f"  {field.name}: {field.metadata['help']}." for field in dataclasses.fields(cls)]
    cls.__doc__ = "\n".join([inspect.cleandoc(cls.__doc__ or ""), "", "Attributes:", *meanings])
    return cls


@dataclass(frozen=True)
class CheckedConfig:
    """A frozen set of settings, checked when it is built, that goes to and from JSON."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None or field.default is not None:
                self._replace(field.name, field.metadata["check"](field.name, value))

    def _replace(self, field: str, value: Any) -> None:
        object.__setattr__(self, field, value)  # the one way to change a field of a frozen class

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``; ``from_json`` turns them back."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The configuration that ``to_json`` described.

        Raises:
          ConfigError: an unknown field or a value that cannot be used.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
            raise ConfigError(cls.__name__, values, "is made of named fields")
        for name, value in values.items():
            if name not in fields:
                raise ConfigError(name, value, f"{cls.__name__} has no such field")
        for name, field in fields.items():
            if field.default is dataclasses.MISSING and name not in values:
                raise ConfigError(name, "", f"{cls.__name__} cannot do without it")
        return cls(**values)
