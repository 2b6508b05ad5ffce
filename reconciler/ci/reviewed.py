"""The plan that was reviewed: kept by the job that made it, and found again after the merge.

Takes a merged pull request; gives the Plan, or at least its fingerprint, which stands in the comment's hidden marker.
It only says what moved since the review; what is applied is decided by the database and the commit.
"""

from __future__ import annotations

import io
import zipfile

import msgspec

from reconciler.ci.job import Job, artifact_name
from reconciler.errors import InvalidInput
from reconciler.hosts.host import Request
from reconciler.plan import Plan
from reconciler.plan_json import decode_plan

__all__ = ["Reviewed", "reviewed_in"]

_LARGEST_PLAN = 64 << 20


class Reviewed(msgspec.Struct, frozen=True):
    """What is known of it; `fingerprint` is None where nothing is."""

    plan: Plan | None = None
    fingerprint: str | None = None


def reviewed_in(job: Job, request: Request) -> Reviewed:
    """The plan of the pull request's last head.

    GitLab keeps artifacts by the job that made them, whose number the comment tells; the plan must be the one that the
    comment is about.
    """
    if job.where.service == "gitlab":
        facts = _facts(job, request)
        fingerprint = facts.get("fingerprint")
        plan = _kept(job, facts["job"], request) if "job" in facts else None
        is_it = plan is not None and plan.fingerprint == fingerprint
        return Reviewed(plan if is_it else None, fingerprint)
    plan = _kept(job, artifact_name(job.name, request.head), request)
    if plan is not None:
        return Reviewed(plan, plan.fingerprint)
    return Reviewed(None, _facts(job, request).get("fingerprint"))


def _facts(job: Job, request: Request) -> dict[str, str]:
    """What the plan's comment says of the last head; nothing where it is about another."""
    facts = job.talk.facts(request.number, job.marker("plan")) or {}
    return facts if facts.get("head") == request.head else {}


def _kept(job: Job, name: str, request: Request) -> Plan | None:
    archive = job.talk.artifact(name, request.head)
    return _unpacked(archive) if archive is not None else None


def _unpacked(archive: bytes) -> Plan | None:
    """The only file of the archive, None where it is no plan of ours."""
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as files:
            [file] = files.infolist()
            if file.file_size > _LARGEST_PLAN:
                return None
            return decode_plan(files.read(file), "the reviewed plan")
    except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, OSError, InvalidInput):
        return None
