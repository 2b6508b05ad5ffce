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
    """The plan of the pull request's last head."""
    archive = job.talk.artifact(artifact_name(job.name, request.head), request.head)
    plan = _unpacked(archive) if archive is not None else None
    if plan is not None:
        return Reviewed(plan, plan.fingerprint)
    facts = job.talk.facts(request.number, job.marker("plan"))
    return Reviewed(None, facts.get("fingerprint") if facts.get("head") == request.head else None)


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
