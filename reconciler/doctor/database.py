"""The database as this machine reaches it: through a pooler or not, with TLS or not, which server, whose clock.

Takes the doors that were tried and a connection; gives Findings. Reads only, in a READ ONLY transaction, and proves it
by what the server says of that transaction.

A pooler is known by its welcome: it gives each client a process number of its own invention, and the process that then
answers has another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from ipaddress import ip_address

from psycopg.rows import TupleRow

from reconciler.database.address import DatabaseAddress
from reconciler.database.connection import DatabaseConnection, NotConnected, connect
from reconciler.database.transaction import begin_read_only
from reconciler.doctor.findings import Finding, Purpose, not_seen, note, ok, warning, wrong
from reconciler.errors import Unreachable, UsageProblem
from reconciler.runbook.database_probe import Door, Doors

PART = "database"
APPLICATION_NAME = "reconcile-doctor"
_OLDEST_SERVER = 14
_SKEW_S = 5.0
"""From here on a clock is wrong, and not merely asked over a slow line."""

LookAtDatabase = Callable[[DatabaseConnection], list[Finding]]


def about_doors(doors: Doors) -> list[Finding]:
    """Which of the two addresses answered, and what it means where one did not."""
    pooled, direct = doors.pooled, doors.direct
    if doors.connection is None:
        if pooled.address is None:
            advice = "set it to postgresql://user:password@host:port/database"
            return [wrong(PART, "connection", UsageProblem.exit_code, doors.sentence, advice)]
        advice = "`reconcile --wait 10m` goes on trying until it answers"
        return [wrong(PART, "connection", Unreachable.exit_code, doors.sentence, advice)]
    found = []
    if not pooled.answered:
        found.append(warning(PART, pooled.variable, doors.sentence, "DIRECT_URL is used until it answers"))
    if direct is not None and not direct.answered:
        text = f"{direct.variable} does not answer: {direct.reason}"
        found.append(warning(PART, direct.variable, text, "without it, a pooler that is down stops every run"))
    return found


def look_at_server(door: Door, purpose: Purpose) -> LookAtDatabase:
    """The server, the line to it and its clock, over the connection through `door`."""

    def look(connection: DatabaseConnection) -> list[Finding]:
        return list(_look(connection, door, purpose))

    return look


def _look(connection: DatabaseConnection, door: Door, purpose: Purpose) -> Iterator[Finding]:
    with begin_read_only(connection, doing="looking at the server"):
        asked = datetime.now(UTC)
        row = connection.execute(
            """
            SELECT clock_timestamp(), pg_backend_pid(), current_setting('server_version'),
                   current_setting('server_version_num')::int, current_database(), current_user,
                   current_setting('transaction_read_only')
            """
        ).fetchone()
        answered = datetime.now(UTC)
    assert row is not None
    clock, process, version, number, database, role, read_only = row
    yield ok(PART, door.variable, f"{door.address} answers in {door.milliseconds:.0f} ms, as role {role}")
    yield _way(connection, process, door)
    yield from _encryption(connection)
    if number // 10_000 < _OLDEST_SERVER:
        text = f"PostgreSQL {version}: older than {_OLDEST_SERVER}, the oldest that is tested"
        yield warning(PART, "server", text, "upgrade it")
    else:
        yield ok(PART, "server", f"PostgreSQL {version}, database {database}")
    if connection.is_replica:
        yield _replica(purpose)
    yield about_clock(clock, asked, answered)
    if read_only == "on":
        yield ok(PART, "this examination", "only reads: the server says of its transactions that they are READ ONLY")
    else:
        yield not_seen(PART, "this examination", f"the server says transaction_read_only = {read_only}")


def _way(connection: DatabaseConnection, process: int, door: Door) -> Finding:
    if connection.pgconn.backend_pid == process:
        return ok(PART, "way", f"{door.variable} leads to the server itself")
    return ok(PART, "way", f"{door.variable} leads through a pooler, which is fine for every command")


def _encryption(connection: DatabaseConnection) -> Iterator[Finding]:
    if connection.pgconn.ssl_in_use:
        mode = connection.address.parameters.get("sslmode", "prefer")
        if mode in ("verify-ca", "verify-full"):
            yield ok(PART, "TLS", f"in use, and the server's certificate is checked (sslmode={mode})")
        else:
            advice = "sslmode=verify-full, with sslrootcert"
            yield note(PART, "TLS", f"in use; whose certificate it is is not checked (sslmode={mode})", advice)
    elif _is_here(connection.address):
        yield ok(PART, "TLS", "not in use, and not needed: the server is on this machine")
    else:
        text = "not in use: the password and all data can be read on the way"
        yield warning(PART, "TLS", text, "add sslmode=require (or verify-full) to the address")


def _is_here(address: DatabaseAddress) -> bool:
    return all(host.is_socket or is_this_machine(host.address or host.name) for host in address.hosts)


def is_this_machine(host: str) -> bool:
    """Whether the name or address is this machine's own."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _replica(purpose: Purpose) -> Finding:
    text = "this server is a replica: it can be planned against, not applied to"
    if purpose == "plan":
        return note(PART, "replica", text)
    return wrong(PART, "replica", Unreachable.exit_code, text, "give the primary's address")


def about_clock(clock: datetime, asked: datetime, answered: datetime) -> Finding:
    """Where the question took long, so much is not known of the difference."""
    unsure = (answered - asked).total_seconds() / 2
    skew = (clock - asked).total_seconds() - unsure
    if abs(skew) - unsure <= _SKEW_S:
        return ok(PART, "clock", f"this machine and the database differ by {abs(skew):.1f} s")
    side = "behind" if skew > 0 else "ahead of"
    text = f"this machine is {abs(skew):,.0f} s {side} the database, whose clock counts for `until` and cooldowns"
    advice = "let both follow a time server; the signatures of webhooks carry this machine's time"
    return warning(PART, "clock", text, advice)


_IDENTITY = """
    SELECT pg_backend_pid(), pg_postmaster_start_time(),
           (SELECT oid FROM pg_database WHERE datname = current_database())
"""
"""But for the process, the same for two connections that lead to the same database."""


def look_at_direct(address: DatabaseAddress, deadline_s: float) -> LookAtDatabase:
    """Whether DIRECT_URL, which answers, leads around the pooler, and to the same database."""

    def look(connection: DatabaseConnection) -> list[Finding]:
        with begin_read_only(connection, doing="asking which database this is"):
            first = connection.execute(_IDENTITY).fetchone()
        try:
            other = connect(
                address,
                connect_timeout_s=deadline_s,
                statement_timeout_ms=int(deadline_s * 1000),
                application_name=APPLICATION_NAME,
            )
        except NotConnected as failed:
            return [not_seen(PART, address.variable, failed.clause)]
        with other:
            welcomed_by = other.pgconn.backend_pid
            with begin_read_only(other, doing="asking which database this is, the other way"):
                second = other.execute(_IDENTITY).fetchone()
        assert first is not None
        assert second is not None
        return [_compared(first, second, address, pooled=welcomed_by != second[0])]

    return look


def _compared(first: TupleRow, second: TupleRow, address: DatabaseAddress, *, pooled: bool) -> Finding:
    if first[1:] != second[1:]:
        text = f"{address.safe} leads to another database than DATABASE_URL, and would be used where that is down"
        return warning(PART, address.variable, text, "give the address of the same database, without the pooler")
    if pooled:
        advice = "give the server's own address: it is there for when the pooler is down"
        return warning(PART, address.variable, f"{address.safe} leads through a pooler, too", advice)
    return ok(PART, address.variable, f"{address.safe} leads to the server itself, should the pooler be down")
