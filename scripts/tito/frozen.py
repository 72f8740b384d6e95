"""Frozen dataclasses that cost little to define: nothing is compiled for a class.

`dataclass` writes and compiles an `__init__`, two setters and three more methods for every class,
about a millisecond each, which every start of a command would pay. `Frozen` has them once.
"""

from dataclasses import MISSING, FrozenInstanceError, dataclass, fields
from functools import cache
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")


class Frozen:
    """Base of the classes that `frozen` makes: they compare, hash and show by their fields."""

    __slots__ = ()

    def __init__(self, *given: Any, **named: Any):
        cls = type(self)
        names, defaults = cls._fields()
        values = dict(zip(names, given, strict=False))
        twice = values.keys() & named.keys()
        values = {**defaults, **values, **named}
        wrong = sorted(twice | (values.keys() ^ set(names))) or given[len(names) :]
        if wrong:
            words = ", ".join(map(str, wrong))
            raise TypeError(f"{cls.__name__}: missing, unknown or given twice: {words}")
        for name in names:
            object.__setattr__(self, name, self._made(name, values[name]))

    def _made(self, name: str, value: Any) -> Any:
        """The value that a field gets; a kind of record may check it here."""
        return value

    @classmethod
    @cache
    def _fields(cls) -> tuple[tuple[str, ...], dict[str, Any]]:
        """The names of the fields in order, and the values of those that need not be given."""
        own = fields(cls)  # type: ignore[arg-type]
        defaults = {field.name: field.default for field in own if field.default is not MISSING}
        return tuple(field.name for field in own), defaults

    def __setattr__(self, name: str, value: object) -> None:
        raise FrozenInstanceError(f"cannot assign to {name!r}; use dataclasses.replace")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete {name!r}")

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self._fields()[0])

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        values = zip(self._fields()[0], self._values(), strict=True)
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in values)})"


@dataclass_transform(frozen_default=True)
def frozen(cls: type[T], *, slots: bool = False) -> type[T]:
    """Make a subclass of `Frozen` a dataclass."""
    return dataclass(init=False, slots=slots, repr=False, eq=False)(cls)
