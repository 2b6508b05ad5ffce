"""psycopg, imported without what it imports and nothing here uses: a third of its import.

Import it before any other module of psycopg; gives `psycopg`. What is left out (`lean_import`):

- asyncio, for its asynchronous half. (BullMQ's client imports it for itself.)
- importlib.metadata, which it asks for two version numbers.
- ctypes, with which it looks for libpq where its binary package is not installed.
- ssl, which sets up callbacks of OpenSSL before 1.1; Python needs 1.1.1 since 3.10.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

from reconciler.lean_import import StandIn, import_lean

__all__ = ["psycopg"]


class _Versions(ModuleType):
    """Stands in for importlib.metadata, and knows the version of what is installed by its directory's name."""

    PackageNotFoundError = ModuleNotFoundError

    @staticmethod
    def version(distribution: str) -> str:
        """As `importlib.metadata.version`. Raises PackageNotFoundError."""
        prefix = distribution.replace("-", "_") + "-"
        for folder in sys.path:
            for found in Path(folder).glob(f"{prefix}*.dist-info"):
                return found.name.removeprefix(prefix).removesuffix(".dist-info")
        raise ModuleNotFoundError(distribution)


def _load() -> None:
    import psycopg  # noqa: F401


import_lean(
    "psycopg",
    _load,
    StandIn("asyncio"),
    _Versions("importlib.metadata"),
    ModuleType("ctypes"),
    ModuleType("ctypes.util"),
    ModuleType("ssl"),
)

import psycopg  # noqa: E402  it is there by now
