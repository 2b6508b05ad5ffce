"""Canonical values as JSON, and as the array parameters that carry a hundred thousand of them in one statement.

Takes canonical values; gives JSON text (sorted, so that equal values have equal text) and PostgreSQL array literals.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Context, Decimal
from typing import Any

import msgspec

from reconciler.digests import blake2b
from reconciler.model import Json, Missing

_EXACT_AS_INT = 2_000
"""Digits up to which a decimal without a fraction becomes an int, as it does in the server's JSON: all that state can
hold (`scalars.MAX_DIGITS`, exponent included). 1e999999 must not become a million digits."""


EXACT = Context(prec=1_000_000)
"""For arithmetic on decimals that must not round, as the default context does after 28 digits."""


def number(text: str) -> int | Decimal:
    """The canonical number of its text: an int where there is no fraction, else a Decimal without trailing zeros."""
    value = Decimal(text).normalize(EXACT)
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < 0 or value.adjusted() > _EXACT_AS_INT:
        return value
    return int(value)


def equal(one: Json | Missing, other: Json | Missing) -> bool:
    """Whether two canonical values are the same value. `True` is not 1, wherever in a structure it stands."""
    kind = type(one)
    if kind is not type(other):
        return False
    if kind is list or kind is dict:
        return _ENCODER.encode(one) == _ENCODER.encode(other)
    return one == other


DIGEST_BYTES = 16

_ENCODER = msgspec.json.Encoder(order="sorted", decimal_format="number")
_DECODER: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=number)


def to_text(value: Json) -> str:
    """Canonical JSON: sorted keys, no spaces, decimals as numbers."""
    return _ENCODER.encode(value).decode()


def digest(value: Json) -> bytes:
    """128 bits of a hash of the canonical JSON: equal values have equal digests, and no others do."""
    return blake2b(_ENCODER.encode(value), digest_size=DIGEST_BYTES).digest()


def digest_of_text(text: str) -> bytes:
    """The same of a value that is canonical JSON already (`to_text`)."""
    return blake2b(text.encode(), digest_size=DIGEST_BYTES).digest()


def row_digest(key: str, fields: bytes) -> bytes:
    """The same of a row: its key, and the digest of its fields."""
    return blake2b(key.encode(), digest_size=DIGEST_BYTES, key=fields).digest()


def from_text(text: str) -> Any:
    """The canonical value of JSON text; numbers with a point become Decimal."""
    return _DECODER.decode(text)


def text_array(texts: Sequence[str]) -> str:
    """A PostgreSQL array literal of texts without NULL.

    psycopg adapts a list element by element in Python, 15 microseconds each; this takes 0.5.
    """
    if not texts:
        return "{}"
    joined = "\x00".join(texts).replace("\\", "\\\\").replace('"', '\\"').replace("\x00", '","')
    return '{"' + joined + '"}'


def nullable_text_array(texts: Iterable[str | None]) -> str:
    """A PostgreSQL array literal of texts, with NULL for None."""
    quoted = (
        "NULL" if text is None else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' for text in texts
    )
    return "{" + ",".join(quoted) + "}"


def uuid_array(digests: Iterable[bytes]) -> str:
    """A PostgreSQL array literal of digests, as UUIDs."""
    return "{" + ",".join([digest.hex() for digest in digests]) + "}"


def int_array(numbers: Iterable[int | None]) -> str:
    """A PostgreSQL array literal of integers, with NULL for None."""
    return "{" + ",".join(["NULL" if number is None else str(number) for number in numbers]) + "}"
