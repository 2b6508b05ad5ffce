"""What a schema may say about proofs of effect: the words, and nothing of how they are asked.

Takes and gives nothing of ours; `fields` and `effects.declared` hold these structs, so that the JSON Schemas for
editors are drawn from them. Where the text says *template*, `$key` and its like may stand in it (see
`effects.templates`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from reconciler.scalars import Duration

Url = Annotated[
    str,
    msgspec.Meta(
        description="https://..., or $NAME for a variable of the environment that holds it",
        extra_json_schema={"pattern": r"^(https?://[^/\s]+\S*|\$[A-Za-z_][A-Za-z0-9_]*)$"},
    ),
]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Unknown properties are errors."""


class SqlProof(_Strict, frozen=True, kw_only=True):
    """A query that must return true. It is a template, in which a name is an expression of type text.

    It is asked once for all changes of a run, as a subquery, in a READ ONLY transaction.
    """

    query: Annotated[str, msgspec.Meta(min_length=1)]


class HttpProof(_Strict, frozen=True, kw_only=True):
    """A URL of the application that must answer with the status and, where they are given, the JSON and the text.

    `path` is a template that is put behind `url`, each value percent-encoded; `json` one that the answer must hold
    (a mapping may have more keys), and `text` one that must stand in it. `$NAME` in a header's value is the
    environment's. Of more than `sample` rows so many are asked. `timeout` is for one answer.
    """

    url: Url
    path: str = ""
    method: Literal["GET", "HEAD"] = "GET"
    headers: dict[str, str] = {}
    status: Annotated[int, msgspec.Meta(ge=100, le=599)] = 200
    json: Any = msgspec.UNSET
    text: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    timeout: Duration = "2s"
    sample: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 20


class Proof(_Strict, frozen=True, kw_only=True):
    """What must be seen once a change is in effect: exactly one of the kinds, within a time.

    `row`: the row has the value, for a connection of its own. `job`: BullMQ has completed the job; beside the effect
    that adds it. `when` is the value that the change must lead to, or a list of them, as for effects; a proof of an
    effect is asked whenever the effect follows.
    """

    when: Any = msgspec.UNSET
    within: Duration = "10s"
    row: Literal["written"] | None = None
    sql: SqlProof | None = None
    http: HttpProof | None = None
    job: Literal["completed"] | None = None


PROOF_KINDS = ("row", "sql", "http", "job")
