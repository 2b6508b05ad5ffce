"""Where this program came from, so that a new repository's workflows can install the same.

Takes nothing; gives a requirement for pip. Installed from a git repository, it is that commit (PEP 610 tells); else the
name and version, which somebody must look at: the same name in another index may be another program.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

import msgspec

from reconciler import __version__

__all__ = ["Requirement", "installed_from"]

_NAME = "reconcile"


class Requirement(msgspec.Struct, frozen=True):
    """A line of requirements.txt; `certain`: it can mean nothing but this program."""

    spec: str
    certain: bool


def installed_from() -> Requirement:
    """What to install to have this program."""
    try:
        told = distribution(_NAME).read_text("direct_url.json")
    except PackageNotFoundError:
        told = None
    return requirement_of(msgspec.json.decode(told) if told else {})


def requirement_of(direct_url: dict[str, Any]) -> Requirement:
    """The requirement that a `direct_url.json` tells of; empty where there is none."""
    source = direct_url.get("vcs_info", {})
    if source.get("vcs") == "git" and source.get("commit_id"):
        return Requirement(f"{_NAME} @ git+{direct_url['url']}@{source['commit_id']}", certain=True)
    return Requirement(f"{_NAME}=={__version__}", certain=False)
