"""What an error of Redis says of what was sent: could the same succeed later, or is this one entry refused?

Takes redis-py's exceptions; gives that answer, and a line that may be shown.
"""

from __future__ import annotations

import ast

import redis

NOT_NOW_KINDS = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.TryAgainError,
    redis.exceptions.AskError,
    OSError,
)

_NOT_NOW = (
    *("OOM", "MISCONF", "NOREPLICAS", "LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOAUTH"),
    *("WRONGPASS", "BUSY ", "MOVED", "ASK ", "EXECABORT"),
    *("DB index", "invalid DB index"),  # said while the connection is made, whatever is to be sent over it
)
"""How errors begin that are about the server, where redis-py has no class of its own for them."""


def is_about_the_server(error: Exception) -> bool:
    """Whether the same could succeed later, unchanged."""
    return isinstance(error, NOT_NOW_KINDS) or _said(error).startswith(_NOT_NOW)


def first_line(error: BaseException) -> str:
    """What may be said of an error. redis-py's own texts name hosts and ports, and no password."""
    lines = _said(error).splitlines()
    return lines[0].rstrip(".")[:300] if lines and lines[0] else type(error).__name__


def _said(error: BaseException) -> str:
    """What the server said: in a pipeline, redis-py puts the whole command before it, and Python's form of a tuple
    around it.
    """
    said = str(error).rpartition(" caused error: ")[2]
    if not said.startswith("("):
        return said
    try:
        return str(ast.literal_eval(said)[0])
    except (ValueError, SyntaxError, LookupError, TypeError):
        return said
