"""`reconcile kill`."""

from __future__ import annotations

import os
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from reconciler.cli.options import Moment, connection_options, project_options, proving_of, proving_options
from reconciler.cli.output import colour_on, put, say, width_of_terminal
from reconciler.cli.proposal import Database, look_around, proposal_options, propose, say_undone
from reconciler.cli.run import let_signals_end_the_process, must_ask, show_plan
from reconciler.cli.subject import refuse_wrong_subject, subject_of
from reconciler.cli.target import one_target_option
from reconciler.editing.committing import need_identity
from reconciler.errors import DatabaseProblem, Failed, ReconcileError, UsageProblem
from reconciler.fields import format_timestamp
from reconciler.hosts.pull_request import PullRequest
from reconciler.origin import origin_of
from reconciler.outcome import Proving
from reconciler.pipeline import Ending, Request, apply, make_plan
from reconciler.plan import Plan, Scope
from reconciler.playbook import Playbook
from reconciler.project import Project
from reconciler.report import render_outcome
from reconciler.report.diff import render_files
from reconciler.report.incident import lines_after_kill, lines_of_playbooks, pull_request_body
from reconciler.runbook.committed import Committed, known_playbooks, read_committed_for_kill, rows_alone
from reconciler.runbook.in_effect import read_live
from reconciler.runbook.kill import (
    Kill,
    choose_option,
    choose_playbook,
    draft_kill,
    incident_in,
    message_of_kill,
    row_of,
    why,
)
from reconciler.runbook.playbooks import Runbook
from reconciler.runbook.side_branch import Base, branch_name, commit_on_branch
from reconciler.runbook.subject import Subject
from reconciler.targets import chosen, need_target

_LIVE_SECONDS = 5.0


@click.command("kill", context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="PLAYBOOK [--OPTION]")
@project_options
@click.option("--tenant", "--row", "tenant", metavar="NAME|ID", help="Whose switch: a key, its beginning, or a name.")
@click.option("--reason", metavar="TEXT", help="Why; goes into the commit, the entries and the audit log.")
@click.option(
    "--until",
    type=Moment(),
    metavar="TIME",
    help="Meant until this time (RFC 3339). It stays off after that; plans then say that it has expired.",
)
@click.option("--now", "at_once", is_flag=True, help="Apply the commit at once, before its merge.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask before applying. CI=true does not ask either.")
@proving_options
@proposal_options
@one_target_option
@connection_options
def command(words: tuple[str, ...], directory: Path, **options: Any) -> None:
    """Stop the damage: commit what a playbook switches off, on a branch of its own, and open the pull request.

    Without a playbook, lists them with their options. What is checked out is not touched. --now applies at once, as a
    hold that runs from git respect until git says the same. Works without a network, Redis or the database, and says
    what could not be done. Ends with 4 where --now was given and the database did not answer.
    """
    runbook = known_playbooks(directory)
    names = [word for word in words if not word.startswith("-")]
    if not words:
        put("\n".join(lines_of_playbooks(runbook.playbooks)))
        return
    if len(names) != 1:
        raise UsageProblem(f"one playbook is needed, and there {'are ' + ', '.join(names) if names else 'is none'}")
    playbook = choose_playbook(names[0], runbook.playbooks)
    option = choose_option(names[0], playbook, [word.lstrip("-") for word in words if word.startswith("-")])
    _refuse_contradictions(playbook, names[0], options)
    if not options["dry_run"]:
        need_identity(directory)
    database = Database(options["connect_timeout"], options["statement_timeout"])
    try:
        code = _Killing(directory, names[0], option, options, database).run(runbook)
    finally:
        database.close()
    click.get_current_context().exit(code)


def _refuse_contradictions(playbook: Playbook, name: str, options: dict[str, Any]) -> None:
    if not (options["reason"] or "").strip():
        raise UsageProblem('this needs a reason, which goes into the commit and the audit log: --reason "..."')
    refuse_wrong_subject(name, playbook, options["tenant"])
    if options["dry_run"] and options["at_once"]:
        raise UsageProblem("--now applies, --dry-run does nothing: give one of the two")
    _proving(options)


def _proving(options: dict[str, Any]) -> Proving:
    """How to wait for the kill to be in effect. Raises UsageProblem where nothing is applied."""
    return proving_of(options["no_verify"], options["verify_within"], "" if options["at_once"] else "--now")


class _Killing:
    """One kill, from the words on the command line to the pull request."""

    def __init__(self, directory: Path, name: str, option: str, options: dict[str, Any], database: Database) -> None:
        self.directory = directory
        self.name = name
        self.option = option
        self.options = options
        self.database = database
        self.reason = " ".join(options["reason"].split())
        self.incident = incident_in(self.reason, options["incident"])
        self.why = why(self.reason, name, self.incident)
        self.proving = _proving(options)
        self.undone: list[str] = []

    def run(self, known: Runbook) -> int:
        """Do all of it; the exit code. Applying comes before the network."""
        base = look_around(self.database, self.directory, self.options["branch"])
        committed = read_committed_for_kill(self.directory, base.commit)
        if committed.schemas_of is not None:
            older = committed.schemas_of[:12]
            say(f"note: {committed.wrong[0]}. A kill does not wait for that: it goes by schemas/ of commit {older}")
        playbook = committed.runbook.playbooks.get(self.name)
        if playbook is None:
            say(f"note: playbook {self.name} is not in {base.name}: it is taken from what is checked out")
            playbook = known.playbooks[self.name]
        subject = subject_of(self.database, committed, self.name, playbook, self.options["tenant"])
        committed = committed.aside({row_of(one, subject) for one in playbook.kill.options[self.option].set})
        for problems in committed.put_aside.values():
            say(f"note: {problems[0]}. The file does not name what is switched off, and is left as it is")
        kill = self._draft(committed, playbook, subject)
        for note in kill.notes:
            say(f"note: {note}")
        if self.options["dry_run"]:
            put(render_files(kill.files, colour=colour_on(sys.stdout)))
            say(f"Nothing was written: this is a dry run, from {base.name}.")
            return 0
        message = message_of_kill(kill, playbook, self.reason, self.incident)
        branch, commit = self._commit(base, kill, message)
        rows = {(table, key) for table, key, _ in kill.fields}
        project = rows_alone(self.directory, commit, committed, kill.files, rows)
        code, plan, run = self._apply(kill, branch, project) if self.options["at_once"] else (0, None, None)
        plan = plan or self._plan(kill, project)
        if branch is not None:
            body = pull_request_body(
                playbook, "kill", plan, reason=self.reason, message=message, now=datetime.now(UTC), applied=run
            )
            title = message.partition("\n")[0]
            request = PullRequest(branch, base.target, title, body, ("kill", self.name))
            no_push, no_pr = self.options["no_push"], self.options["no_pr"]
            self.undone += propose(self.directory, base, request, no_push=no_push, no_pr=no_pr)
        for line in lines_after_kill(playbook):
            say(line)
        say_undone(self.undone)
        return code

    def _draft(self, committed: Committed, playbook: Playbook, subject: Subject | None) -> Kill:
        definitions, live = committed.runbook.definitions, None
        if self.database.connection is not None:
            wanted = [(row_of(one, subject), one.field) for one in playbook.kill.options[self.option].set]
            live = read_live(self.database.connection.address, definitions, wanted, _LIVE_SECONDS)
        until = self.options["until"]
        return draft_kill(
            committed,
            self.name,
            playbook,
            self.option,
            subject,
            reason=self.why,
            until=format_timestamp(until) if until is not None else None,
            live=live,
        )

    def _commit(self, base: Base, kill: Kill, message: str) -> tuple[str | None, str]:
        """The branch (None where git says all of it already) and the commit that is applied."""
        if not kill.files:
            say(f"Git says all of it already, in {base.name}: no commit is made.")
            return base.branch, base.commit
        branch = base.branch or self.options["branch"]
        if branch is None:
            stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M")
            branch = branch_name(self.directory, "kill", self.name, kill.subject.name if kill.subject else "", stamp)
        commit = commit_on_branch(self.directory, base, branch, kill.files, message)
        paths = ", ".join(file.path for file in kill.files)
        say(f"Committed {commit[:12]} on {branch}, from {base.name}: {paths}. What is checked out is as it was.")
        return branch, commit

    def _request(self, kill: Kill) -> Request:
        rows = tuple(sorted({f"{table}/{key}" for table, key, _ in kill.fields}))
        return Request(
            directory=self.directory,
            scope=Scope(rows=rows),
            fields=kill.fields,
            ahead=True,
            insists=self.options["at_once"],
            reason=self.why,
        )

    def _plan(self, kill: Kill, project: Project) -> Plan | None:
        """The plan of the commit, shown; None where there is none."""
        if self.database.connection is None or not kill.fields:
            return None
        try:
            plan = make_plan(self.database.connection, self._request(kill), project)
        except ReconcileError as error:
            say(f"note: there is no plan: {error}")
            return None
        show_plan(plan, "text")
        return plan

    def _apply(self, kill: Kill, branch: str | None, project: Project) -> tuple[int, Plan | None, str | None]:
        """Apply the commit: the exit code, the plan and the run's id. What goes wrong is said, and not raised."""
        if not kill.fields:
            return 0, None, None
        if self.database.connection is None:
            self.database.open(self.options["wait"])
        connection = self.database.connection
        if connection is None:
            self.undone.append(f"not applied, the database does not answer: {self._again(branch, kill)}")
            return DatabaseProblem.exit_code, None, None
        request = self._request(kill)
        plan: Plan | None = None
        try:
            need_target(project.definitions.policy.targets)
            if must_ask(self.options["yes"]):
                plan = make_plan(connection, request, project)
                show_plan(plan, "text", sys.stderr)
                if plan.has_work and not click.confirm("Apply this now?", err=True):
                    self.undone.append(f"not applied, as you said: {self._again(branch, kill)}")
                    return Failed.exit_code, plan, None
            ending = Ending(self.database.connect, let_signals_end_the_process, self.proving)
            outcome = apply(connection, request, project, origin_of(os.environ, project.commit), plan, ending)
        except ReconcileError as error:
            say(f"Error: {error}")
            self.undone.append(f"not applied (see above): {self._again(branch, kill)}")
            return error.exit_code if isinstance(error, DatabaseProblem) else Failed.exit_code, plan, None
        colour, width = colour_on(sys.stdout), width_of_terminal()
        put(render_outcome("text", outcome, now=datetime.now(UTC), colour=colour, width=width))
        return 0, outcome.plan, outcome.run_id

    def _again(self, branch: str | None, kill: Kill) -> str:
        """The command that applies this very commit."""
        words = ["reconcile", "kill", self.name, f"--{self.option}"]
        words += ["--directory", str(self.directory)] if str(self.directory) != "." else []
        target = chosen()
        words += ["--target", target] if target is not None else []
        words += ["--tenant", kill.subject.key] if kill.subject is not None else []
        words += ["--reason", self.reason]
        words += ["--until", format_timestamp(self.options["until"])] if self.options["until"] else []
        words += ["--branch", branch] if branch is not None else []
        return shlex.join([*words, "--now", "--wait", "1h", "--yes"])
