"""Proofs ready to be asked: what a schema declares, checked, with its templates compiled.

Takes a field with its declared proofs and those of its effects, and the nodes of every `when`; gives `CompiledProof`s,
or what is wrong and where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from string import Template as EnvironmentTemplate

import msgspec

from reconciler.canonical import equal
from reconciler.effects.compiled import values_of_when
from reconciler.effects.declared import BullmqJob, Effect
from reconciler.effects.payloads import url_problem
from reconciler.effects.templates import NAMES, Names, Template, compile_template, problems_of
from reconciler.errors import nearest
from reconciler.fields import Field
from reconciler.model import Json
from reconciler.nodes import Node
from reconciler.scalars import seconds
from reconciler.verify.declared import PROOF_KINDS, HttpProof, Proof, SqlProof

PROOF_NAMES = tuple(name for name in NAMES if name != "id")
"""What a template of a proof may say: a proof has no id, and does not look into other columns."""

_Path = tuple[str | int, ...]
_Wrong = tuple[_Path, str, str]


class ProofNames(Names, frozen=True):
    """The names that the template of a proof may say."""

    def wrong(self, name: str) -> tuple[str, str] | None:
        """Why it may not say this one, with a hint; None where it may."""
        if name in PROOF_NAMES:
            return None
        known = [f"${known}" for known in PROOF_NAMES]
        hint = nearest(f"${name}", known) or f"one of {', '.join(known)}"
        return f"${name} is nothing that a proof's template has", hint


_NAMES = ProofNames(frozenset(), frozenset())


class HttpQuestion(msgspec.Struct, frozen=True):
    """What is asked of the application, and what it must answer."""

    url: str
    path: Template
    method: str
    headers: Mapping[str, str]
    status: int
    json: Template | None
    text: Template | None
    timeout_s: int
    sample: int

    @property
    def place(self) -> str:
        """What may be shown of the URL: without a user and a password; a variable stands for itself."""
        if self.url.startswith("$"):
            return self.url
        scheme, _, rest = self.url.partition("://")
        host, slash, path = rest.partition("/")
        return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


class JobQuestion(msgspec.Struct, frozen=True):
    """Which job of an effect must be done, and how many failed ones its queue keeps (None: all)."""

    variable: str
    prefix: str
    queue: str
    job: str
    failures_kept: int | None


class CompiledProof(msgspec.Struct, frozen=True):
    """What must be seen of a change of one field.

    `target` is what people read: the query's beginning, a URL, a queue; empty for the row. `when` None: every change.
    `question` is None for the row, a template of SQL for a query.
    """

    kind: str
    target: str
    within_s: int
    when: tuple[Json, ...] | None
    question: Template | HttpQuestion | JobQuestion | None

    def asked_for(self, after: Json) -> bool:
        """Whether a change to this value calls for it."""
        return self.when is None or any(equal(after, value) for value in self.when)


def compile_proofs(
    field: Field, node_of: Callable[..., Node | None]
) -> tuple[tuple[CompiledProof, ...], list[_Wrong]]:
    """The proofs of a field and of its effects, and (path below the field, what is wrong, hint) of all that is wrong.

    `node_of` gives what stands at a path below the field (its steps are the arguments), for the values of `when`.
    """
    compiled: list[CompiledProof] = []
    wrong: list[_Wrong] = []
    for index, proof in enumerate(field.verify):
        path: _Path = ("verify", index)
        when, said = values_of_when(field, node_of(*path, "when"))
        found = [*_contradictions(proof, None), *said]
        wrong += [((*path, *inner), message, hint) for inner, message, hint in found]
        compiled += [_compiled(proof, when, None)] if not found else []
    for number, effect in enumerate(field.effects):
        when, _ = values_of_when(field, node_of("effects", number, "when"))  # what is wrong was said of the effect
        for index, proof in enumerate(effect.verify):
            path = ("effects", number, "verify", index)
            found = list(_contradictions(proof, effect))
            wrong += [((*path, *inner), message, hint) for inner, message, hint in found]
            compiled += [_compiled(proof, when, effect.bullmq)] if not found else []
    return tuple(compiled), wrong


def _contradictions(proof: Proof, effect: Effect | None) -> Iterator[_Wrong]:
    kinds = [kind for kind in PROOF_KINDS if getattr(proof, kind) is not None]
    if len(kinds) != 1:
        said = f"a proof has one kind, not {len(kinds)}" if kinds else "a proof needs a kind"
        yield (), said, f"one of {', '.join(PROOF_KINDS)}"
        return
    if effect is not None and proof.when is not msgspec.UNSET:
        yield ("when",), "a proof of an effect is asked whenever the effect follows", "remove `when` here"
    if proof.job is not None:
        yield from _wrong_with_job(effect)
    if proof.sql is not None:
        for inner, message, hint in problems_of(proof.sql.query, _NAMES):
            yield ("sql", "query", *inner), message, hint
    if proof.http is not None:
        yield from _wrong_with_http(proof.http)


def _wrong_with_job(effect: Effect | None) -> Iterator[_Wrong]:
    if effect is None or effect.bullmq is None:
        yield ("job",), "only a job can be completed", "put it under `verify` of the effect that says `bullmq`"
        return
    if effect.bullmq.options.get("removeOnFail") is True:
        text = "whether a job failed cannot be seen with `removeOnFail: true`"
        yield ("job",), text, "keep some: removeOnFail: {count: 500}"


def _wrong_with_http(http: HttpProof) -> Iterator[_Wrong]:
    wrong = url_problem(http.url)
    if wrong is not None:
        yield ("http", "url"), *wrong
    if http.path and not http.path.startswith(("/", "?")):
        yield ("http", "path"), f"{http.path} does not begin with /", f"write /{http.path}"
    for name in ("path", "json", "text"):
        data = getattr(http, name)
        for inner, message, hint in problems_of(data, _NAMES) if data is not msgspec.UNSET else ():
            yield ("http", name, *inner), message, hint
    if http.method == "HEAD" and (http.json is not msgspec.UNSET or http.text is not None):
        yield ("http", "method"), "the answer to HEAD has no body to look into", "method: GET"
    for name, value in http.headers.items():
        if not EnvironmentTemplate(value).is_valid():
            yield ("http", "headers", name), "a $ that begins no name", "write $$ for a dollar sign"


def _compiled(proof: Proof, when: tuple[Json, ...] | None, job: BullmqJob | None) -> CompiledProof:
    within_s = seconds(proof.within)
    if proof.sql is not None:
        return CompiledProof("sql", _beginning(proof.sql), within_s, when, compile_template(_for_driver(proof.sql)))
    if proof.http is not None:
        question = _http_question(proof.http)
        return CompiledProof("http", question.place + proof.http.path, within_s, when, question)
    if proof.job is not None:
        assert job is not None
        asked = JobQuestion(job.url_variable, job.prefix, job.queue, job.job, _failures_kept(job))
        return CompiledProof("job", f"{job.queue} {job.job}", within_s, when, asked)
    return CompiledProof("row", "", within_s, when, None)


def _beginning(proof: SqlProof) -> str:
    text = " ".join(proof.query.split())
    return text if len(text) <= 60 else text[:59] + "…"


def _for_driver(proof: SqlProof) -> str:
    """The driver takes a % for the beginning of a parameter. A semicolon at the end would end the statement around."""
    return proof.query.strip().removesuffix(";").replace("%", "%%")


def _http_question(http: HttpProof) -> HttpQuestion:
    return HttpQuestion(
        http.url,
        compile_template(http.path),
        http.method,
        http.headers,
        http.status,
        None if http.json is msgspec.UNSET else compile_template(http.json),
        None if http.text is None else compile_template(http.text),
        seconds(http.timeout),
        http.sample,
    )


def _failures_kept(job: BullmqJob) -> int | None:
    """How many failed jobs of the queue stay (500 unless the options say otherwise), as BullMQ reads `removeOnFail`."""
    kept = job.options.get("removeOnFail", {"count": 500})
    if isinstance(kept, dict):
        kept = kept.get("count")
    return kept if isinstance(kept, int) and not isinstance(kept, bool) else None
