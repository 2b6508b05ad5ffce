"""Redis as people run it: one server, Sentinel or Cluster, with TLS, a password, a database, or a Unix socket.

Takes the environment; gives `RedisAddress`, and from that the clients of redis-py with short timeouts and without
retries of their own (three tries of two seconds are six). A message shows of an address only hosts and ports.

| what is set | what it is |
|---|---|
| `REDIS_URL=redis://`, `rediss://`, `unix://` | one server |
| `REDIS_URL=redis+sentinel://host:port,host:port/service/db` (`rediss+sentinel://`: TLS) | Sentinel |
| `REDIS_SENTINELS=host:port,host:port`, `REDIS_SERVICE`; user, password, database and TLS from `REDIS_URL` | Sentinel |
| `REDIS_CLUSTER=true`, and `REDIS_URL` of any node | Cluster |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from reconciler.errors import UsageProblem

SENTINELS, SERVICE, SENTINEL_PASSWORD, CLUSTER = (
    "REDIS_SENTINELS",
    "REDIS_SERVICE",
    "REDIS_SENTINEL_PASSWORD",
    "REDIS_CLUSTER",
)

HostPort = tuple[str, int]

_PORT, _SENTINEL_PORT = 6379, 26379


class RedisAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where Redis is. `hosts` are the server, the sentinels (where `service` is set) or nodes of a cluster.

    `options` are what the URL's query says of TLS, under redis-py's own names (`ssl_ca_certs`, ...).
    """

    hosts: tuple[HostPort, ...] = ()
    path: str | None = None
    service: str | None = None
    cluster: bool = False
    tls: bool = False
    database: int = 0
    username: str | None = None
    password: str | None = None
    sentinel_password: str | None = None
    options: dict[str, Any] = {}

    @property
    def place(self) -> str:
        """What may be shown: hosts and ports, the service, the path of the socket."""
        shown = [(f"[{host}]" if ":" in host else host, port) for host, port in self.hosts]
        hosts = self.path or ",".join(f"{host}:{port}" for host, port in shown)
        return f"{self.service} at {hosts}" if self.service else hosts

    def __repr__(self) -> str:
        return f"RedisAddress({self.place})"


def read_address(variable: str, environment: Mapping[str, str]) -> RedisAddress:
    """The address that the environment gives. Raises LookupError where none is set, UsageProblem for no address.

    `REDIS_SENTINELS` and `REDIS_CLUSTER` count for the variable `REDIS_URL` alone: for NAME_URL they are NAME_SENTINELS
    and NAME_CLUSTER.
    """
    text = environment.get(variable, "").strip()
    prefix = variable.removesuffix("URL")

    def also(name: str) -> str:
        return environment.get(prefix + name.removeprefix("REDIS_"), "").strip()

    sentinels = also(SENTINELS)
    if not text and not sentinels:
        raise LookupError(f"{variable} is not set")
    address = _parse(variable, text) if text else RedisAddress()
    if sentinels:
        service = also(SERVICE) or address.service
        if not service:
            raise UsageProblem(f"{prefix}SENTINELS is set, and {prefix}SERVICE is not: which service is it?")
        hosts = _hosts(f"{prefix}SENTINELS", sentinels, _SENTINEL_PORT)
        address = msgspec.structs.replace(address, hosts=hosts, service=service, path=None)
    if address.service and also(SENTINEL_PASSWORD):
        address = msgspec.structs.replace(address, sentinel_password=also(SENTINEL_PASSWORD))
    if also(CLUSTER).lower() in ("true", "1", "yes"):
        address = msgspec.structs.replace(address, cluster=True)
    return address


def _parse(variable: str, text: str) -> RedisAddress:
    """The address of a URL. What urlsplit says of a bad one may hold a part of the password, and is not shown."""
    known = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
    scheme, separator, _ = text.partition("://")
    if not separator or scheme not in known:
        raise UsageProblem(f"{variable} is not a Redis URL: it begins with {'://, '.join(known)}://")
    try:
        parts = urlsplit(text)
        query = dict(parse_qsl(parts.query))
        user, at, hosts = parts.netloc.rpartition("@")
        username, _, password = user.partition(":") if at else ("", "", "")
        database: str | int | None = query.get("db")
        password = unquote(password) or query.get("password", "")
        given: dict[str, Any] = {
            "tls": scheme.startswith("rediss"),
            "username": unquote(username) or None,
            "password": password or None,
            "options": _tls_options(variable, query),
        }
        if scheme == "unix":
            return RedisAddress(path=unquote(parts.path), database=int(database or 0), **given)
        steps = [unquote(step) for step in parts.path.strip("/").split("/") if step]
        if scheme.endswith("+sentinel"):
            given["service"] = steps.pop(0) if steps else None
            if given["service"] is None:
                raise UsageProblem(f"{variable} names no service: redis+sentinel://host:port/service")
        database = database or (steps[0] if steps else 0)
        port = _SENTINEL_PORT if scheme.endswith("+sentinel") else _PORT
        return RedisAddress(hosts=_hosts(variable, hosts, port), database=int(database), **given)
    except ValueError:
        raise UsageProblem(f"{variable} is not a Redis URL that can be read ({_HINT})") from None


_HINT = "characters such as / # @ : in a password are written %2F %23 %40 %3A"


_TLS_OPTIONS = {
    *("ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_certfile", "ssl_keyfile", "ssl_password"),
    *("ssl_cert_reqs", "ssl_check_hostname", "ssl_ciphers"),
}
"""Those of redis-py that a text can give."""

_CERTIFICATE = ("none", "optional", "required")


def _tls_options(variable: str, query: Mapping[str, str]) -> dict[str, Any]:
    """What the query says of TLS. The rest is meant for other clients (`family=0`), or would undo the timeouts."""
    options: dict[str, Any] = {name: value for name, value in query.items() if name.startswith("ssl_")}
    unknown = sorted(options.keys() - _TLS_OPTIONS)
    if unknown:
        raise UsageProblem(f"{variable} says {unknown[0]}; known of TLS are {', '.join(sorted(_TLS_OPTIONS))}")
    if options.get("ssl_cert_reqs", "required") not in _CERTIFICATE:
        raise UsageProblem(f"{variable} says an ssl_cert_reqs that is none of {', '.join(_CERTIFICATE)}")
    if "ssl_check_hostname" in options:
        options["ssl_check_hostname"] = options["ssl_check_hostname"].lower() in ("true", "1", "yes")
    return options


def _hosts(variable: str, text: str, port: int) -> tuple[HostPort, ...]:
    hosts = []
    for part in text.split(","):
        name, colon, number = part.strip().rpartition(":")
        if part.strip().endswith("]") or not colon:  # an IPv6 address without a port, or a name without one
            name, number = part.strip(), ""
        if number and not number.isdigit():
            raise UsageProblem(f"{variable} has a port that is no number ({_HINT})")
        if not 0 < int(number or port) < 65_536:
            raise UsageProblem(f"{variable} has a port that is none ({_HINT})")
        hosts.append((name.strip("[]") or "localhost", int(number or port)))
    return tuple(hosts)


def keyword_arguments(address: RedisAddress, timeout_s: float) -> dict[str, Any]:
    """redis-py's parameters for one connection to `hosts[0]`, or to what a sentinel or a cluster names."""
    given: dict[str, Any] = {
        "db": address.database,
        "username": address.username,
        "password": address.password,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "health_check_interval": 0,
        **address.options,
    }
    if address.path:
        return {**given, "unix_socket_path": address.path}
    return {**given, "ssl": True} if address.tls else given


def sentinel_arguments(address: RedisAddress, timeout_s: float) -> dict[str, Any]:
    """redis-py's parameters for a connection to a sentinel. They are asked in turn, and share the time."""
    share = timeout_s / len(address.hosts)
    given: dict[str, Any] = {"socket_timeout": share, "socket_connect_timeout": share}
    given |= {"password": address.sentinel_password} if address.sentinel_password else {}
    return given | ({"ssl": True, **address.options} if address.tls else {})


@contextmanager
def connected(address: RedisAddress, timeout_s: float) -> Iterator[Any]:
    """A client of redis-py that waits for no answer longer than `timeout_s`; everything is closed at the end."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    once: dict[str, Any] = {"retry": Retry(NoBackoff(), 0)}
    given = {**keyword_arguments(address, timeout_s), **once}
    with ExitStack() as closing:
        if address.service:
            from redis import sentinel

            ask: Any = sentinel.Sentinel
            asked = ask(list(address.hosts), sentinel_kwargs={**sentinel_arguments(address, timeout_s), **once})
            for each in asked.sentinels:
                closing.callback(each.close)
            client = asked.master_for(address.service, **given)
        elif address.cluster:
            from redis import cluster

            del given["db"]
            node: Any = cluster.ClusterNode
            client = cluster.RedisCluster(startup_nodes=[node(*host) for host in address.hosts], **given)
        elif address.path:
            client = redis.Redis(**given)
        else:
            host, port = address.hosts[0]
            client = redis.Redis(host=host, port=port, **given)
        closing.callback(client.close)
        yield client
