"""GitHub's expressions, `${{ ... }}`, as far as the workflows of this project use them; anything else is an error.

Takes a text and contexts (github, inputs, secrets, ...); gives the text with its expressions evaluated, or the value of
one. Rules: https://docs.github.com/actions/reference/workflows-and-actions/expressions
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?\d+(?:\.\d+)?)|(?P<sign>&&|\|\||==|!=|[!().,\[\]])|(?P<name>[A-Za-z_][\w-]*))"
)

Value = Any


class Unsupported(AssertionError):
    """The workflow uses something that this runner does not play; it must not be passed over."""


def filled(text: str, contexts: Mapping[str, Value], functions: Mapping[str, Callable[..., Value]]) -> str:
    """The text with every `${{ ... }}` replaced by its value."""

    def value(found: re.Match[str]) -> str:
        return shown(evaluate(found[1], contexts, functions))

    return re.sub(r"\$\{\{(.*?)\}\}", value, text, flags=re.DOTALL)


def evaluate(text: str, contexts: Mapping[str, Value], functions: Mapping[str, Callable[..., Value]]) -> Value:
    """The value of an expression."""
    return _Parser(text, contexts, functions).whole()


def truthy(value: Value) -> bool:
    """Whether a condition with this value holds."""
    return value not in (None, False, "", 0)


def shown(value: Value) -> str:
    """The value as text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    raise Unsupported(f"no text: {value!r}")


class _Parser:
    def __init__(self, text: str, contexts: Mapping[str, Value], functions: Mapping[str, Callable[..., Value]]) -> None:
        self._contexts, self._functions = contexts, functions
        self._tokens: list[tuple[str, str]] = []
        place = 0
        text = text.strip()
        while place < len(text):
            found = _TOKEN.match(text, place)
            if found is None:
                raise Unsupported(f"in an expression: {text[place:]!r}")
            self._tokens.append((found.lastgroup or "", found[found.lastgroup or 0]))
            place = found.end()

    def whole(self) -> Value:
        value = self._or()
        if self._tokens:
            raise Unsupported(f"after an expression: {self._tokens}")
        return value

    def _or(self) -> Value:
        value = self._and()
        while self._take("||"):
            other = self._and()
            value = value if truthy(value) else other
        return value

    def _and(self) -> Value:
        value = self._equality()
        while self._take("&&"):
            other = self._equality()
            value = other if truthy(value) else value
        return value

    def _equality(self) -> Value:
        value = self._single()
        while True:
            if self._take("=="):
                value = _same(value, self._single())
            elif self._take("!="):
                value = not _same(value, self._single())
            else:
                return value

    def _single(self) -> Value:
        if self._take("!"):
            return not truthy(self._single())
        if self._take("("):
            value = self._or()
            self._must(")")
            return value
        if not self._tokens:
            raise Unsupported("an expression ends too early")
        kind, token = self._tokens.pop(0)
        if kind == "text":
            return token[1:-1].replace("''", "'")
        if kind == "number":
            return int(token)
        if kind != "name":
            raise Unsupported(f"in an expression: {token}")
        if token in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[token]
        if self._take("("):
            return self._call(token)
        if token not in self._contexts:
            raise Unsupported(f"the context {token}")
        return self._path(self._contexts[token])

    def _path(self, value: Value) -> Value:
        while self._take("."):
            _, name = self._tokens.pop(0)
            value = value.get(name) if isinstance(value, Mapping) else None
        return value

    def _call(self, name: str) -> Value:
        if name not in self._functions:
            raise Unsupported(f"the function {name}")
        arguments: list[Value] = []
        while not self._take(")"):
            arguments.append(self._or())
            self._take(",")
        return self._functions[name](*arguments)

    def _take(self, sign: str) -> bool:
        if self._tokens and self._tokens[0] == ("sign", sign):
            self._tokens.pop(0)
            return True
        return False

    def _must(self, sign: str) -> None:
        if not self._take(sign):
            raise Unsupported(f"{sign} is missing")


def _same(one: Value, other: Value) -> bool:
    """Text without regard to case; nothing equals the empty text, as null and '' both are 0 as numbers."""
    if isinstance(one, str) and isinstance(other, str):
        return one.lower() == other.lower()
    if one in (None, "") and other in (None, ""):
        return True
    return bool(one == other)
