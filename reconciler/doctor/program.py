"""The program itself: its version, Python's, and those of the libraries whose version makes a difference.

Takes the Definitions, where they could be read; gives Findings. Nothing is waited for.
"""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import psycopg
import yaml

from reconciler import __version__
from reconciler.doctor.findings import Finding, ok, warning
from reconciler.schema import Definitions
from reconciler.yaml_events import HAS_LIBYAML

PART = "program"


def look_at_program(definitions: Definitions | None) -> list[Finding]:
    """Versions, the YAML parser, and BullMQ's library where an effect needs it."""
    return list(_look(definitions))


def _look(definitions: Definitions | None) -> Iterator[Finding]:
    yield ok(PART, "reconcile", f"reconcile {__version__} on Python {platform.python_version()}, {platform.system()}")
    libpq = psycopg.pq.version_pretty(psycopg.pq.version())
    yield ok(PART, "libraries", f"psycopg {psycopg.__version__} with libpq {libpq}, redis {_version('redis')}")
    yield _yaml_parser()
    if definitions is not None and any(
        effect.bullmq is not None
        for table in definitions.tables.values()
        for field in table.fields.values()
        for effect in field.effects
    ):
        yield _bullmq()


def _yaml_parser() -> Finding:
    if HAS_LIBYAML:
        return ok(PART, "YAML parser", f"PyYAML {yaml.__version__} with libyaml")
    text = f"PyYAML {yaml.__version__} without libyaml: the parser in its place reads the same, some fifty times slower"
    return warning(PART, "YAML parser", text, "install PyYAML from a wheel that has libyaml")


def _bullmq() -> Finding:
    if importlib.util.find_spec("bullmq") is None:
        text = "an effect is a BullMQ job, and the package that writes jobs is not installed: they wait in the outbox"
        return warning(PART, "bullmq", text, "install it", "pip install 'reconcile[bullmq]'")
    return ok(PART, "bullmq", f"bullmq {_version('bullmq')}")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(version unknown)"
