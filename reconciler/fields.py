"""What a field of a managed table may be: the types, their bounds, their kill side.

Takes the mapping that stands below a field's name in `schemas/<table>.yaml` (see `schema`, which reads the files);
gives one frozen definition per type, each of which can `parse` what stands in state into a canonical value and tell
the `direction` of a change. The structs are msgspec's tagged union on `type`, so that the JSON Schema for editors is
generated from the same classes that validate.
"""

from __future__ import annotations

import re
from collections.abc import Sequence as AbstractSequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec

from reconciler.canonical import number
from reconciler.effects.declared import Effect
from reconciler.model import Direction, Json
from reconciler.nodes import Node, Scalar, Sequence
from reconciler.scalars import Duration as Duration
from reconciler.scalars import looks_like_yaml11_boolean, resolve, to_json
from reconciler.scalars import seconds as seconds
from reconciler.verify.declared import Proof


class NotAValue(ValueError):
    """What stands in state is not a value of the field; `hint` says what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Restore(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The guards on the way back: not before `after` has passed since the last kill, and only if the checks of the
    policy that `requires` names have passed.
    """

    after: Duration | None = None
    requires: list[str] = []


class FieldBase(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", kw_only=True):
    """What every type of field can say.

    `title` is what people call the field ("WhatsApp"); `drift` what to do when the database has moved to neither side;
    `nullable` whether `null` may be written. `masked_by` names the field (table/row.field) that, on its own kill side,
    makes this one have no effect. `effects` are what follows a change once it is committed, and `verify` is what must
    be seen after that.
    """

    title: str | None = None
    restore: Restore | None = None
    masked_by: Annotated[str, msgspec.Meta(pattern=r"^[^/]+/.+\.[^.]+$", description="table/row.field")] | None = None
    nullable: bool = False
    drift: Literal["revert", "keep"] = "revert"
    effects: list[Effect] = []
    verify: list[Proof] = []

    @property
    def type_name(self) -> str:
        """The word that stands after `type:`."""
        return str(self.__struct_config__.tag)

    def parse(self, node: Node) -> Json:
        """The canonical value of what stands in state. Raises NotAValue."""
        raw = resolve_plainly(node)
        if raw is None:
            if self.nullable:
                return None
            raise NotAValue("null is not allowed here", "the schema does not say `nullable: true`")
        return self._parse(node, raw)

    def _parse(self, node: Node, raw: Json) -> Json:
        raise AssertionError("every type has its own")

    def direction(self, before: Json, after: Json) -> Direction:
        """Which way a change from one canonical value to another goes. Neutral where there is no kill side."""
        return Direction.NEUTRAL

    def is_killed(self, value: Json) -> bool:
        """Whether the value is on the kill side by itself, whatever was there before (never so for `lower`)."""
        return False

    def definition_problems(self) -> list[tuple[str, str]]:
        """What no type can say of itself: (property, what is wrong with it) of a definition that contradicts itself."""
        return []


class OnASide(FieldBase, frozen=True, kw_only=True):
    """Types whose kill side is a set of values: a change into it is a kill, a change out of it a restore."""

    def direction(self, before: Json, after: Json) -> Direction:
        was, becomes = self.is_killed(before), self.is_killed(after)
        if was == becomes:
            return Direction.NEUTRAL
        return Direction.KILL if becomes else Direction.RESTORE


class BooleanField(OnASide, frozen=True, tag="boolean", kw_only=True):
    """`kill: false` for a switch that is killed by turning it off."""

    kill: bool | None = None

    def _parse(self, node: Node, raw: Json) -> Json:
        if isinstance(raw, bool):
            return raw
        if isinstance(node, Scalar) and node.plain and looks_like_yaml11_boolean(node.text):
            value = "true" if node.text.lower() in ("yes", "on", "y") else "false"
            raise NotAValue(f"`{node.text}` is a string in YAML 1.2, not a boolean", f"write {value}")
        raise NotAValue(f"{shown(raw)} is not a boolean", "write true or false")

    def is_killed(self, value: Json) -> bool:
        return self.kill is not None and value is self.kill


class Ordered(FieldBase, frozen=True, kw_only=True):
    """Numbers. `kill: lower` (or `higher`): the way a limit is cut. `null` counts as no limit: the open side."""

    kill: Literal["lower", "higher"] | None = None

    def direction(self, before: Json, after: Json) -> Direction:
        if self.kill is None or before == after:
            return Direction.NEUTRAL
        if before is None or after is None:
            return Direction.KILL if before is None else Direction.RESTORE
        is_lower = _ordinal(after) < _ordinal(before)
        return Direction.KILL if is_lower == (self.kill == "lower") else Direction.RESTORE

    def _bounded(self, value: int | Decimal, low: Any, high: Any) -> int | Decimal:
        if low is not None and value < low:
            raise NotAValue(f"{value} is less than the minimum {low}")
        if high is not None and value > high:
            raise NotAValue(f"{value} is more than the maximum {high}")
        return value


class IntegerField(Ordered, frozen=True, tag="integer", kw_only=True):
    """A whole number between `min` and `max`, both included."""

    min: int | None = None
    max: int | None = None

    def _parse(self, node: Node, raw: Json) -> Json:
        if isinstance(raw, int) and not isinstance(raw, bool):
            return self._bounded(raw, self.min, self.max)
        quoted = isinstance(raw, str) and re.fullmatch(r"[-+]?[0-9]+", raw)
        raise NotAValue(f"{shown(raw)} is not an integer", f"write {raw} without quotes" if quoted else "")

    def definition_problems(self) -> list[tuple[str, str]]:
        return _bounds_problem(self.min, self.max, "min")


class NumberField(Ordered, frozen=True, tag="number", kw_only=True):
    """A decimal number between `min` and `max`, both included; compared exactly, never as a binary float."""

    min: int | Decimal | None = None
    max: int | Decimal | None = None

    def _parse(self, node: Node, raw: Json) -> Json:
        if isinstance(raw, int | Decimal) and not isinstance(raw, bool):
            return self._bounded(raw, self.min, self.max)
        raise NotAValue(f"{shown(raw)} is not a number")

    def definition_problems(self) -> list[tuple[str, str]]:
        return _bounds_problem(self.min, self.max, "min")


class StringField(OnASide, frozen=True, tag="string", kw_only=True):
    """Text. `pattern` is a regular expression that must be found in it (anchor it with ^ and $)."""

    pattern: str | None = None
    min_length: int | None = None
    max_length: int | None = None
    kill: list[str] = []

    def _parse(self, node: Node, raw: Json) -> Json:
        if not isinstance(raw, str):
            hint = f'quote it: "{node.text}"' if isinstance(node, Scalar) else ""
            raise NotAValue(f"{shown(raw)} is not a string", hint)
        if self.min_length is not None and len(raw) < self.min_length:
            raise NotAValue(f"shorter than {self.min_length} characters")
        if self.max_length is not None and len(raw) > self.max_length:
            raise NotAValue(f"longer than {self.max_length} characters")
        if self.pattern is not None and not re.search(self.pattern, raw):
            raise NotAValue(f"{shown(raw)} does not match the pattern {self.pattern}")
        if "\x00" in raw:
            raise NotAValue("PostgreSQL cannot store the character NUL")
        return raw

    def is_killed(self, value: Json) -> bool:
        return value in self.kill

    def definition_problems(self) -> list[tuple[str, str]]:
        found = _bounds_problem(self.min_length, self.max_length, "min_length")
        if self.pattern is not None:
            try:
                re.compile(self.pattern)
            except re.error as error:
                found.append(("pattern", f"not a regular expression: {error}"))
        return found


class EnumField(OnASide, frozen=True, tag="enum", kw_only=True):
    """One of `values`; `kill` lists those that switch the thing off."""

    values: Annotated[list[str], msgspec.Meta(min_length=1)]
    kill: list[str] = []

    def _parse(self, node: Node, raw: Json) -> Json:
        text = node.text if isinstance(node, Scalar) else None
        if text in self.values:
            return text
        from reconciler.errors import nearest

        hint = nearest(text or "", self.values) or f"one of {', '.join(self.values)}"
        raise NotAValue(f"{shown(raw)} is not one of the values", hint)

    def is_killed(self, value: Json) -> bool:
        return value in self.kill

    def definition_problems(self) -> list[tuple[str, str]]:
        return [("kill", f'"{value}" is not one of the values') for value in self.kill if value not in self.values]


class TimestampField(FieldBase, frozen=True, tag="timestamp", kw_only=True):
    """A moment, written with its offset (RFC 3339). Columns without a time zone hold UTC."""

    def _parse(self, node: Node, raw: Json) -> Json:
        if not isinstance(raw, str):
            raise NotAValue(f"{shown(raw)} is not a timestamp", "write 2026-11-27T09:00:00Z")
        return canonical_timestamp(raw)


class JsonField(FieldBase, frozen=True, tag="json", kw_only=True):
    """Any JSON value; compared as JSON (the order of keys does not count)."""

    def _parse(self, node: Node, raw: Json) -> Json:
        return raw


class ArrayField(FieldBase, frozen=True, tag="array", kw_only=True):
    """A list of values of one type; order counts."""

    items: BooleanField | IntegerField | NumberField | StringField | EnumField
    min_items: int | None = None
    max_items: int | None = None

    def _parse(self, node: Node, raw: Json) -> Json:
        if not isinstance(node, Sequence):
            raise NotAValue(f"{shown(raw)} is not a list", "write [a, b]")
        if self.min_items is not None and len(node.items) < self.min_items:
            raise NotAValue(f"fewer than {self.min_items} items")
        if self.max_items is not None and len(node.items) > self.max_items:
            raise NotAValue(f"more than {self.max_items} items")
        return [self.items.parse(item) for item in node.items]

    def definition_problems(self) -> list[tuple[str, str]]:
        bounds = _bounds_problem(self.min_items, self.max_items, "min_items")
        return [*bounds, *(("items", message) for _, message in self.items.definition_problems())]


Field = (
    BooleanField | IntegerField | NumberField | StringField | EnumField | TimestampField | JsonField | ArrayField
)


def resolve_plainly(node: Node) -> Json:
    """The node as a JSON value by YAML 1.2's rules. Raises NotAValue."""
    try:
        return normalized(resolve(node) if isinstance(node, Scalar) else to_json(node))
    except ValueError as error:
        raise NotAValue(str(error)) from None


def normalized(raw: Json) -> Json:
    """The same value with every number in its canonical form, however deep it stands."""
    if isinstance(raw, Decimal):
        return number(str(raw))
    if isinstance(raw, list):
        return [normalized(item) for item in raw]
    if isinstance(raw, dict):
        return {name: normalized(item) for name, item in raw.items()}
    return raw


def canonical_timestamp(text: str) -> str:
    """RFC 3339 in UTC with Z and only the fractional digits that count. Raises NotAValue."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise NotAValue(f"{shown(text)} has no time zone", f"write {in_utc(text)} for UTC, or give an offset")
        canonical = format_timestamp(moment)
    except NotAValue:
        raise
    except (ValueError, OverflowError):  # overflow: in UTC it is before the year 1, or after 9999
        raise NotAValue(f"{shown(text)} is not a timestamp", "write 2026-11-27T09:00:00Z") from None
    if re.search(r"[.,][0-9]{6}[0-9]*[1-9]", text):
        raise NotAValue(f"{shown(text)} has more than 6 digits of a second, which is all that Postgres keeps")
    return canonical


def in_utc(text: str) -> str:
    """A time that names no zone, as it is written for UTC; a date alone takes no zone, and so gets its first hour."""
    return f"{text}Z" if re.search(r"[T ]", text) else f"{text}T00:00:00Z"


def _ordinal(value: Json) -> Decimal:
    """Where a number stands among the others. What is no JSON number is text in its column's JSON: `Infinity`, `NaN`,
    which Postgres sorts after all others.
    """
    found = Decimal(str(value))
    return Decimal("Infinity") if found.is_nan() else found


def format_timestamp(moment: datetime) -> str:
    """The canonical text of an aware datetime."""
    whole, _, fraction = moment.astimezone(UTC).replace(tzinfo=None).isoformat().partition(".")
    digits = fraction.rstrip("0")
    return f"{whole}.{digits}Z" if digits else f"{whole}Z"


def shown(raw: Json) -> str:
    """A value as an error message shows it: short, and on one line."""
    text = f'"{raw}"' if isinstance(raw, str) else ("a list" if isinstance(raw, list) else str(raw))
    if isinstance(raw, dict):
        text = "a mapping"
    if isinstance(raw, bool):
        text = "true" if raw else "false"
    text = text.encode("unicode_escape").decode("ascii") if not text.isprintable() else text
    return text if len(text) <= 60 else text[:57] + ('..."' if isinstance(raw, str) else "...")


def _bounds_problem(low: Any, high: Any, name: str) -> list[tuple[str, str]]:
    return [(name, f"{low} is more than the maximum {high}")] if None not in (low, high) and low > high else []


def field_type_names() -> AbstractSequence[str]:
    """The words that may stand after `type:`."""
    return [kind.__struct_config__.tag for kind in Field.__args__]
