"""What is left out of a library's import is left out, comes back when it is asked for, and is no condition."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.postgres import Database

NOT_FOR_ONE_SWITCH = (
    *("asyncio", "concurrent.futures", "ctypes", "email", "importlib.metadata", "ssl", "_hashlib"),
    *("yaml.constructor", "yaml.reader", "yaml.resolver", "redis", "bullmq", "httpx", "http.client"),
    *("inspect", "logging", "json", "zoneinfo", "socket", "ipaddress", "platform", "locale", "gettext", "textwrap"),
    *("typing_extensions", "hashlib", "queue", "random", "bz2", "lzma", "msgspec.inspect"),
    *("psycopg.connection_async", "psycopg.cursor_async", "psycopg.types.range", "psycopg.types.net"),
)
"""What a process that flips one switch must not import: together more than the rest of its start."""


def printed_by(program: str, **environment: str) -> str:
    """What a fresh interpreter prints: here, pytest has imported everything already."""
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_an_apply_imports_nothing_that_it_does_not_use() -> None:
    program = f"""
import sys
already = set(sys.modules)
import reconciler.libraries
import reconciler.cli.app, reconciler.cli.run, reconciler.pipeline, reconciler.cli.database, reconciler.report
print(sorted((set(sys.modules) - already) & set({NOT_FOR_ONE_SWITCH!r})))
"""
    assert printed_by(program) == "[]"


def test_what_was_left_out_can_be_imported_afterwards() -> None:
    program = """
import reconciler.database.connection, reconciler.documents
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
from reconciler.database.driver import psycopg
import sys
from psycopg.errors import CancelledError
print(psycopg.pq.__impl__, "asyncio" in sys.modules, CancelledError.__module__)
"""
    assert printed_by(program).split() == ["binary", "True", "asyncio.exceptions"]


def test_pyyaml_without_its_loaders_reads_by_libyaml() -> None:
    program = "from reconciler.yaml_events import *; print(HAS_LIBYAML, EventParser.__name__)"
    assert printed_by(program) == "True CParser"


def test_what_is_needed_after_all_is_imported_then() -> None:
    program = """
import reconciler.libraries
import reconciler.database.connection
import click, msgspec, psycopg, subprocess, urllib.parse, uuid
from click.testing import CliRunner

@click.command()
@click.option("--number", type=int)
def command(number):
    click.echo(number)

def said(*arguments):
    return CliRunner().invoke(command, arguments).output

assert click.Option(["--number"], help="Two\\n\\n        lines").help == "Two\\n\\nlines"
assert click.Option(["--number"], help=" One").help == "One"
assert "is not a valid integer" in said("--number", "one"), said("--number", "one")
assert msgspec.json.schema(list[int]) == {"type": "array", "items": {"type": "integer"}}
assert msgspec.inspect.type_info(int) == msgspec.inspect.IntType()
assert urllib.parse.urlsplit("http://[::1]/").hostname == "::1"
assert uuid.uuid1().version == 1
assert subprocess.run(["echo", "text"], capture_output=True, text=True).stdout == "text\\n"
from psycopg import pq
from psycopg.types.json import Json
from psycopg.types.range import Range
import psycopg.adapt
adapter = psycopg.adapt.Transformer()
assert adapter.get_dumper(Json([1]), psycopg.adapt.PyFormat.TEXT).dump(Json([1])) == b"[1]"
assert psycopg._tz.get_tzinfo(None).utcoffset(None).total_seconds() == 0
assert psycopg._tz.ZoneInfo("Europe/Berlin").key == "Europe/Berlin"
assert psycopg.Xid.from_string("1_Zw==_Yg==").gtrid == "g"
assert psycopg.pq.misc.strip_severity("ERROR:  that") == "that"
import logging
psycopg.connection.logger.warning("heard")
assert logging.getLogger("psycopg").level == logging.WARNING
print("all there")
"""
    assert printed_by(program) == "all there"


def test_what_psycopg_gives_is_what_it_gives_without_all_this(database: Database) -> None:
    of_types = """
import datetime, decimal, json, os, uuid
SQL = '''
    SELECT 1, 2::int8, 1.50, 2.5::float8, true, 'text', NULL, ARRAY[1, 2], ARRAY['a', NULL], '{"a": [1]}'::jsonb,
           DATE '2026-02-03', TIME '04:05:06.7', TIMESTAMP '2026-02-03 04:05:06', TIMESTAMPTZ '2026-02-03 04:05:06+07',
           INTERVAL '1 year 2 days 03:04:05.6', '\\\\xbeef'::bytea,
           '00000000-0000-0000-0000-000000000001'::uuid, %s::text[], %s::jsonb, %s::numeric, %s::timestamptz, %s::uuid
'''
from psycopg.types.json import Jsonb
now = datetime.datetime(2026, 2, 3, 4, 5, 6, 7, tzinfo=datetime.UTC)
row = psycopg.connect(os.environ["URL"], options="-c timezone=Europe/Berlin").execute(
    SQL, [["a", 'b"'], Jsonb({"b": 1}), decimal.Decimal("1.10"), now, uuid.UUID(int=5)]
).fetchone()
print(row)
"""
    imported = "import reconciler.libraries\nfrom reconciler.database.driver import psycopg\n"
    lean = printed_by(imported + of_types, URL=database.url)
    assert lean == printed_by("import psycopg\n" + of_types, URL=database.url)
    assert "datetime.timedelta(days=367" in lean


def test_what_was_left_out_says_so_where_somebody_calls_it() -> None:
    program = """
import reconciler.database.connection
from psycopg import waiting
try:
    waiting.get_running_loop()
except RuntimeError as error:
    print(error)
"""
    assert "was left out" in printed_by(program)
