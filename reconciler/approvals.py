"""Whether enough people have approved a pull request: GitHub's list of its reviews, counted as a rule would.

Takes the JSON of `GET /repos/{owner}/{repo}/pulls/{number}/reviews` (all pages), a Review, and who has a part in the
change; gives a Verdict. Pure. It is here because no setting of GitHub asks for more reviewers of one kind of change
than of another: a workflow asks for the list, and sets a required status to what this says.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any

import msgspec

from reconciler.errors import UsageProblem
from reconciler.review import Review

__all__ = ["PullRequestReview", "User", "Verdict", "parse_reviews", "verdict"]

_COUNT = ("OWNER", "MEMBER", "COLLABORATOR")
"""Who belongs to the repository: of anybody else's approval GitHub makes a remark."""

_LONGEST = 140
"""Characters that the description of a status may have."""


class User(msgspec.Struct, frozen=True):
    """An account; `type` is User, Bot or Organization."""

    login: str
    type: str = "User"


class PullRequestReview(msgspec.Struct, frozen=True):
    """One review, as far as it matters. `commit_id` is the head that was looked at; null where that is gone."""

    state: str
    user: User | None = None
    commit_id: str | None = None
    author_association: str = "NONE"


class Verdict(msgspec.Struct, frozen=True):
    """`approved_by` are the people that count, `against` those who ask for changes. `description` fits a status."""

    is_enough: bool
    needed: int
    approved_by: tuple[str, ...]
    against: tuple[str, ...]
    stale: tuple[str, ...]
    description: str

    @property
    def state(self) -> str:
        """What a status takes: success or failure."""
        return "success" if self.is_enough else "failure"


def parse_reviews(data: bytes) -> list[PullRequestReview]:
    """The reviews, oldest first: one list, or several (`gh api --paginate`, with or without --slurp).

    Raises UsageProblem for anything else.
    """
    pages: list[Any] = []
    decoder = json.JSONDecoder()
    try:
        text, at = data.decode().strip(), 0
        while at < len(text) or not pages:
            page, at = decoder.raw_decode(text, at)
            at += len(text[at:]) - len(text[at:].lstrip())
            pages += page if isinstance(page, list) and page and isinstance(page[0], list) else [page]
        return [one for page in pages for one in msgspec.convert(page, list[PullRequestReview])]
    except (ValueError, msgspec.ValidationError):
        pass
    raise UsageProblem("these are no reviews: save what `gh api --paginate repos/OWNER/REPO/pulls/N/reviews` prints")


def verdict(review: Review, reviews: Collection[PullRequestReview], involved: Collection[str]) -> Verdict:
    """Whether the approvals of this very head are enough. `involved` cannot approve: the author, who pushed to it."""
    last: dict[str, PullRequestReview] = {}
    for one in reviews:
        if one.user is None or one.user.type != "User" or one.author_association not in _COUNT:
            continue
        if one.state in ("APPROVED", "CHANGES_REQUESTED", "DISMISSED"):  # a comment takes nothing back
            last[one.user.login] = one
    own = {login.lower() for login in involved}
    approving = {login: one for login, one in last.items() if one.state == "APPROVED" and login.lower() not in own}
    counted = tuple(sorted(login for login, one in approving.items() if one.commit_id == review.head))
    stale = tuple(sorted(login for login in approving if login not in counted))
    against = tuple(sorted(login for login, one in last.items() if one.state == "CHANGES_REQUESTED"))
    is_enough = len(counted) >= review.needed and not (against and review.needed)
    sentence = ". ".join(_sentences(review, counted, against, stale))
    description = sentence if len(sentence) <= _LONGEST else sentence[: _LONGEST - 1] + "…"
    return Verdict(is_enough, review.needed, counted, against, stale, description)


def _sentences(
    review: Review, counted: tuple[str, ...], against: tuple[str, ...], stale: tuple[str, ...]
) -> Iterator[str]:
    by = f" ({', '.join(counted)})" if counted else ""
    yield f"{review.review_class}: {len(counted)} of {review.needed} approvals{by}"
    if against and review.needed:
        yield f"{', '.join(against)} asked for changes"
    if stale:
        yield f"approved before the last push: {', '.join(stale)}"
