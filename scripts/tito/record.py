"""Strict records: frozen dataclasses that read, check, write and describe themselves as JSON.

A field says what it may hold with `Annotated`: `Annotated[str, Text(80)]`. A record made in
Python is checked at once (free text is cut to its limit, anything else wrong is an error), so a
record that exists is valid. A record read from JSON is held to the same rules and nothing is cut.
"""

import math
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import cache
from typing import Annotated, Any, Self, TypeVar, dataclass_transform

from tito.frozen import Frozen, frozen

LARGEST = 2**53 - 1  # the largest whole number that every JSON reader keeps exactly
SHOWN = 60  # characters of a wrong value that an error quotes
CUT = "…"
T = TypeVar("T")
_SURROGATES = re.compile("[\ud800-\udfff]")


class RecordError(ValueError):
    """A value does not fit: the message names the JSON path, the value and the mend."""

    def __init__(self, path: str, fact: str, mend: str):
        super().__init__(f"{path}: {fact}; {mend}")
        self.path, self.fact, self.mend = path, fact, mend


def shown(value: Any) -> str:
    """Quote a wrong value on one short line."""
    text = ascii(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def cut(text: str, limit: int) -> str:
    """Keep at most `limit` characters, the last one an ellipsis if any went; halves of
    surrogate pairs, which no file can hold, become replacement characters."""
    if len(text) > limit:
        text = text[: limit - 1] + CUT
    return _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)


def nearest(value: Any, words: Iterable[str]) -> str | None:
    """The known word most like a wrong one."""
    from difflib import get_close_matches

    near = get_close_matches(value, list(words), n=1) if isinstance(value, str) else []
    return near[0] if near else None


class Kind:
    """What a field may hold: `read` takes JSON, `make` Python, both give the field's value."""

    def read(self, value: Any, path: str) -> Any:
        """Check a JSON value."""
        raise NotImplementedError

    def make(self, value: Any, path: str) -> Any:
        """Check a Python value; the same as reading unless a kind says otherwise."""
        return self.read(value, path)

    def dump(self, value: Any) -> Any:
        """Return the JSON value of a field's value."""
        return value

    def schema(self) -> dict[str, Any]:
        """Describe the kind in JSON Schema 2020-12."""
        raise NotImplementedError


class Flag(Kind):
    """True or false."""

    def read(self, value: Any, path: str) -> bool:
        if not isinstance(value, bool):
            raise RecordError(path, f"expected true or false, got {shown(value)}", "use a bool")
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


class Text(Kind):
    """Free text of at most `most` characters. Made in Python, it is cut; read, it must fit."""

    def __init__(self, most: int):
        self.most = most

    def read(self, value: Any, path: str) -> str:
        if not isinstance(value, str):
            raise RecordError(path, f"expected text, got {shown(value)}", "use a string")
        if len(value) > self.most:
            fact = f"{len(value)} characters are more than the {self.most} allowed"
            raise RecordError(path, f"{fact}: {shown(value)}", "shorten it")
        return value if value.isascii() else cut(value, self.most)

    def make(self, value: Any, path: str) -> str:
        return self.read(cut(value, self.most) if isinstance(value, str) else value, path)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "maxLength": self.most}


class Match(Kind):
    """Text of one exact form, given as a regular expression and in words."""

    def __init__(self, pattern: str, words: str):
        self.pattern, self.words = pattern, words

    def read(self, value: Any, path: str) -> str:
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
            raise RecordError(path, f"expected {self.words}, got {shown(value)}", "write it so")
        return value

    def schema(self) -> dict[str, Any]:
        # `$` alone would let Python's readers pass a closing newline.
        pattern = f"^(?:{self.pattern})$(?![\\s\\S])"
        return {"type": "string", "pattern": pattern, "description": self.words}


class Choice(Kind):
    """One word of a closed list."""

    def __init__(self, words: tuple[str, ...]):
        self.words = words

    def read(self, value: Any, path: str) -> str:
        if not isinstance(value, str) or value not in self.words:
            near = nearest(value, self.words)
            mend = f"did you mean {near!r}?" if near else f"use one of {', '.join(self.words)}"
            raise RecordError(path, f"unknown word {shown(value)}", mend)
        return value

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.words)}


class Whole(Kind):
    """A whole number in a closed range."""

    def __init__(self, least: int = 0, most: int = LARGEST):
        self.least, self.most = least, most

    def read(self, value: Any, path: str) -> int:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not whole or not self.least <= value <= self.most:
            fact = f"expected a whole number from {self.least} to {self.most}, got {shown(value)}"
            raise RecordError(path, fact, "correct the number")
        return int(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


class Number(Kind):
    """A finite number from 0 to `most`, kept to six decimals."""

    def __init__(self, most: float):
        self.most = most

    def read(self, value: Any, path: str) -> float:
        real = isinstance(value, int | float) and not isinstance(value, bool)
        if not real or not 0 <= value <= self.most or not math.isfinite(value):
            fact = f"expected a number from 0 to {self.most:g}, got {shown(value)}"
            raise RecordError(path, fact, "correct the number")
        return round(float(value), 6)

    def schema(self) -> dict[str, Any]:
        return {"type": "number", "minimum": 0, "maximum": self.most}


class Maybe(Kind):
    """The inner kind, or null."""

    def __init__(self, inner: Kind):
        self.inner = inner

    def read(self, value: Any, path: str) -> Any:
        return None if value is None else self.inner.read(value, path)

    def make(self, value: Any, path: str) -> Any:
        return None if value is None else self.inner.make(value, path)

    def dump(self, value: Any) -> Any:
        return None if value is None else self.inner.dump(value)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "null"}, self.inner.schema()]}


class Items:
    """How many items a tuple may hold."""

    def __init__(self, most: int):
        self.most = most


class Many(Kind):
    """A list of the inner kind: a tuple in Python."""

    def __init__(self, inner: Kind, most: int):
        self.inner, self.most = inner, most

    def _check(self, value: Any, kind: type, path: str) -> None:
        if not isinstance(value, kind):
            raise RecordError(path, f"expected a list, got {shown(value)}", "use a list")
        if len(value) > self.most:
            fact = f"{len(value)} items are more than the {self.most} allowed"
            raise RecordError(path, fact, "leave some out")

    def read(self, value: Any, path: str) -> tuple[Any, ...]:
        self._check(value, list, path)
        return tuple(self.inner.read(item, path and f"{path}[{i}]") for i, item in enumerate(value))

    def make(self, value: Any, path: str) -> tuple[Any, ...]:
        self._check(value, tuple, path)
        return tuple(self.inner.make(item, f"{path}[{i}]") for i, item in enumerate(value))

    def dump(self, value: Any) -> list[Any]:
        return [self.inner.dump(item) for item in value]

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "maxItems": self.most, "items": self.inner.schema()}


class Nested(Kind):
    """Another record."""

    def __init__(self, record: "type[Record]"):
        self.record = record

    def read(self, value: Any, path: str) -> "Record":
        return self.record.from_json(value, path)

    def make(self, value: Any, path: str) -> "Record":
        if type(value) is not self.record:
            fact = f"expected a {self.record.__name__}, got {shown(value)}"
            raise RecordError(path, fact, "make one")
        return value

    def dump(self, value: "Record") -> dict[str, Any]:
        return value.to_json()

    def schema(self) -> dict[str, Any]:
        return {"$ref": f"#/$defs/{self.record.__name__}"}


def kind_of(hint: Any, most: int = 1000) -> Kind:
    """Turn a type hint into the kind of value it allows."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        rule = arguments[1]
        return kind_of(arguments[0], rule.most) if isinstance(rule, Items) else rule
    if origin in (typing.Union, types.UnionType):
        inner = next(a for a in arguments if a is not types.NoneType)
        return Maybe(kind_of(inner, most))
    if origin is tuple:
        return Many(kind_of(arguments[0]), most)
    if hint is bool:
        return Flag()
    if isinstance(hint, type) and issubclass(hint, Record):
        return Nested(hint)
    raise TypeError(
        f"no kind of JSON value for {hint!r}; annotate it, as in Annotated[str, Text(80)]"
    )


class Record(Frozen):
    """Base of the frozen, slotted dataclasses that make up a document."""

    __slots__ = ()

    def __init__(self, *given: Any, **named: Any):
        super().__init__(*given, **named)
        self.check(type(self).__name__)

    def _made(self, name: str, value: Any) -> Any:
        return self.kinds()[name].make(value, f"{type(self).__name__}.{name}")

    @classmethod
    @cache
    def kinds(cls) -> dict[str, Kind]:
        """The kind of each field, in order."""
        return {f.name: kind_of(f.type) for f in fields(cls)}

    @classmethod
    @cache
    def _readers(cls) -> list[tuple[str, Any, Any]]:
        """By field: its name, what reads it, and what sets its slot."""
        return [(name, kind.read, getattr(cls, name).__set__) for name, kind in cls.kinds().items()]

    def check(self, path: str) -> None:
        """Refuse fields that contradict each other; a record overrides it where there is need."""

    @classmethod
    def from_json(cls, value: Any, path: str = "$") -> Self:
        """Make a record from parsed JSON; every key must be there and none besides."""
        if not isinstance(value, dict):
            raise RecordError(path, f"expected an object, got {shown(value)}", "use an object")
        kinds = cls.kinds()
        if value.keys() != kinds.keys():
            raise cls._wrong_keys(value, path)
        # What was read is valid field by field, so `__init__` has nothing to add.
        made = object.__new__(cls)
        for name, read, set_slot in cls._readers():
            set_slot(made, read(value[name], path and f"{path}.{name}"))
        made.check(path)
        return made

    @classmethod
    def _wrong_keys(cls, value: Mapping[str, Any], path: str) -> RecordError:
        """The error for an object that lacks a key, or has one too many."""
        kinds = cls.kinds()
        for key in value:
            if key not in kinds:
                near = nearest(key, kinds)
                mend = f"did you mean {near!r}?" if near else f"keys are {', '.join(kinds)}"
                return RecordError(path, f"unknown key {shown(key)}", mend)
        name = next(name for name in kinds if name not in value)
        return RecordError(path, f"the key {name!r} is missing", "add it")

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain JSON values, keys in field order."""
        return {name: kind.dump(getattr(self, name)) for name, kind in self.kinds().items()}

    @classmethod
    def definition(cls) -> dict[str, Any]:
        """Describe the record itself in JSON Schema; its docstring is the description."""
        kinds = cls.kinds()
        return {
            "type": "object",
            "description": " ".join((cls.__doc__ or "").split()),
            "additionalProperties": False,
            "required": list(kinds),
            "properties": {name: kind.schema() for name, kind in kinds.items()},
        }

    @classmethod
    def schema(cls) -> dict[str, Any]:
        """Describe the whole document in JSON Schema 2020-12, nested records under `$defs`."""
        found: dict[str, type[Record]] = {}
        waiting: list[Kind] = list(cls.kinds().values())
        while waiting:
            kind = waiting.pop(0)
            if isinstance(kind, Maybe | Many):
                waiting.insert(0, kind.inner)
            elif isinstance(kind, Nested) and kind.record.__name__ not in found:
                found[kind.record.__name__] = kind.record
                waiting += kind.record.kinds().values()
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": cls.__name__,
            **cls.definition(),
            "$defs": {name: record.definition() for name, record in found.items()},
        }


@dataclass_transform(frozen_default=True)
def record(cls: type[T]) -> type[T]:
    """Make a subclass of `Record` a frozen, slotted dataclass."""
    return frozen(cls, slots=True)
