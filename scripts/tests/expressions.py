"""GitHub's `${{ }}` expressions, as far as this repository's workflows use them.

Stricter than GitHub, where a name that does not exist is an empty string: here it is an error.
Source: docs.github.com, "Evaluate expressions in workflows and actions".
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

TOKEN = re.compile(
    r"\s*(?:(?P<string>'(?:[^']|'')*')|(?P<number>\d+(?:\.\d+)?)"
    r"|(?P<name>[A-Za-z_][\w-]*(?:\.[\w-]+)*)|(?P<sign>&&|\|\||==|!=|[!(),]))"
)
EMBEDDED = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
STATUS_CHECKS = ("always", "cancelled", "failure", "success")

Contexts = Mapping[str, Any]
Functions = Mapping[str, Callable[..., Any]]


class ExpressionError(Exception):
    """An expression that GitHub or this reader does not understand."""


def evaluate(text: str, contexts: Contexts, functions: Functions) -> Any:
    """Evaluate one expression, given without its `${{ }}`."""
    return _Reader(text, contexts, functions).whole()


def expand(text: str, contexts: Contexts, functions: Functions) -> str:
    """Replace every `${{ }}` in a text by its value."""
    return EMBEDDED.sub(lambda m: as_text(evaluate(m[1], contexts, functions)), text)


def condition(text: Any, contexts: Contexts, functions: Functions) -> bool:
    """Evaluate an `if`: without a status check it also asks for success so far."""
    whole = EMBEDDED.fullmatch(str(text).strip())
    body = whole[1] if whole else str(text)
    value = bool(evaluate(body, contexts, functions))
    asks = any(re.search(rf"\b{name}\s*\(", body) for name in STATUS_CHECKS)
    return value and (asks or bool(functions["success"]()))


def as_text(value: Any) -> str:
    """A value as GitHub writes it into a text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise ExpressionError(f"{value!r} is not a plain value")


def format_text(pattern: str, *values: Any) -> str:
    """GitHub's `format('refs/heads/{0}', x)`."""
    return re.sub(r"\{(\d+)\}", lambda m: as_text(values[int(m[1])]), pattern)


class _Reader:
    """A recursive-descent reader: or < and < comparison < not < value."""

    def __init__(self, text: str, contexts: Contexts, functions: Functions):
        self.text, self.contexts = text, contexts
        self.functions = {"format": format_text, **functions}
        self.tokens = list(self.split())
        self.at = 0

    def split(self) -> Iterator[tuple[str, str]]:
        text, at = self.text.rstrip(), 0
        while at < len(text):
            found = TOKEN.match(text, at)
            if not found or not found.lastgroup:
                raise ExpressionError(f"cannot read {text[at:]!r} in the expression {self.text!r}")
            yield found.lastgroup, found[found.lastgroup]
            at = found.end()

    def take(self, *signs: str) -> str | None:
        """Step over the next token if it is one of these signs."""
        if self.at < len(self.tokens) and self.tokens[self.at] in [("sign", s) for s in signs]:
            self.at += 1
            return self.tokens[self.at - 1][1]
        return None

    def whole(self) -> Any:
        value = self.either()
        if self.at != len(self.tokens):
            raise ExpressionError(f"something is left over in {self.text!r}")
        return value

    def either(self) -> Any:
        value = self.both()
        while self.take("||"):
            other = self.both()
            value = value or other
        return value

    def both(self) -> Any:
        value = self.comparison()
        while self.take("&&"):
            other = self.comparison()
            value = value and other
        return value

    def comparison(self) -> Any:
        value = self.negation()
        while sign := self.take("==", "!="):
            other = self.negation()
            if type(value) is not type(other):
                raise ExpressionError(f"compares {value!r} with {other!r} in {self.text!r}")
            same = (
                value.casefold() == other.casefold() if isinstance(value, str) else value == other
            )
            value = same == (sign == "==")
        return value

    def negation(self) -> Any:
        return not self.negation() if self.take("!") else self.value()

    def value(self) -> Any:
        if self.take("("):
            value = self.either()
            self.expect(")")
            return value
        if self.at == len(self.tokens):
            raise ExpressionError(f"the expression {self.text!r} ends too early")
        kind, text = self.tokens[self.at]
        self.at += 1
        if kind == "string":
            return text[1:-1].replace("''", "'")
        if kind == "number":
            return float(text) if "." in text else int(text)
        if kind == "name":
            return self.call(text) if self.take("(") else self.look_up(text)
        raise ExpressionError(f"unexpected {text!r} in {self.text!r}")

    def expect(self, sign: str) -> None:
        if not self.take(sign):
            raise ExpressionError(f"{sign!r} is missing in {self.text!r}")

    def call(self, name: str) -> Any:
        values: list[Any] = []
        while not self.take(")"):
            values.append(self.either())
            if not self.take(","):
                self.expect(")")
                break
        if name not in self.functions:
            raise ExpressionError(f"unknown function {name}() in {self.text!r}")
        return self.functions[name](*values)

    def look_up(self, name: str) -> Any:
        if name in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[name]
        value: Any = self.contexts
        for part in name.split("."):
            if not isinstance(value, Mapping) or part not in value:
                raise ExpressionError(f"{name} is not known here (in {self.text!r})")
            value = value[part]
        return value
