"""The address of a database: where it is and how to enter it, with nothing secret in any printed form.

Takes what `url` read from DATABASE_URL or DIRECT_URL. Gives libpq its connection string, one host at a time;
gives messages a form that can be printed; and takes secrets out of what a driver says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

import msgspec

__all__ = ["DatabaseAddress", "Host"]

_SECRETS = ("sslpassword", "oauth_client_secret")


class Host(msgspec.Struct, frozen=True):
    """One place to try. `name` is a host, an address or a socket's folder; `address` an IP that replaces its lookup."""

    name: str
    port: int = 5432
    address: str = ""

    @property
    def is_socket(self) -> bool:
        """Whether it is a Unix socket: a folder, or an abstract name."""
        return self.name.startswith(("/", "@"))

    def __str__(self) -> str:
        if self.is_socket:
            return f"{self.name}/.s.PGSQL.{self.port}"
        name = self.name or self.address
        return f"[{name}]:{self.port}" if ":" in name else f"{name}:{self.port}"


class DatabaseAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where the database is and how to enter it. Printing one, in any form, shows no secret.

    `hosts` are tried in order; none means libpq's own default (PGHOST, a service, the local socket). `parameters` are
    libpq's, hosts, user, password and database left out. `search_path` came from Prisma's `schema`: behind a pooler it
    is safe only as SET LOCAL in each transaction. `pooled` is Prisma's `pgbouncer=true`; nothing depends on it but
    words, because every connection here is made safe for a pooler. `connect_timeout_s` is None where none was given.
    `notes` are sentences for the user.
    """

    variable: str
    hosts: tuple[Host, ...] = ()
    user: str = ""
    password: str = ""
    dbname: str = ""
    parameters: Mapping[str, str] = {}
    search_path: tuple[str, ...] = ()
    pooled: bool = False
    connect_timeout_s: float | None = None
    notes: tuple[str, ...] = ()
    password_as_written: str = ""

    @property
    def safe(self) -> str:
        """A printable URL: user, hosts and database, and nothing that is secret."""
        user = f"{quote(self.user)}@" if self.user else ""
        if self.hosts and self.hosts[0].is_socket:
            first = self.hosts[0]
            port = f"&port={first.port}" if first.port != 5432 else ""
            return f"postgresql://{user}/{quote(self.dbname)}?host={first.name}{port}"
        return f"postgresql://{user}{','.join(map(str, self.hosts))}/{quote(self.dbname)}"

    def __repr__(self) -> str:
        return f"DatabaseAddress({self.variable}={self.safe!r})"

    __str__ = __repr__

    def conninfo(self, host: Host | None, **more: str) -> str:
        """The key=value string for libpq, secrets included, for one of the hosts (None: libpq's own default)."""
        words: dict[str, str] = {**more, **self.parameters}
        if host:
            words |= {"host": host.name, "port": str(host.port), "hostaddr": host.address}
        words |= {"user": self.user, "password": self.password, "dbname": self.dbname}
        return " ".join(f"{key}={_quoted(value)}" for key, value in words.items() if value)

    def redact(self, text: str) -> str:
        """`text` without the secrets of this address, in whichever form they stand there."""
        secrets = {self.password, self.password_as_written, *(self.parameters.get(name, "") for name in _SECRETS)}
        secrets.discard("")
        forms = {
            *secrets,
            *(quote(secret, safe="") for secret in secrets),
            *(_quoted(secret)[1:-1] for secret in secrets),
        }
        for form in sorted(forms, key=len, reverse=True):
            # A password of three letters or less would be found inside of ordinary words.
            pattern = re.escape(form) if len(form) > 3 else rf"(?<!\w){re.escape(form)}(?!\w)"
            text = re.sub(pattern, "***", text)
        return text


def _quoted(value: str) -> str:
    """A value in libpq's key=value form."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
