"""Templates: data in which `$key` stands for the row's key, and so on for a few names.

Takes the data that stands in a schema; gives a `Template` that renders to JSON, or what is wrong with it and where in
it. A template is data: it has no expressions, calls nothing, and can name only what `Names` allows, so that no secret
column can get into a message.

A text that is one name alone becomes the value itself (`$after` may be `false`); a name within other text becomes text.
`$$` is a dollar sign.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from reconciler.canonical import to_text
from reconciler.errors import nearest
from reconciler.model import Json

NAMES = ("key", "field", "before", "after", "label", "table", "reason", "commit", "run", "id")
"""What stands for itself; `row.<column>` besides."""

ROW = "row."

_PLACEHOLDER = re.compile(r"\$(?:(\$)|\{([^{}]*)\}|(row\.\w+|[A-Za-z_]\w*)|)")

Values = Mapping[str, Json]
"""Name (`key`, `row.name`, ...) to value."""

_Path = tuple[str | int, ...]


class Names(msgspec.Struct, frozen=True):
    """Which columns of the row a template may name, and which are secret."""

    columns: frozenset[str]
    secret: frozenset[str]

    def wrong(self, name: str) -> tuple[str, str] | None:
        """Why a template may not say this name, with a hint; None where it may."""
        if name in NAMES:
            return None
        if not name.startswith(ROW):
            known = [f"${known}" for known in (*NAMES, *(ROW + column for column in sorted(self.columns)))]
            hint = nearest(f"${name}", known) or f"one of ${', $'.join(NAMES)}"
            return f"${name} is nothing that a template has", hint
        column = name.removeprefix(ROW)
        if column in self.secret:
            return f"{column} is named under `secret`, and can never be read", ""
        if column not in self.columns:
            hint = "managed fields, the key, the label and the tenant's column can be named"
            return f"${name}: unknown field {column}", nearest(column, sorted(self.columns)) or hint
        return None


class Template(msgspec.Struct, frozen=True):
    """A template that was checked. `names` are all that it says."""

    names: frozenset[str]
    _render: Callable[[Values], Any]

    def render(self, values: Values) -> Any:
        """The data with every name's value in its place."""
        return self._render(values)

    def render_text(self, values: Values) -> str:
        """The same as text, for a template that is to be a key or a channel."""
        return _text(self._render(values))


def problems_of(data: Any, names: Names) -> Iterator[tuple[_Path, str, str]]:
    """(path in the data, what is wrong, hint) of everything that is wrong in a template."""
    for path, text in texts_in(data):
        if "\x00" in text:
            yield path, "PostgreSQL cannot store the character NUL", ""
        for match in _PLACEHOLDER.finditer(text):
            dollar, braced, bare = match.groups()
            name = braced if braced is not None else bare
            if dollar:
                continue
            if not name:
                yield path, "a $ that begins no name", "write $$ for a dollar sign"
                continue
            wrong = names.wrong(name)
            if wrong is not None:
                yield path, *wrong
    for path, key in _keys(data, ()):
        if "$" in key or "\x00" in key:
            yield path, f"{key}: names stand in values, not in keys", ""


def compile_template(data: Any) -> Template:
    """The template of data in which `problems_of` found nothing."""
    names = {
        match[2] or match[3] for _, text in texts_in(data) for match in _PLACEHOLDER.finditer(text) if not match[1]
    }
    return Template(frozenset(names), _compiled(data))


def _compiled(data: Any) -> Callable[[Values], Any]:
    if isinstance(data, str):
        return _compiled_text(data)
    if isinstance(data, dict):
        items = [(name, _compiled(value)) for name, value in data.items()]
        return lambda values: {name: value(values) for name, value in items}
    if isinstance(data, list):
        parts = [_compiled(part) for part in data]
        return lambda values: [part(values) for part in parts]
    return lambda _values: data


def _compiled_text(text: str) -> Callable[[Values], Any]:
    whole = _PLACEHOLDER.fullmatch(text)
    if whole is not None and not whole[1]:
        name = whole[2] or whole[3]
        return lambda values: values[name]
    pieces: list[tuple[str, str]] = []
    position = 0
    for match in _PLACEHOLDER.finditer(text):
        literal = text[position : match.start()] + (match[1] or "")
        pieces.append((literal, match[2] or match[3] or ""))
        position = match.end()
    rest = text[position:]
    if not any(name for _, name in pieces):
        plain = "".join(literal for literal, _ in pieces) + rest
        return lambda _values: plain
    return lambda values: "".join(_pieces(pieces, values)) + rest


def _pieces(pieces: Sequence[tuple[str, str]], values: Values) -> Iterator[str]:
    for literal, name in pieces:
        yield literal
        if name:
            yield _text(values[name])


def _text(value: Any) -> str:
    """A value within text: text as it is, nothing for null, everything else as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else to_text(value)


def texts_in(data: Any, path: _Path = ()) -> Iterator[tuple[_Path, str]]:
    """(path, text) of every text in the data, the keys of mappings left out."""
    if isinstance(data, str):
        yield path, data
    elif isinstance(data, dict):
        for name, value in data.items():
            yield from texts_in(value, (*path, name))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from texts_in(value, (*path, index))


def _keys(data: Any, path: _Path) -> Iterator[tuple[_Path, str]]:
    if isinstance(data, dict):
        for name, value in data.items():
            yield (*path, name), name
            yield from _keys(value, (*path, name))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _keys(value, (*path, index))
