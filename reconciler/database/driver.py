"""psycopg, imported without what it imports and nothing here uses: two thirds of its import.

Import it before any other module of psycopg; gives `psycopg`. What is left out (`lean_import`):

- its asynchronous half, and asyncio (BullMQ's client imports that for itself);
- the adapters of types that no statement here gives or takes: ranges, composite types, network addresses, numpy's;
- importlib.metadata, which it asks for two version numbers;
- ctypes, with which it looks for libpq where its binary package is not installed;
- ssl, which sets up callbacks of OpenSSL before 1.1; Python needs 1.1.1 since 3.10;
- typing_extensions, for a type variable's default, which only a type checker looks at;
- queue, for a way of writing COPY that is not the one it uses.

What is imported when it is needed: logging, json, zoneinfo, socket, random, ipaddress and base64; and its regular
expressions, most of which read dates, are compiled then.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any, TypeVar

from reconciler.lean_import import AbsentClass, Later, StandIn, import_lean, later, patterns_later

__all__ = ["psycopg"]


class _Versions(ModuleType):
    """Stands in for importlib.metadata, and knows the version of what is installed by its directory's name."""

    PackageNotFoundError = ModuleNotFoundError

    @staticmethod
    def version(distribution: str) -> str:
        """As `importlib.metadata.version`. Raises PackageNotFoundError."""
        prefix, suffix = distribution.replace("-", "_") + "-", ".dist-info"
        for folder in reversed(sys.path):  # the standard library's, of many files, is among the first
            with suppress(OSError):
                for name in os.listdir(folder):  # noqa: PTH208  a hundred Paths, for two of them
                    if name.startswith(prefix) and name.endswith(suffix):
                        return name.removeprefix(prefix).removesuffix(suffix)
        raise ModuleNotFoundError(distribution)


class _Logger:
    """A logger of psycopg's, made when it has something to say."""

    level = -1
    """It is set: psycopg itself wants no less than warnings."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        import logging

        logger = logging.getLogger(self._name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.WARNING)
        return getattr(logger, name)


def _type_variable(name: str, *constraints: type, default: object = None, **named: Any) -> TypeVar:
    """A TypeVar without its default."""
    return TypeVar(name, *constraints, **named)


def _type_info(name: str, oid: int, array_oid: int, **_of_ranges: object) -> object:
    """A range's entry in psycopg's list of types, as if it were any type."""
    from psycopg.types import TypeInfo

    return TypeInfo(name, oid, array_oid)


def _without_adapters(module: str, **names: object) -> StandIn:
    return StandIn(f"psycopg.types.{module}", register_default_adapters=lambda _context: None, **names)


def _load() -> None:
    import psycopg  # noqa: F401


_FOR_DATACLASSES: dict[str, Callable[[type], Any]] = {
    "signature": lambda _class: "()",  # it stands in what is written about a class that says nothing itself
    "get_annotations": lambda of_class: vars(of_class).get("__annotations__", {}),  # since Python 3.12
}
_INSPECT = Later("inspect", **_FOR_DATACLASSES)
"""Enough for psycopg's dataclasses; afterwards it is what it says."""

import_lean("dataclasses", lambda: __import__("dataclasses"), _INSPECT, patterns_later())
import_lean(
    "psycopg",
    _load,
    StandIn("asyncio"),
    StandIn("psycopg.cursor_async", AsyncCursor=AbsentClass),
    StandIn("psycopg._server_cursor_async", AsyncServerCursor=AbsentClass),
    *map(StandIn, (f"psycopg.{name}_async" for name in ("connection", "_pipeline", "_copy", "_conninfo_attempts"))),
    _without_adapters("range", RangeInfo=_type_info),
    _without_adapters("multirange", MultirangeInfo=_type_info),
    *map(_without_adapters, ("composite", "net", "numpy")),
    _Versions("importlib.metadata"),
    ModuleType("ctypes"),
    ModuleType("ctypes.util"),
    ModuleType("ssl"),
    StandIn("typing_extensions", TypeVar=_type_variable),
    StandIn("queue", Queue=AbsentClass),
    StandIn("logging", getLogger=_Logger, NOTSET=0, WARNING=30),
    StandIn("json", dumps=later("json", "dumps"), loads=later("json", "loads")),
    StandIn("zoneinfo", ZoneInfo=later("zoneinfo", "ZoneInfo")),
    StandIn("base64", b64encode=later("base64", "b64encode"), b64decode=later("base64", "b64decode")),
    StandIn("random", shuffle=later("random", "shuffle")),
    StandIn("ipaddress", ip_address=later("ipaddress", "ip_address")),
    Later("socket"),
    patterns_later(),
)
for name in _FOR_DATACLASSES:
    vars(_INSPECT).pop(name, None)

import psycopg  # noqa: E402  it is there by now
