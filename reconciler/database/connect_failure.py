"""Tells the ways apart in which a connection can fail to come about.

Takes what libpq or the server said (at this stage there is no SQLSTATE: libpq keeps it to itself). Gives a Failure: one
clause for the user in words of our own, what to do, and whether waiting can cure it. A wrong password or an unknown
database fails at once even under --wait; a server that starts up, or that has no connection free, is worth waiting for.

A server set to speak another language than English is matched by nothing here: its own words are shown, without the
password, and waiting goes on.
"""

from __future__ import annotations

import re

import msgspec

from reconciler.database.address import DatabaseAddress, Host

__all__ = ["Failure", "explain", "no_answer", "not_resolved"]


class Failure(msgspec.Struct, frozen=True):
    """`reason` is a clause without a capital or a full stop, `advice` a sentence or nothing.

    `curable`: time may help, and so may another address. `other_host`: only another host of the same address may.
    """

    reason: str
    advice: str = ""
    curable: bool = True
    other_host: bool = False


_LONGEST = 200
_TLS = "Correct sslmode and the other ssl parameters of the address."
_REACH = "Check the host and the port, and that a firewall or a paused project is not in the way."

# The first that is found in the text counts. {user}, {dbname} and {host} are filled in from the address.
_KNOWN: tuple[tuple[str, Failure], ...] = (
    (
        r"no password supplied",
        Failure('the server asks for a password of user "{user}", and the address has none', curable=False),
    ),
    (
        r"password authentication failed|SASL authentication failed|SCRAM authentication failed|wrong password"
        r"|empty password|Invalid format for user or db_name",
        Failure(
            'the password for user "{user}" was refused',
            "Check user and password; characters such as % @ / must be percent-encoded in a URL.",
            curable=False,
        ),
    ),
    (
        r"Tenant or user not found|no such user|role .* does not exist",
        Failure('there is no user "{user}"', "Check the user; a pooler often wants the project in it.", curable=False),
    ),
    (r"is not permitted to log in", Failure('user "{user}" is not allowed to log in', curable=False)),
    (
        r"database .* does not exist|no such database",
        Failure('there is no database "{dbname}"', "Check the name behind the last / of the address.", curable=False),
    ),
    (
        r"permission denied for database|database .* is disabled|not currently accepting connections",
        Failure('database "{dbname}" accepts no connection of user "{user}"', curable=False),
    ),
    (
        r"\A(?!.*SSL encryption).*no encryption|SSL off|SSL required|SSL connection is required|TLS required",
        Failure("the server wants TLS", "Add sslmode=require to the address.", curable=False),
    ),
    (
        r"no pg_hba.conf entry|pg_hba.conf rejects|login rejected",
        Failure("the server's access rules refuse this user, database or machine: {text}", curable=False),
    ),
    (
        r"does not support SSL|SSL support is not compiled in",
        Failure("TLS is asked for, and one of the two sides has none", _TLS, curable=False),
    ),
    (
        r"certificate|does not match host name|SSL error|root\.crt|private key file|tlsv1|alert",
        Failure("TLS could not be agreed on: {text}", _TLS, curable=False),
    ),
    (
        r"unsupported startup parameter",
        Failure("the pooler refuses a parameter: {text}", "Take it out of the address.", curable=False),
    ),
    (
        r"invalid response to SSL negotiation|expected authentication request|invalid (message|length)"
        r"|unsupported protocol|unsupported frontend",
        Failure("what listens there does not speak PostgreSQL's protocol", "Check the port.", curable=False),
    ),
    (
        r"invalid [^\n]* value|invalid connection option|could not match|requires? .*sslmode|weak sslmode",
        Failure("libpq refuses the address: {text}", "Correct its parameters.", curable=False),
    ),
    (
        r"session is read-only|session is not read-only|hot standby mode|server is not in hot standby",
        Failure("the server is not of the kind that target_session_attrs asks for", other_host=True),
    ),
    (
        r"too many clients|connection slots are reserved|no more connections allowed|max_client_conn"
        r"|too many connections|max client|max clients|MaxClients",
        Failure("no connection is free: {text}", "Close idle clients or raise the limit."),
    ),
    (
        r"starting up|not yet accepting connections|recovery mode|not accepting connections",
        Failure("the server is starting up"),
    ),
    (r"shutting down|administrator command|57P0[123]", Failure("the server is shutting down")),
    (
        r"cannot connect to server|server login has been failing|server login failed|query_wait_timeout"
        r"|server conn crashed|server_login_retry|no working server connection|Connection to database not available",
        Failure("the pooler answers, but does not reach its database"),
    ),
    (r"Connection refused", Failure("{host} refuses the connection: nothing listens there", _REACH)),
    (
        r"Network is unreachable|Cannot assign requested address|Address family not supported",
        Failure("no network leads to {host}", _REACH),
    ),
    (r"No route to host|Host is down", Failure("no route leads to {host}", _REACH)),
    (r"No such file or directory", Failure("there is no socket {host}", "Check that the server runs.")),
    (r"Permission denied", Failure("this user may not open {host}")),
    (r"timeout expired|timed out", Failure("{host} did not answer", _REACH)),
    (
        r"closed the connection unexpectedly|reset by peer|Broken pipe|SSL SYSCALL",
        Failure("{host} closed the connection before it was made", _REACH),
    ),
)


def explain(text: str, address: DatabaseAddress, host: Host | None) -> Failure:
    """The Failure that libpq's `text` means for this host (None: libpq's default) of this address."""
    place = str(host) if host else "the default host"
    quoted = _one_line(address.redact(text))
    for pattern, failure in _KNOWN:
        if re.search(pattern, text, re.IGNORECASE | re.DOTALL):
            reason = failure.reason.format(
                user=address.user, dbname=address.dbname or address.user, host=place, text=quoted
            )
            advice = failure.advice
            if "unreachable" in text and host and ":" in (host.address or host.name):
                advice = "The address is IPv6, which this machine has not: use the pooler's, or one that has IPv4."
            return msgspec.structs.replace(failure, reason=reason, advice=advice)
    return Failure(f"{place} said: {quoted}")


def no_answer(host: Host | None, seconds: float) -> Failure:
    """Nothing, or not enough, came within the time."""
    return Failure(f"{host or 'the default host'} did not answer within {seconds:.2g} s", _REACH)


def not_resolved(host: Host, why: str) -> Failure:
    """The name leads to no address."""
    return Failure(f'the name "{host.name}" cannot be resolved ({why})', "Check the host's name and the network.")


def _one_line(text: str) -> str:
    """What was said of the last attempt, without libpq's preamble and the server's severity, and not too long.

    libpq reports a second attempt, without TLS, in a second line; lines below these are hints.
    """
    lines = [line for line in text.splitlines() if line.strip()] or ["nothing"]
    last = next((line for line in reversed(lines) if line.startswith("connection to server ")), lines[0])
    last = re.sub(r"^connection to server .*? failed: ", "", last)
    last = re.sub(r"^(?:FATAL|ERROR|PANIC):\s+", "", last).strip(" .")
    return last if len(last) <= _LONGEST else last[: _LONGEST - 1] + "…"
