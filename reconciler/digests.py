"""Python's own hash functions, without those that hashlib imports with them: OpenSSL's, which take 3 ms to load and are
no faster for short data, and a dozen others.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

__all__ = ["blake2b", "sha256"]


class Hash(Protocol):
    """What is known of the data so far."""

    def update(self, data: bytes, /) -> None:
        """Take more data."""

    def digest(self) -> bytes:
        """The digest as bytes."""

    def hexdigest(self) -> str:
        """The digest as text."""


def _first(name: str, *modules: str) -> Any:
    """The function of the first of the modules that this Python has."""
    for module in modules:
        try:
            return getattr(import_module(module), name)
        except ImportError:
            continue
    raise ImportError(name)


# The first are where hashlib has them from.
blake2b: Callable[..., Hash] = _first("blake2b", "_blake2", "hashlib")
sha256: Callable[[bytes], Hash] = _first("sha256", "_sha2", "_sha256", "hashlib")
