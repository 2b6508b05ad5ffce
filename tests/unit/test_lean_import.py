"""What is left out of a library's import is left out, comes back when it is asked for, and is no condition."""

from __future__ import annotations

import subprocess
import sys

import pytest

NOT_FOR_ONE_SWITCH = (
    *("asyncio", "concurrent.futures", "ctypes", "email", "importlib.metadata", "ssl", "_hashlib"),
    *("yaml.constructor", "yaml.reader", "yaml.resolver", "redis", "bullmq", "httpx", "http.client"),
)
"""What a process that flips one switch must not import: together more than the rest of its start."""


def printed_by(program: str) -> str:
    """What a fresh interpreter prints: here, pytest has imported everything already."""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_an_apply_imports_nothing_that_it_does_not_use() -> None:
    program = f"""
import sys
already = set(sys.modules)
import reconciler.cli.app, reconciler.cli.run, reconciler.pipeline, reconciler.cli.database, reconciler.report
print(sorted((set(sys.modules) - already) & set({NOT_FOR_ONE_SWITCH!r})))
"""
    assert printed_by(program) == "[]"


def test_what_was_left_out_can_be_imported_afterwards() -> None:
    program = """
import reconciler.connection, reconciler.documents
import asyncio, ctypes.util, importlib.metadata, ssl, hashlib, hmac
from yaml.loader import SafeLoader
import yaml, yaml.emitter
assert asyncio.run(asyncio.sleep(0, "done")) == "done"
assert ssl.create_default_context() and ctypes.util.find_library("c")
assert hmac.new(b"key", b"data", hashlib.sha256).hexdigest().startswith("5031fe3d")
assert yaml.load("[1, x]", SafeLoader) == [1, "x"]
import psycopg
assert psycopg.__version__ == importlib.metadata.version("psycopg")
import redis.asyncio
print("all there")
"""
    assert printed_by(program) == "all there"


NO_STAND_IN = """
import reconciler.lean_import
def has_nothing(self, name):
    raise AttributeError(name)
reconciler.lean_import.StandIn.__getattr__ = has_nothing
"""
LATE = """
import sys
class Late:
    refused = False
    def find_spec(self, name, *_):
        if name == "psycopg.postgres" and not self.refused:
            self.refused = True
            raise KeyError(name)
sys.meta_path.insert(0, Late())
"""


@pytest.mark.parametrize("trouble", [NO_STAND_IN, LATE], ids=["asks for more", "fails in the middle"])
def test_a_library_that_can_not_do_without_is_imported_as_ever(trouble: str) -> None:
    program = f"""{trouble}
from reconciler.driver import psycopg
import sys
from psycopg.errors import CancelledError
print(psycopg.pq.__impl__, "asyncio" in sys.modules, CancelledError.__module__)
"""
    assert printed_by(program).split() == ["binary", "True", "asyncio.exceptions"]


def test_pyyaml_without_its_loaders_reads_by_libyaml() -> None:
    program = "from reconciler.yaml_events import *; print(HAS_LIBYAML, EventParser.__name__)"
    assert printed_by(program) == "True CParser"


def test_what_was_left_out_says_so_where_somebody_calls_it() -> None:
    program = """
import reconciler.connection
from psycopg import waiting
try:
    waiting.get_running_loop()
except RuntimeError as error:
    print(error)
"""
    assert "was left out" in printed_by(program)
