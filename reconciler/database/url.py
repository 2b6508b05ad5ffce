"""Reads a database address as people have it: what stands in DATABASE_URL or DIRECT_URL becomes a DatabaseAddress.

Takes the text of the variable: a postgres:// or postgresql:// URL, also with a driver's name in it (SQLAlchemy) or
with Prisma's parameters, or libpq's key=value form. Gives hosts, user, database, the parameters that libpq knows, and
notes about everything that was dropped or guessed. Raises UsageProblem where the text cannot be understood.

It is here, and not left to libpq, for three reasons: libpq refuses a URL that has a parameter it does not know; people
paste passwords unencoded; and libpq's own messages quote the text, password and all. No message here quotes any part of
what was given, names of parameters apart.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from urllib.parse import unquote

import msgspec
from psycopg import pq

from reconciler.database.address import DatabaseAddress, Host
from reconciler.errors import UsageProblem, nearest

__all__ = ["parse_database_url", "read_environment"]

_FORM = "postgresql://user:password@host:port/database"
_ENCODE = "in the password, the characters % @ / ? # : are written %25 %40 %2F %3F %23 %3A"

# Hosts are names, addresses, IPv6 addresses in brackets, or percent-encoded folders of Unix sockets.
_HOST = r"(?:\[[0-9A-Fa-f:.]+(?:%[\w.%-]+)?\]|[\w.~%-]*)(?::\d*)?"
_PLACE = re.compile(rf"(?P<hosts>{_HOST}(?:,{_HOST})*)(?:/(?P<dbname>[^/?#@]*))?(?:\?(?P<query>.*))?", re.DOTALL)
_SCHEME = re.compile(r"(?P<jdbc>jdbc:)?(?P<scheme>[A-Za-z][A-Za-z0-9.-]*)(?P<driver>\+[\w.-]+)?://", re.ASCII)
_PAIR = re.compile(r"\s*(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)*)(?=\s|$)", re.DOTALL)
_PASTED = re.compile(r"(?:export\s+)?[A-Z][A-Z0-9_]*\s*=\s*(?=\S)|psql\s+(?=\S)")
_PLACEHOLDER = re.compile(r"\[?<?your[-_ ]?(?:db[-_ ]?)?password>?\]?", re.IGNORECASE)

_PRISMA_ONLY = frozenset(
    {
        "connection_limit",
        "max_connection_lifetime",
        "max_idle_connection_lifetime",
        "pool_timeout",
        "single_use_connections",
        "socket_timeout",
        "statement_cache_size",
    }
)
_TRANSLATED = frozenset(
    {"connect_timeout", "currentSchema", "options", "pgbouncer", "schema", "ssl", "sslaccept", "sslidentity"}
)
_STRUCTURE = frozenset({"dbname", "host", "hostaddr", "password", "port", "user"})
_NEVER = {
    "client_encoding": "the connection always speaks UTF8",
    "replication": "a replication connection cannot run statements",
}
_SSLMODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_YES = frozenset({"1", "on", "t", "true", "yes"})


def read_environment(
    environment: Mapping[str, str] = os.environ, url: str = "DATABASE_URL", direct: str | None = "DIRECT_URL"
) -> tuple[DatabaseAddress, ...]:
    """The addresses to try, in order: DATABASE_URL, then DIRECT_URL, or variables of other names. At least one.

    A broken DIRECT_URL beside a sound DATABASE_URL is only a note: a fallback must not stop a kill switch.
    """
    database_url, direct_url = environment.get(url, ""), environment.get(direct, "") if direct else ""
    if not database_url.strip():
        if not direct_url.strip():
            raise UsageProblem(f"{url} is not set: set it to the database's address, {_FORM}")
        only = parse_database_url(direct_url, variable=str(direct))
        return (_noted(only, f"{url} is not set: {direct} is used"),)
    first = parse_database_url(database_url, variable=url)
    if not direct_url.strip() or direct_url.strip() == database_url.strip():
        return (first,)
    try:
        return (first, parse_database_url(direct_url, variable=str(direct)))
    except UsageProblem as problem:
        return (_noted(first, f"{direct} will not be tried: {problem}"),)


def parse_database_url(text: str, *, variable: str) -> DatabaseAddress:
    """Understand `text`, the value of the environment variable (or option) `variable`; UsageProblem if that fails."""
    reading = _Reading(variable)
    text = reading.unwrap(text)
    scheme = _SCHEME.match(text)
    if scheme:
        reading.check_scheme(scheme)
        return reading.url(text[scheme.end() :])
    if _PAIR.match(text):
        return reading.pairs(text)
    raise reading.problem(f'the value does not begin with "postgresql://": expected {_FORM}')


class _Reading:
    """One text on its way to an address; gathers the notes."""

    def __init__(self, variable: str) -> None:
        self.variable = variable
        self.notes: list[str] = []
        self.known = frozenset(option.keyword.decode() for option in pq.Conninfo.get_defaults())

    def problem(self, message: str) -> UsageProblem:
        return UsageProblem(f"{self.variable}: {message}")

    def note(self, message: str) -> None:
        self.notes.append(f"{self.variable}: {message}")

    def unwrap(self, text: str) -> str:
        """Take off what came along when the value was pasted: white space, quotes, the variable's name, `psql`."""
        bare = text.strip("\ufeff\u200b \t\r\n")
        if bare != text:
            self.note("white space around the value is ignored")
        if pasted := _PASTED.match(bare):
            self.note("the words before the address are ignored")
            bare = bare[pasted.end() :]
        if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "'\"`":
            self.note("quotes around the value are ignored")
            bare = bare[1:-1].strip()
        if not bare:
            raise self.problem(f"the value is empty: expected {_FORM}")
        if bare[0] in "'\"`":
            raise self.problem("the value begins with a quote that is not closed")
        if bare[0] == "$":
            raise self.problem("the value is the name of a variable that was not expanded")
        if re.search(r"[\x00-\x1f\x7f]", bare):
            raise self.problem("the value has a line break or another control character inside: it must be one line")
        return bare

    def check_scheme(self, found: re.Match[str]) -> None:
        name = found["scheme"].lower()
        if name == "prisma" or found["driver"] == "+postgres":
            raise self.problem("this is an address of Prisma Accelerate, not of a database: give the database's own")
        if name not in ("postgres", "postgresql"):
            raise self.problem(f'"{name}" is not PostgreSQL: expected {_FORM}')
        if found["jdbc"] or found["driver"]:
            self.note(f'"{found[0]}" is read as "postgresql://"')

    def url(self, rest: str) -> DatabaseAddress:
        """Everything behind `postgresql://`."""
        userinfo, place = self.split(rest)
        user, _, written = userinfo.partition(":")
        password, as_it_stands = _decoded(written)
        if as_it_stands:
            self.note("a % in the password begins no percent-encoding: the password is taken as it stands")
        elif re.search(r"[@/?#\s]", written):
            self.note(
                f"the password has characters that belong percent-encoded; it was understood all the same ({_ENCODE})"
            )
        parameters = {"user": _decoded(user)[0], "password": password, "dbname": _decoded(place["dbname"] or "")[0]}
        names, ports = [], []
        for part in (place["hosts"] or "").split(","):
            bracketed = re.fullmatch(r"\[(.*)\](?::(\d*))?", part)
            name, port = (bracketed[1], bracketed[2]) if bracketed else part.partition(":")[::2]
            names.append(_decoded(name)[0])
            ports.append(port or "")
        parameters |= {"host": ",".join(names), "port": ",".join(ports)}
        for key, value in _query(place["query"] or ""):
            parameters[key] = _decoded(value)[0]
        return self.address(parameters, written)

    def split(self, rest: str) -> tuple[str, re.Match[str]]:
        """Find the @ that ends user and password: the first one behind which a place follows, and nothing else.

        Where the text is as it should be that is the only one. Where an unencoded password holds an @, a / or a ?, what
        follows an earlier one is no place, because in a place the database's name holds none of these.
        """
        candidates = [-1, *(at.start() for at in re.finditer("@", rest))]
        for at in candidates:
            place = _PLACE.fullmatch(rest, at + 1)
            if place and self.is_query(place["query"] or ""):
                return rest[: max(at, 0)], place
        tail = rest[candidates[-1] + 1 :]
        if "[" in tail.partition("/")[0] or re.match(r"[0-9A-Fa-f]*:[0-9A-Fa-f]*:", tail):
            raise self.problem("the host is not readable: an IPv6 address stands in brackets, as in [::1]:5432")
        if re.match(r"[\w.-]+:[^/?]*[^\d/?]", tail):
            raise self.problem(
                f"the port, between the host and the database, is not a number: expected {_FORM}; {_ENCODE}"
            )
        raise self.problem(f"the value cannot be split into its parts: expected {_FORM}; {_ENCODE}")

    def is_query(self, query: str) -> bool:
        """Whether it is key=value&...; an @ in it must belong to a known key, else it is the end of a password."""
        recognised = self.known | _PRISMA_ONLY | _TRANSLATED
        return all(
            re.fullmatch(r"[A-Za-z_][\w.-]*", key) and ("@" not in value or key in recognised)
            for key, value in _query(query)
        )

    def pairs(self, text: str) -> DatabaseAddress:
        """libpq's own form, `host=... user=...`, values quoted where they hold blanks."""
        parameters: dict[str, str] = {}
        position = 0
        while position < len(text.rstrip()):
            pair = _PAIR.match(text, position)
            if not pair:
                raise self.problem(
                    "a word of the key=value form has no =, or a quote is not closed ('...' around blanks)"
                )
            value = pair[2][1:-1] if pair[2].startswith("'") else pair[2]
            parameters[pair[1]] = re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
            position = pair.end()
        return self.address(parameters, parameters.get("password", ""))

    def address(self, given: dict[str, str], password_as_written: str) -> DatabaseAddress:
        password = given.get("password", "")
        if _PLACEHOLDER.fullmatch(password):
            raise self.problem("the password is still the placeholder of the template: replace it, brackets included")
        if password.startswith("[") and password.endswith("]"):
            self.note("the password stands in square brackets, which are sent too; a template's brackets must go")
        timeout = self.seconds(given.get("connect_timeout", ""))
        path = [given.get("schema") or given.get("currentSchema") or ""]
        options = self.options(given.get("options", ""), path)
        parameters = self.parameters(given) | ({"options": options} if options else {})
        return DatabaseAddress(
            variable=self.variable,
            hosts=self.hosts(given),
            user=given.get("user", ""),
            password=password,
            dbname=given.get("dbname", ""),
            parameters=parameters,
            search_path=tuple(name.strip(' "') for name in path[-1].split(",") if name.strip(' "')),
            pooled=given.get("pgbouncer", "").lower() in _YES,
            connect_timeout_s=timeout,
            notes=tuple(self.notes),
            password_as_written=password_as_written,
        )

    def hosts(self, given: Mapping[str, str]) -> tuple[Host, ...]:
        """Hosts, their addresses and ports are three lists of equal length; one port serves all hosts."""
        names, addresses = given.get("host", "").split(","), given.get("hostaddr", "").split(",")
        ports = given.get("port", "").split(",")
        count = max(len(names), len(addresses))
        if names == addresses == [""]:
            return ()
        if any(not name for name in (names if addresses == [""] else addresses)):
            raise self.problem("one of the hosts has no name")
        columns = [column * count if len(column) == 1 else column for column in (names, addresses, ports)]
        if any(len(column) != count for column in columns):
            raise self.problem("hosts, their addresses and their ports are lists of different lengths")
        return tuple(Host(name, self.port(port), address) for name, address, port in zip(*columns, strict=True))

    def port(self, text: str) -> int:
        number = int(text or 5432) if re.fullmatch(r"\d{0,9}", text, re.ASCII) else 0
        if not 0 < number < 65536:
            raise self.problem("the port is not a number from 1 to 65535")
        return number

    def seconds(self, text: str) -> float | None:
        """connect_timeout: both libpq and Prisma mean seconds, and no limit by 0; the command's own limit stays."""
        try:
            return max(float(text), 0.0) or None if text else None
        except ValueError:
            self.note("connect_timeout is not a number of seconds and is ignored")
            return None

    def options(self, text: str, path: list[str]) -> str:
        """A pooler refuses settings in `options`; what a host's router reads there (endpoint=...) goes through."""
        if not re.search(r"(?:^|\s)-", text):
            return text
        path += re.findall(r"(?:-c\s*|--)search_path=(\S+)", text)
        self.note("options with settings (-c ...) are not sent, because poolers refuse them; a search_path is honoured")
        return ""

    def parameters(self, given: Mapping[str, str]) -> dict[str, str]:
        """Those that libpq is to have. What is dropped is noted, and nothing that protects is dropped in silence."""
        no_host = not given.get("host") and not given.get("hostaddr")
        kept = {"port": str(self.port(given["port"]))} if no_host and given.get("port") else {}
        ignored = sorted(_PRISMA_ONLY & given.keys())
        if ignored:
            self.note(f"ignored, because only Prisma knows them: {', '.join(ignored)}")
        for key in sorted(given.keys() - _STRUCTURE - _PRISMA_ONLY - _TRANSLATED):
            if key in _NEVER:
                self.note(f"{key} is ignored: {_NEVER[key]}")
            elif key in self.known:
                kept[key] = given[key]
            elif key.lower().startswith("ssl"):
                hint = nearest(key.lower(), self.known)
                raise self.problem(
                    f'"{key}" is no TLS parameter of libpq, and ignoring it could lower security; {hint}'
                )
            else:
                hint = nearest(key, self.known | _TRANSLATED)
                self.note(f'the unknown parameter "{key}" is ignored' + (f" ({hint})" if hint else ""))
        return self.tls(kept, given)

    def tls(self, kept: dict[str, str], given: Mapping[str, str]) -> dict[str, str]:
        """Say in libpq's words what Prisma, node-postgres and asyncpg say in theirs."""
        mode = given.get("sslmode") or given.get("ssl", "")
        mode = {"true": "require", "1": "require", "false": "disable", "0": "disable"}.get(mode.lower(), mode)
        if mode == "no-verify":
            self.note('sslmode "no-verify" is read as "require": encrypted, the certificate is not verified')
            mode = "require"
        if mode and mode not in _SSLMODES:
            hint = nearest(mode, _SSLMODES)
            raise self.problem(f"sslmode is none of {', '.join(_SSLMODES)}" + (f"; {hint}" if hint else ""))
        if "sslidentity" in given:
            self.note("sslidentity is a PKCS#12 file, which libpq cannot read: give sslcert and sslkey if it is needed")
        if ("sslaccept" in given or "sslidentity" in given) and "sslcert" in kept and "sslkey" not in kept:
            self.note("sslcert is Prisma's here, the certificate of the authority: it is used as sslrootcert")
            kept["sslrootcert"] = kept.pop("sslcert")
        if given.get("sslaccept") == "strict" and mode not in ("verify-ca", "verify-full"):
            self.note("sslaccept=strict is read as sslmode=verify-full")
            mode = "verify-full"
            kept.setdefault("sslrootcert", "system")
        return kept | ({"sslmode": mode} if mode else {})


def _query(text: str) -> Sequence[tuple[str, str]]:
    return [(piece.partition("=")[0], piece.partition("=")[2]) for piece in text.split("&") if piece]


def _decoded(text: str) -> tuple[str, bool]:
    """The percent-decoded text, or the text as it stands (and True) where it cannot be percent-encoded text."""
    if "%" not in text:
        return text, False
    try:
        value = unquote(text, errors="strict")
    except UnicodeDecodeError:
        return text, True
    sound = not re.search(r"%(?![0-9A-Fa-f]{2})", text) and "\0" not in value
    return (value, False) if sound else (text, True)


def _noted(address: DatabaseAddress, note: str) -> DatabaseAddress:
    return msgspec.structs.replace(address, notes=(*address.notes, note))
