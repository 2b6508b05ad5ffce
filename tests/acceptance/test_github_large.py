"""A large project on the tests' own GitHub: what a job has read of its files is there for the next one."""

from __future__ import annotations

from pathlib import Path

from tests.support.github import GitHub
from tests.support.github_api import github_api
from tests.support.project import ACME, Project

FILES, ROWS = 9, 250


def grow(project: Project) -> None:
    """More tenants than a small project has, as git asks for them."""
    project.database.execute(
        """
        INSERT INTO tenants (id, name, "isAiEnabled", "updatedAt")
        SELECT 'tenant-' || n, 'Tenant ' || n, true, now() FROM generate_series(1, %s) AS n
        """,
        [FILES * ROWS],
    )
    for file in range(FILES):
        numbers = range(file * ROWS + 1, (file + 1) * ROWS + 1)
        rows = "".join(f"tenant-{number}:\n  isAiEnabled: true\n" for number in numbers)
        project.state(rows, f"tenants/{file}.yaml")
    project.commit("The fleet as it is")


def test_what_was_read_of_a_large_project_is_there_for_the_next_job(project: Project, tmp_path: Path) -> None:
    grow(project)
    with github_api() as api:
        github = GitHub(project, api, tmp_path / "github")
        project.succeed("--directory", str(project.directory), cwd=tmp_path)
        # As in a shallow clone: nobody can tell which commit the ledger stands at.
        project.database.execute("UPDATE reconciler.run SET sync = NULL")
        for times, branch in enumerate(("ban", "limit"), start=1):
            _, [run] = github.open(branch, f"{ACME}:\n  isWhatsappEnabled: {{value: false, reason: {branch}}}\n")
            ran = run.execute()
            assert ran["plan"].ok, ran["plan"].log
            assert ran["plan"].outputs["action"]["kills"] == "1"
            assert "What was read before" not in ran["validate"].scripts
            assert len(github.read) == times
    first, second = ([path.name for path in kept.rglob("*") if path.is_file()] for kept in github.read.values())
    assert len(first) > FILES
    assert set(first) < set(second)


def test_a_small_project_keeps_nothing(project: Project, tmp_path: Path) -> None:
    with github_api() as api:
        github = GitHub(project, api, tmp_path / "github")
        project.succeed("--directory", str(project.directory), cwd=tmp_path)
        _, [run] = github.open("ban", f"{ACME}:\n  isWhatsappEnabled: {{value: false, reason: INC-142}}\n")
        assert run.execute()["plan"].ok
    assert github.read == {}
