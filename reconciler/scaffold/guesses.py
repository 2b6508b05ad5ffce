"""What a column's name lets one guess: that it holds a secret, that it is a switch, a limit, a counter.

Takes names as databases spell them (camelCase, snake_case); gives guesses. Nothing that a guess says is relied on:
secrets that are none cost a line to take out, and kill sides are written as comments only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

__all__ = ["killed_values", "looks_like_a_counter", "looks_like_a_limit", "looks_secret", "off_value", "words_of"]

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_SECRET = _set(
    """
    cipher ciphertext cookie credential credentials cvc cvv hash hashed jwt mfa oauth otp passcode passphrase passwd
    password pass pwd pin salt secret secrets seed signature token tokens totp webauthn
    """
)
_KEYS = _set("access api client encryption license private secret service session signing ssh webhook")
_OFF_WHEN_TRUE = _set(
    """
    archived banned blocked closed deactivated deleted disabled expired frozen hidden inactive locked muted paused
    restricted revoked suspended
    """
)
_OFF_VALUES = _OFF_WHEN_TRUE | _set("cancelled canceled none off rejected stopped terminated")
_ON_WHEN_TRUE = _set("active allow allowed can enable enabled on open")
_LIMIT = _set("allowance budget cap capacity limit max maximum quota rate threshold")
_COUNTER = _set("count counter counts hits usage used views")


def words_of(name: str) -> list[str]:
    """The words of a name, in lower case: `smtpPass`, `SMTP_PASS` and `smtp_pass` are smtp and pass."""
    return [word.lower() for word in _WORD.findall(name)]


def looks_secret(name: str) -> bool:
    """Whether the name is one that secrets go by: a password, a token, a hash, a key to something."""
    words = words_of(name)
    if _SECRET.intersection(words) or "apikey" in words:
        return True
    return any(last in ("key", "keys") and first in _KEYS for first, last in pairwise(words))


def off_value(name: str) -> bool | None:
    """The value with which a boolean of this name switches something off; None where the name does not tell."""
    words = words_of(name)
    if _OFF_WHEN_TRUE.intersection(words):
        return True
    return False if _ON_WHEN_TRUE.intersection(words) or words[:1] == ["is"] else None


def killed_values(values: Iterable[str]) -> Sequence[str]:
    """Those of an enum's values that switch something off."""
    return [value for value in values if _OFF_VALUES.intersection(words_of(value))]


def looks_like_a_limit(name: str) -> bool:
    """Whether lowering a number of this name takes something away from somebody."""
    return bool(_LIMIT.intersection(words_of(name)))


def looks_like_a_counter(name: str) -> bool:
    """Whether the application counts in it: nobody else should write it."""
    return bool(_COUNTER.intersection(words_of(name)))
