"""The story of the demo, told with the real commands on a real database.

Takes `--keep`; starts an embedded Postgres (or makes a database on the server that DATABASE_URL names), and a git
repository with the project's own state/ and schemas/ in a temporary folder. Everything is removed at the end; with
`--keep` the end is Enter, Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from demo.server import Place, demo_database
from demo.tenants import fill, tenant_id
from reconciler.errors import ReconcileError

TOP = Path(__file__).resolve().parent.parent

# What a shell may have for its own platform: the demo's jobs must not reach a real queue, nor its commits (from a git
# hook, say) another repository.
_NOT_OURS = ("DATABASE_URL", "DIRECT_URL", "GIT_", "GITHUB_", "GITLAB_", "RECONCILE_", "REDIS_")


class Story:
    """One telling: a database, a repository, and commands run against them."""

    def __init__(self, url: str, repository: Path) -> None:
        self.repository = repository
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(_NOT_OURS)},
            "DATABASE_URL": url,
            "CI": "true",
            "PYTHONPATH": str(TOP),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_AUTHOR_NAME": "Olu Operator",
            "GIT_AUTHOR_EMAIL": "operator@platform.example",
            "GIT_COMMITTER_NAME": "Olu Operator",
            "GIT_COMMITTER_EMAIL": "operator@platform.example",
        }

    def chapter(self, title: str) -> None:
        """A heading."""
        print(f"\n=== {title}", flush=True)

    def git(self, *arguments: str) -> None:
        """A git command in the repository."""
        subprocess.run(["git", *arguments], cwd=self.repository, env=self.environment, check=True)

    def reconcile(self, *arguments: str, ends_with: int = 0, to_nowhere: bool = False) -> None:
        """A reconcile command in the repository; the demo fails if it ends otherwise than expected."""
        print(f"$ {' '.join(['reconcile', *arguments])}", flush=True)
        command = [sys.executable, "-m", "reconciler", *arguments]
        stdout = subprocess.DEVNULL if to_nowhere else None
        done = subprocess.run(command, cwd=self.repository, env=self.environment, stdout=stdout, check=False)
        code = done.returncode
        if code != ends_with:
            raise SystemExit(f"the demo expected exit code {ends_with}, and got {code}")

    def sql(self, statement: str, *parameters: object) -> list[tuple[object, ...]]:
        """A statement as somebody else would run it, in a transaction of its own."""
        with psycopg.connect(self.environment["DATABASE_URL"], autocommit=True) as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []


def prepare(story: Story) -> None:
    """The platform's tables and rows, and the repository."""
    with psycopg.connect(story.environment["DATABASE_URL"], autocommit=True) as connection:
        connection.execute((TOP / "demo" / "platform.sql").read_text(encoding="utf-8"))
        companies = fill(connection)
    for folder in ("state", "schemas"):
        shutil.copytree(TOP / folder, story.repository / folder)
    story.git("init", "--quiet", "--initial-branch=main")
    story.git("add", "--all")
    story.git("commit", "--quiet", "--message=What is switched off today, from the runbook to git")
    print(f"{companies} tenants are on the platform; state/ manages some fields of 5 of them, and the settings row.")


def tell(story: Story) -> None:
    """Dry run, apply, second apply, a hand in the database, drift, and who did what."""
    acme = tenant_id("Acme Bakery")
    maple = tenant_id("Maple Credit Union")

    story.chapter("The ledger, once (it prints the grants for two roles as well)")
    story.reconcile("init", to_nowhere=True)
    story.chapter("What would an apply do?")
    story.reconcile("--dry-run")
    story.chapter("Apply it")
    story.reconcile()
    story.chapter("Apply it again: nothing to do")
    story.reconcile()

    story.chapter("Somebody changes two values by hand")
    story.sql("""UPDATE tenants SET "isWhatsappEnabled" = true WHERE id = %s""", acme)
    print("UPDATE: WhatsApp of Acme Bakery is on again, although it is banned")
    story.sql("""UPDATE tenants SET "isAiEnabled" = false WHERE id = %s""", maple)
    print("UPDATE: AI of Maple Credit Union is off, although git says on")
    story.reconcile("drift", "--exit-code", ends_with=2)
    story.chapter("The next run puts back what was re-opened, and leaves what was killed")
    story.reconcile()

    ban(story)

    story.chapter("Who changed what, when and why")
    story.reconcile("history", "--limit", "20")
    story.chapter("The platform's own audit log")
    for when, name, event, user, metadata in story.sql(
        """
        SELECT to_char(a.timestamp, 'HH24:MI:SS'), t.name, a."eventType", coalesce(u.email, '-'),
               concat(a.metadata ->> 'field', ': ', a.metadata -> 'before', ' -> ', a.metadata -> 'after',
                      ', ', a.metadata ->> 'reason')
          FROM audit_logs a JOIN tenants t ON t.id = a."tenantId" LEFT JOIN users u ON u.id = a."actorUserId"
         WHERE a.metadata ? 'field'
         ORDER BY a.timestamp, 2, 5
        """
    ):
        print(f"{when}  {name}  {event}  by {user}\n          {metadata}")


def ban(story: Story) -> None:
    """A WhatsApp ban: kill, a restore that comes too early and is held, the clock moved, the restore applied."""
    dental = tenant_id("Bay Street Dental")
    file = story.repository / "state" / "tenants" / "bay-street-dental.yaml"
    file.parent.mkdir()

    def commit(value: str, reason: str) -> None:
        text = f'{dental}:\n  isWhatsappEnabled:\n    value: {value}\n    reason: "{reason}"\n'
        file.write_text(text, encoding="utf-8")
        story.git("add", "--all")
        story.git("commit", "--quiet", f"--message={reason}")

    story.chapter("WhatsApp has banned Bay Street Dental: kill it")
    commit("false", "WhatsApp ban, INC-150")
    story.reconcile()
    story.sql("UPDATE reconciler.meta SET movable_clock = true")
    killed = datetime.now(UTC)

    def after(hours: int) -> str:
        return (killed + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")

    story.chapter("Two hours later (the demo moves the clock) somebody is impatient: the restore is held, for 24 hours")
    commit("true", "New session scanned, INC-150")
    story.reconcile("--exit-code", "--now", after(2), ends_with=5)
    story.chapter("The same commit, 25 hours after the kill: the restore is applied")
    story.reconcile("--now", after(25))


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description="The main job, on an embedded Postgres.")
    parser.add_argument("--keep", action="store_true", help="leave the database running, to be looked at with psql")
    keep = parser.parse_args().keep
    folder = Path(tempfile.mkdtemp(prefix="reconcile-demo-"))
    try:
        with demo_database() as place:
            print(place.shown, flush=True)
            story = Story(place.address, folder)
            prepare(story)
            tell(story)
            if keep:
                wait(place, folder)
    except ReconcileError as error:
        raise SystemExit(f"The demo could not be run: {error}") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wait(place: Place, folder: Path) -> None:
    """Leave everything as it is until Enter or a signal; where there is nobody to press Enter, until a signal."""
    print(f"\nThe database stays until you press Enter:\n  {place.look}")
    print(f"The repository is {folder}. Edit state/, then:\n  cd {folder}")
    print(f"  DATABASE_URL={place.to_set} {sys.executable} -m reconciler --dry-run", flush=True)
    try:
        if not sys.stdin.readline():
            print(f"(Nothing can be typed here: it stays until `kill {os.getpid()}`.)", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        print()


def end_by_signal() -> None:
    """Let SIGTERM and SIGHUP end the demo as Ctrl-C does, so that everything is removed."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))


if __name__ == "__main__":
    end_by_signal()
    main()
