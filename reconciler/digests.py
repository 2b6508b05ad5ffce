"""Python's own hash functions, imported without OpenSSL's, which take 3 ms to load and are no faster for short data."""

from __future__ import annotations

from reconciler.lean_import import import_lean

__all__ = ["blake2b", "sha256"]


def _load() -> None:
    import hashlib  # noqa: F401


import_lean("hashlib", _load, without=["_hashlib"])

from hashlib import blake2b, sha256  # noqa: E402  it is there by now
