"""`reconcile restore`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from reconciler.checks.run import make_elsewhere, run_checks
from reconciler.cli.options import connection_options, project_options
from reconciler.cli.output import colour_on, put, say
from reconciler.cli.proposal import Database, look_around, proposal_options, propose, say_undone
from reconciler.cli.run import show_plan
from reconciler.cli.subject import subject_of
from reconciler.cli.target import one_target_option
from reconciler.database.transaction import begin_read_only
from reconciler.editing.committing import need_identity
from reconciler.errors import ReconcileError, Refused, UsageProblem
from reconciler.git import Git
from reconciler.guards import CheckResult
from reconciler.hosts.pull_request import PullRequest
from reconciler.ledger import values_before
from reconciler.model import FieldKey, Json
from reconciler.pipeline import Request, make_plan
from reconciler.plan import Plan, Scope
from reconciler.playbook import Playbook, Step
from reconciler.policy import PostgresCheck, SqlCheck
from reconciler.project import read_revision
from reconciler.report.diff import render_files
from reconciler.report.incident import lines_after_restore, lines_of_checks, lines_of_playbooks, pull_request_body
from reconciler.report.words import visible
from reconciler.runbook.committed import Committed, known_playbooks, read_committed
from reconciler.runbook.kill import choose_playbook, incident_in, why
from reconciler.runbook.restore import (
    Restore,
    draft_restore,
    find_incident,
    message_of_restore,
    parse_waivers,
    unconfirmed,
    value_before_in_git,
)
from reconciler.runbook.side_branch import Base, branch_name, commit_on_branch


@click.command("restore")
@click.argument("name", required=False, metavar="PLAYBOOK|INCIDENT")
@project_options
@click.option("--tenant", "--row", "tenant", metavar="NAME|ID", help="Whose switch: a key, its beginning, or a name.")
@click.option("--reason", metavar="TEXT", help="Why; goes into the commit, the entries and the audit log.")
@click.option(
    "--confirm",
    multiple=True,
    metavar="STEP",
    help="This step is done; kept in the commit with your name. Can be given several times. Asked for at a terminal.",
)
@click.option(
    "--override",
    multiple=True,
    metavar="GUARD=REASON",
    help="Let a guard (after, requires, freeze) pass once; stands beside the values, for the review.",
)
@proposal_options
@one_target_option
@connection_options
def command(name: str | None, directory: Path, **options: Any) -> None:
    """Propose the way back from a kill: a commit on a branch of its own, and its pull request.

    Shows the steps, the checks, and what is held until when. Only what a kill of this playbook has switched goes back,
    and nothing is applied: the merge and the guards do the rest.
    """
    runbook = known_playbooks(directory)
    if name is None:
        put("\n".join(lines_of_playbooks(runbook.playbooks)))
        return
    if not (options["reason"] or "").strip():
        raise UsageProblem('this needs a reason, which goes into the commit and the audit log: --reason "..."')
    parse_waivers(options["override"])
    if not options["dry_run"]:
        need_identity(directory)
    database = Database(options["connect_timeout"], options["statement_timeout"])
    try:
        if options["wait"]:
            database.open(options["wait"])
            database.close()
        _Restoring(directory, options, database).run(name)
    finally:
        database.close()


class _Restoring:
    """One way back, from the words on the command line to the pull request."""

    def __init__(self, directory: Path, options: dict[str, Any], database: Database) -> None:
        self.directory = directory
        self.options = options
        self.database = database
        self.reason = " ".join(options["reason"].split())

    def run(self, name: str) -> None:
        """Do all of it. Raises ReconcileError where nothing is committed."""
        base = look_around(self.database, self.directory, self.options["branch"])
        committed = read_committed(self.directory, base.commit)
        tenant, incident = self.options["tenant"], self.options["incident"]
        if name not in committed.runbook.playbooks and any(letter.isdigit() for letter in name):
            found = find_incident(committed, self.directory, name)
            name, tenant, incident = found.playbook, tenant or found.key or None, incident or name
        playbook = choose_playbook(name, committed.runbook.playbooks)
        incident = incident_in(self.reason, incident)
        subject = subject_of(self.database, committed, name, playbook, tenant)
        restore = draft_restore(
            committed,
            name,
            playbook,
            subject,
            lambda fields: self._before(name, fields),
            reason=why(self.reason, name, incident),
            waivers=parse_waivers(self.options["override"]),
        )
        for text in restore.left:
            say(f"Left as it is: {visible(text)}")
        if self.options["dry_run"]:
            put(render_files(restore.files, colour=colour_on(sys.stdout)))
            say(f"Nothing was written: this is a dry run, from {base.name}.")
            return
        checks = self._checks(committed, playbook)
        for line in lines_of_checks(checks):
            say(visible(line))
        confirmed = self._confirmed(playbook)
        message = message_of_restore(
            restore, playbook, self.reason, incident, confirmed=confirmed, by=self._me(), checks=checks
        )
        self._propose(base, restore, playbook, message, checks)
        for line in lines_after_restore(playbook):
            say(line)

    def _propose(
        self, base: Base, restore: Restore, playbook: Playbook, message: str, checks: Mapping[str, CheckResult]
    ) -> None:
        branch = base.branch or self.options["branch"]
        if branch is None:
            stamp, subject = datetime.now(UTC).strftime("%Y%m%d-%H%M"), restore.subject
            branch = branch_name(self.directory, "restore", restore.playbook, subject.name if subject else "", stamp)
        commit = commit_on_branch(self.directory, base, branch, restore.files, message)
        paths = ", ".join(file.path for file in restore.files)
        say(f"Committed {commit[:12]} on {branch}, from {base.name}: {paths}. What is checked out is as it was.")
        plan = self._plan(restore, commit)
        body = pull_request_body(
            playbook, "restore", plan, reason=self.reason, message=message, now=datetime.now(UTC), checks=checks
        )
        title = message.partition("\n")[0]
        request = PullRequest(branch, base.target, title, body, ("restore", restore.playbook))
        no_push, no_pr = self.options["no_push"], self.options["no_pr"]
        say_undone(propose(self.directory, base, request, no_push=no_push, no_pr=no_pr))

    def _before(self, name: str, fields: Mapping[FieldKey, Json]) -> Mapping[FieldKey, Json]:
        """What the fields were: of the ledger, and of git's history where that does not know."""
        values: dict[FieldKey, Json] = {}
        if self.database.connection is not None:
            try:
                with begin_read_only(self.database.connection, doing="reading what was before") as connection:
                    values = values_before(connection, fields)
            except ReconcileError as error:
                say(f"note: {error}")
        left = {field: killed for field, killed in fields.items() if field not in values}
        if left:
            known = value_before_in_git(lambda one: read_committed(self.directory, one), self.directory, name)
            values |= known(left)
        return values

    def _checks(self, committed: Committed, playbook: Playbook) -> dict[str, CheckResult]:
        """What the playbook's checks see now."""
        declared, names = committed.runbook.definitions.policy.checks, playbook.restore.checks
        if self.database.connection is not None:
            return run_checks(names, declared, self.database.connection)
        away = CheckResult(False, "could not be made: the database does not answer", made=False)
        on_database = (PostgresCheck, SqlCheck)
        return {
            name: away if isinstance(declared[name], on_database) else make_elsewhere(declared[name], os.environ)
            for name in sorted(names)
        }

    def _confirmed(self, playbook: Playbook) -> list[Step]:
        """The steps that are done, all of them. Raises Refused where one is not."""
        missing = unconfirmed(playbook, self.options["confirm"])
        for step in playbook.restore.steps:
            if step not in missing:
                say(f"Step {step.id}: {visible(step.text)}")
        if missing and sys.stdin.isatty():
            missing = [step for step in missing if not click.confirm(f"Done: {visible(step.text)}", err=True)]
        if missing:
            lines = [f"  --confirm {step.id}  {visible(step.text)}" for step in missing]
            raise Refused("\n".join(["not confirmed, so nothing was changed. When it is done:", *lines]))
        return [step for step in playbook.restore.steps if step.confirm]

    def _me(self) -> str:
        """Who confirms: the committer, as git knows it."""
        identity = Git(self.directory).output("var", "GIT_COMMITTER_IDENT").decode("utf-8", "replace")
        return identity.rpartition(">")[0] + ">"

    def _plan(self, restore: Restore, commit: str) -> Plan | None:
        """The plan, which says what would be held and until when; None where there is none."""
        if self.database.connection is None:
            return None
        rows = tuple(sorted({f"{table}/{key}" for table, key, _ in restore.fields}))
        request = Request(
            directory=self.directory, revision=commit, scope=Scope(rows=rows), fields=restore.fields, ahead=True
        )
        try:
            plan = make_plan(self.database.connection, request, read_revision(self.directory, commit, may_defer=True))
        except ReconcileError as error:
            say(f"note: there is no plan: {error}")
            return None
        show_plan(plan, "text")
        return plan
