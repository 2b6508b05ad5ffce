"""What a kill or a restore says to people: the text of its pull request, and what stands below it on a terminal.

Takes a playbook, a Plan (None where no database answered) and words; gives Markdown, or lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from reconciler.guards import CheckResult
from reconciler.plan import Plan
from reconciler.playbook import Playbook
from reconciler.report import markdown
from reconciler.report.markdown_text import code, prose
from reconciler.report.words import visible

__all__ = ["lines_after_kill", "lines_after_restore", "lines_of_checks", "lines_of_playbooks", "pull_request_body"]

_PLAN_CHARS = 45_000


def pull_request_body(
    playbook: Playbook,
    verb: str,
    plan: Plan | None,
    *,
    reason: str,
    message: str,
    now: datetime,
    applied: str | None = None,
    checks: Mapping[str, CheckResult] | None = None,
) -> str:
    """The text of the pull request: why, the plan, what people do, and the commit's trailers.

    `applied` is the run that applied it already. The trailers come last, so that a merge which takes this text for its
    message keeps them.
    """
    lines = [f"**{verb.capitalize()}: {prose(playbook.title)}.** {prose(reason)}", "", prose(playbook.summary)]
    if applied:
        lines += ["", f"Applied already, before its merge, as run {code(applied)}. The merge lets git say the same."]
    lines += ["", *(f"> ⚠️ {prose(warning)}" for warning in playbook.warnings)] if playbook.warnings else []
    if plan is not None:
        lines += ["", markdown.render_plan(plan, now=now, limit_chars=_PLAN_CHARS).rstrip()]
    else:
        lines += ["", "The database did not answer when this was made: there is no plan."]
    for name, result in (checks or {}).items():
        lines += ["", f"Check {code(name)}: {'passes' if result.passed else '**does not pass**'}: {prose(result.saw)}"]
    steps = playbook.kill.steps if verb == "kill" else playbook.restore.steps
    if steps:
        lines += ["", "#### What people do", "", *(f"- {prose(step.text)}" for step in steps)]
    if verb == "kill":
        back = [step.text for step in playbook.restore.steps]
        lines += ["", "#### Before it goes back", "", *(f"- [ ] {prose(text)}" for text in back)] if back else []
    else:
        watched = playbook.monitor.steps
        lines += ["", f"#### Watch for {playbook.monitor.for_}", "", *(f"- [ ] {prose(text)}" for text in watched)]
    if playbook.contacts:
        lines += ["", "#### Contacts", ""]
        lines += [f"- {prose(contact.who)}: {prose(contact.how)}" for contact in playbook.contacts]
    trailers = message.rstrip().rpartition("\n\n")[2]
    return "\n".join([*lines, "", trailers]) + "\n"


def lines_of_playbooks(playbooks: Mapping[str, Playbook]) -> Iterator[str]:
    """All playbooks, in the order of their numbers, each with its options."""
    ordered = sorted(playbooks.items(), key=lambda one: (one[1].incident is None, one[1].incident or 0, one[0]))
    for name, playbook in ordered:
        yield f"{name}  {visible(playbook.title)}" + (" (needs --tenant)" if playbook.subject else "")
        for option, kill in playbook.kill.options.items():
            default = " (the default)" if option == playbook.kill.default else ""
            yield f"  --{option}  {visible(kill.help)}{default}"


def lines_after_kill(playbook: Playbook) -> Iterator[str]:
    """What must not be done, what people do now, and whom to call."""
    yield from (f"Warning: {visible(warning)}" for warning in playbook.warnings)
    if playbook.kill.steps:
        yield "Do now:"
        yield from (f"  - {visible(step.text)}" for step in playbook.kill.steps)
    yield from _contacts(playbook)


def lines_after_restore(playbook: Playbook) -> Iterator[str]:
    """What is watched, and for how long."""
    yield f"Once it is on again, watch for {playbook.monitor.for_} (reconcile triage --watch):"
    yield from (f"  - {visible(text)}" for text in playbook.monitor.steps)
    yield from _contacts(playbook)


def lines_of_checks(results: Mapping[str, CheckResult]) -> Iterable[str]:
    """What each check saw."""
    return [f"Check {name}: {'passes' if one.passed else 'does not pass'}: {one.saw}" for name, one in results.items()]


def _contacts(playbook: Playbook) -> Sequence[str]:
    called = [f"{visible(contact.who)}: {visible(contact.how)}" for contact in playbook.contacts]
    return [f"Whom to call: {'; '.join(called)}"] if called else []
