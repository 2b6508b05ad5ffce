"""The texts of issues that a host opens, updates and closes by itself: drift, and a run that failed.

Takes a Plan or an error; gives title and body. Times are absolute: an issue stays open for days.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence

import msgspec

from reconciler.console.comment import GROUPED, hidden_marker
from reconciler.errors import InvalidInput, NotAsExpected, Problem, ReconcileError
from reconciler.model import Change, Finding
from reconciler.plan import Plan, Revision
from reconciler.report import words
from reconciler.report.markdown import is_drift
from reconciler.report.markdown_table import table
from reconciler.report.markdown_text import code, link, prose
from reconciler.report.page import LIMIT, Block, Page, fit

__all__ = ["DriftIssue", "FailureIssue", "drift_issue", "failure_comment", "failure_issue"]

_ADOPTED = 20
"""Fields killed by hand of which each has its line, and rows that a command names."""

_ISSUE_TITLE = 200


class DriftIssue(msgspec.Struct, frozen=True):
    """The issue on what drifted. `key` is the same as long as the same fields have the same values in the database."""

    title: str
    body: str
    key: str


class FailureIssue(msgspec.Struct, frozen=True):
    """The issue on runs that fail."""

    title: str
    body: str


def drift_issue(
    plan: Plan,
    *,
    marker: str = "drift",
    source_url: str | None = None,
    limit: int = LIMIT,
    titles: Mapping[tuple[str, str], str] | None = None,
    options: Sequence[str] = (),
) -> DriftIssue | None:
    """What moved behind git's back, the hand-made kills first; None where nothing did.

    `plan` is any plan: what else is in it is left out. `options` say to a command which project and database are meant.
    """
    drifted = [change for change in plan.changes if is_drift(change)]
    if not drifted:
        return None
    hidden = hidden_marker(marker)
    page = Page(source_url=source_url, limit_chars=limit - len(hidden) - 1, titles=titles or {}, long=GROUPED)
    by_hand = [change for change in drifted if change.finding is Finding.KILLED_BY_HAND]
    rest = [change for change in drifted if change.finding is not Finding.KILLED_BY_HAND]
    body = _drift_body(plan, by_hand, rest, page, options)
    return DriftIssue(_drift_title(by_hand, rest), f"{hidden}\n{body}", _key(drifted))


def _drift_title(by_hand: Sequence[Change], rest: Sequence[Change]) -> str:
    """In plain text, which a title is: the first row, and how many fields there are besides."""
    first = (by_hand or rest)[0]
    did = (
        "was killed by hand" if by_hand else "was re-opened by hand" if first.finding is Finding.REOPENED else "drifted"
    )
    more = len(by_hand) + len(rest) - 1
    also = f", and {words.plural(more, 'more field')} drifted" if more else ""
    name = words.shorten(words.visible(first.field), 60)
    return words.shorten(f"reconcile: {name} of {_who(first)} {did}{also}", _ISSUE_TITLE)


def _drift_body(
    plan: Plan, by_hand: Sequence[Change], rest: Sequence[Change], page: Page, options: Sequence[str]
) -> str:
    moved = words.plural(len(by_hand) + len(rest), "field")
    top = f"### {moved} of the database moved behind git's back"
    total = [
        f"Found {prose(page.moment(plan.created_at))} in {prose(words.shorten(words.visible(plan.database), 100))}."
    ]
    if by_hand:
        total.append(
            "> [!CAUTION]\n> **Killed by hand.** It stays killed until a commit touches its entry in git. Adopt it, so "
            "that git says why; or change its reason in git to bring it back, under the guards."
        )
    blocks: list[Block] = []
    if by_hand:
        blocks.append(table(f"#### 🔴 Killed by hand ({len(by_hand):,})\n\n", by_hand, page))
        how = (
            "#### Adopt it into git\n\nThis opens the pull request: a branch of its own, each value in its place, "
            "comments kept. Run it in a clone, with the database's address in `DATABASE_URL`; `--reason` says why:\n\n"
        )
        blocks.append((how, [f"- {code(_command(by_hand, options))}\n"]))
        blocks.append(("Or write by hand what the database has, with a `reason`:\n\n", _edits(by_hand, page)))
    if rest:
        blocks.append(table(f"#### Moved otherwise ({len(rest):,})\n\n", rest, page))
    footer = "<sub>Runs of reconcile keep this issue up to date; the one that finds no drift closes it.</sub>\n"
    return fit(top, total, blocks, footer, page)


def _edits(by_hand: Sequence[Change], page: Page) -> list[str]:
    lines = []
    for change in by_hand[:_ADOPTED]:
        where = f" ({page.place(change.location)})" if change.location else ""
        value = code(words.shorten(words.literal(change.before), 80))
        lines.append(f"- {page.subject(change)}{where}: {value}\n")
    left = len(by_hand) - _ADOPTED
    return [*lines, f"- and {left:,} more\n"] if left > 0 else lines


def _command(by_hand: Sequence[Change], options: Sequence[str]) -> str:
    """`reconcile import --adopt --propose --only table/key`: for these rows; for all, where they are too many to name
    or one has a key that no terminal can show.
    """
    rows = list(dict.fromkeys(f"{change.table}/{change.key}" for change in by_hand))
    can_be_named = len(rows) <= _ADOPTED and all(row.isprintable() for row in rows)
    only = [word for row in rows for word in ("--only", row)] if can_be_named else []
    return shlex.join(["reconcile", "import", *options, "--adopt", "--propose", *only])


def _who(change: Change) -> str:
    return (
        words.row_name(change)
        if change.label is not None
        else words.shorten(words.visible(f"{change.table}/{change.key}"), 60)
    )


def _key(drifted: Sequence[Change]) -> str:
    """A digest of which fields have which values, whatever git asks for by now."""
    parts = [f"{change.table}\0{change.key}\0{change.field}\0{words.literal(change.before)}" for change in drifted]
    return hashlib.sha256("\0\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def failure_issue(
    error: ReconcileError,
    *,
    revision: Revision | None,
    run_url: str | None,
    marker: str = "failure",
    source_url: str | None = None,
    limit: int = LIMIT,
) -> FailureIssue:
    """Why a run failed, for which commit, and where its log is. `run_url` is an address that is trusted."""
    footer = "<sub>Runs of reconcile keep this issue up to date; the next one that succeeds closes it.</sub>\n"
    first, body = _failure(error, revision, run_url, marker, source_url, limit, footer)
    return FailureIssue(words.shorten(f"reconcile failed: {first}", _ISSUE_TITLE), body)


def failure_comment(
    error: ReconcileError,
    *,
    run_url: str | None,
    marker: str,
    source_url: str | None,
    limit: int = LIMIT,
) -> str:
    """The same for a pull request, in place of its plan or of what came of it."""
    footer = "<sub>The next run of reconcile for this pull request says something else here.</sub>\n"
    return _failure(error, None, run_url, marker, source_url, limit, footer)[1]


def _failure(
    error: ReconcileError,
    revision: Revision | None,
    run_url: str | None,
    marker: str,
    source_url: str | None,
    limit: int,
    footer: str,
) -> tuple[str, str]:
    """The first sentence, and the whole text."""
    hidden = hidden_marker(marker)
    whole = f"all of it is in {link('the log', run_url)}" if run_url else "all of it is in the log"
    page = Page(source_url=source_url, limit_chars=limit - len(hidden) - 1, whole=whole)
    first, details = _told(error, page)
    about = [f"exit code {error.exit_code}"]
    if revision:
        subject = prose(words.shorten(words.visible(revision.subject), 100))
        author = prose(words.shorten(words.visible(revision.author_name), 60))
        about.append(f"commit {code(words.visible(revision.commit)[:12])} {subject} by {author}")
    about += [link("the run", run_url)] if run_url else []
    total = [f"> [!CAUTION]\n> {prose(first)}", " · ".join(about)]
    blocks: list[Block] = [("#### In full\n\n", details)] if details else []
    return first, f"{hidden}\n{fit('### reconcile: a run failed', total, blocks, footer, page)}"


def _told(error: ReconcileError, page: Page) -> tuple[str, list[str]]:
    """The first sentence, as text, and the lines below it: its problems, each with its place, where it carries any."""
    if isinstance(error, InvalidInput | NotAsExpected):
        first = error.summary or f"{words.plural(len(error.problems), 'problem')} in what was written"
        return words.shorten(words.visible(first), 1_000), [_problem(each, page) for each in error.problems]
    lines = [words.shorten(words.visible(line), 1_000) for line in str(error).splitlines() if line.strip()]
    first, *rest = lines or [type(error).__name__]
    return first, [f"- {prose(line)}\n" for line in rest]


def _problem(problem: Problem, page: Page) -> str:
    place = f"{page.place(problem.location)}: " if problem.location else ""
    hint = f" ({problem.hint})" if problem.hint else ""
    return f"- {place}{prose(words.shorten(words.visible(problem.message + hint), 1_000))}\n"
