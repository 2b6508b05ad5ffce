"""Jobs that `reconcile ci` refuses, and where it writes, without any host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.project import ACME, Project
from tests.support.workflow_runner import read_outputs

KILL = f"{ACME}:\n  isWhatsappEnabled: {{value: false, reason: INC-142}}\n"


def on_github(folder: Path, event: str, payload: dict[str, Any], **more: str) -> dict[str, str]:
    """What GitHub sets for a step, without a token."""
    (folder / "event.json").write_text(json.dumps(payload))
    return {
        "GITHUB_ACTIONS": "true", "CI": "true", "GITHUB_REPOSITORY": "acme/state", "GITHUB_EVENT_NAME": event,
        "GITHUB_EVENT_PATH": str(folder / "event.json"), "GITHUB_OUTPUT": str(folder / "outputs"),
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"), "GITHUB_REF_NAME": "main", "GITHUB_REF_TYPE": "branch",
    } | more  # fmt: skip


def of_request(head: str, repository: str = "acme/state") -> dict[str, Any]:
    """The part of a pull request's payload that counts."""
    return {"pull_request": {"number": 5, "head": {"sha": head, "repo": {"full_name": repository}}}}


def test_a_fork_is_not_planned_with_our_secrets(project: Project, tmp_path: Path) -> None:
    head = project.commit_state(KILL)
    for payload in (of_request(head, "mallory/state"), {"pull_request": {"number": 5, "head": {"repo": None}}}):
        done = project.run("ci", "plan", environment=on_github(tmp_path, "pull_request_target", payload))
        assert done.code == 1, str(done)
        assert "pull_request_target" in done.out
        assert "::error" in done.out
    done = project.run("ci", "validate", environment=on_github(tmp_path, "pull_request_target", payload))
    assert done.code == 0, str(done)


def test_a_pull_request_or_another_branch_is_not_applied(project: Project, tmp_path: Path) -> None:
    head = project.commit_state(KILL)
    done = project.run("ci", "apply", environment=on_github(tmp_path, "pull_request", of_request(head)))
    assert (done.code, "not merged" in done.out) == (1, True), str(done)
    payload = {"repository": {"default_branch": "main"}}
    environment = on_github(tmp_path, "workflow_dispatch", payload, GITHUB_REF_NAME="try")
    done = project.run("ci", "apply", environment=environment)
    assert (done.code, "only main is applied" in done.out) == (1, True), str(done)
    assert project.entries() == []
    environment["GITHUB_REF_NAME"] = "main"
    assert project.run("ci", "apply", environment=environment).code == 0
    assert len(project.entries()) == 1


def test_without_a_token_all_is_in_the_summary_and_the_outputs(project: Project, tmp_path: Path) -> None:
    head = project.commit_state(KILL)
    done = project.run("ci", "plan", environment=on_github(tmp_path, "pull_request", of_request(head)))
    assert done.code == 0, str(done)
    assert "there is no GITHUB_TOKEN" in done.out
    summary = (tmp_path / "summary.md").read_text()
    assert "Acme Bakery" in summary
    assert "<!--" not in summary
    assert read_outputs((tmp_path / "outputs").read_text())["kills"] == "1"


def test_a_project_below_the_top_of_its_repository_is_annotated_by_the_repositorys_paths(
    project: Project, tmp_path: Path
) -> None:
    repo = project.repo
    (repo.path / "my ops-1").mkdir()
    for name in ("schemas", "state"):
        if (repo.path / name).exists():
            (repo.path / name).rename(repo.path / "my ops-1" / name)
    repo.write("my ops-1/state/tenants.yaml", f"{ACME}:\n  isWhatsapEnabled: false\n")
    head = repo.commit()
    environment = on_github(tmp_path, "pull_request", of_request(head))
    done = project.run("ci", "plan", "--directory", "my ops-1", cwd=repo.path, environment=environment)
    assert done.code == 3, str(done)
    assert "::error file=my ops-1/state/tenants.yaml,line=2" in done.out
    assert "/blob/" in (tmp_path / "summary.md").read_text()
    assert f"/blob/{head}/my%20ops-1/state/tenants.yaml" in (tmp_path / "summary.md").read_text()


def test_schemas_for_editors_that_are_out_of_date_are_invalid_and_no_reason_for_no_plan(project: Project) -> None:
    project.commit_state(KILL)
    file = project.directory / "schemas" / "json" / "tenants.state.schema.json"
    file.write_text("{}")
    project.commit()
    done = project.run("ci", "validate")
    assert (done.code, "run `reconcile schema`" in done.out) == (3, True), str(done)
    assert project.run("ci", "plan").code == 0


def test_no_text_from_yaml_is_a_command_in_the_log_of_a_plain_run_either(project: Project) -> None:
    """Whoever runs `reconcile` itself in a step has the same log."""
    reason = " ".join(["::stop-commands::x ##[error]y"] * 8)
    project.commit_state(f"{ACME}:\n  isWhatsappEnabled: {{value: false, reason: '{reason}'}}\n")
    in_job = {"GITHUB_ACTIONS": "true", "CI": "true"}
    plain = project.succeed("--dry-run")
    done = project.succeed("--dry-run", environment=in_job)
    applied = project.succeed(environment=in_job)
    project.state(f"{ACME}:\n  '::error::x ##[error]y': 1\n")
    wrong = project.run("--dry-run", environment=in_job)
    assert (plain.out.count("##["), "##[" in wrong.err) == (8, False)
    for text in (done.out, done.err, applied.out, applied.err, wrong.err):
        assert not [line for line in text.splitlines() if line.lstrip().startswith("::") or "##[" in line]
    assert "stop-commands" in done.out
    assert "unknown field" in wrong.err or "no managed field" in wrong.err, wrong.err


def test_what_is_about_an_apply_is_refused_elsewhere(project: Project) -> None:
    project.commit_state(KILL)
    done = project.run("ci", "plan", "--no-verify")
    assert (done.code, "--no-verify is for an apply" in done.err) == (64, True), str(done)
    done = project.run("ci", "plan", "--batch", "5")
    assert (done.code, "--batch is for an apply" in done.err) == (64, True), str(done)
    assert project.run("ci", "apply", "--no-verify").code == 0
    assert len(project.entries()) == 1


def test_a_file_that_cannot_be_written_is_told_and_the_exit_code_stays(project: Project) -> None:
    project.commit_state(KILL)
    done = project.run("ci", "plan", "--markdown-out", "none/plan.md", "--plan-out", "none/plan.json")
    assert done.code == 0, str(done)
    assert "none/plan.md" in done.err
    assert "none/plan.json" in done.out


def test_every_mode_that_makes_a_plan_says_where_it_is_and_only_if_it_is_there(
    project: Project, tmp_path: Path
) -> None:
    project.commit_state(KILL)
    environment = on_github(tmp_path, "push", {})
    outputs = tmp_path / "outputs"
    for mode in ("apply", "drift"):
        outputs.write_text("")
        done = project.run("ci", mode, "--plan-out", str(tmp_path / "plan.json"), environment=environment)
        assert done.code == 0, str(done)
        file = Path(read_outputs(outputs.read_text())["plan-file"])
        assert json.loads(file.read_text())["counts"]["changes"] == (1 if mode == "apply" else 0)
        file.unlink()
    outputs.write_text("")
    environment |= on_github(tmp_path, "pull_request", of_request(project.repo.head))
    done = project.run("ci", "plan", "--plan-out", "none/plan.json", environment=environment)
    assert done.code == 0, str(done)
    said = read_outputs(outputs.read_text())
    assert (said["plan-file"], said["artifact"]) == ("", "")


def test_what_dependabot_proposes_is_validated_where_it_gets_no_secrets(project: Project, tmp_path: Path) -> None:
    head = project.commit_state(KILL)
    environment = on_github(tmp_path, "pull_request", of_request(head), GITHUB_ACTOR="dependabot[bot]")
    no_secret = {"DATABASE_URL": ""}  # what a secret is that is not there
    without = project.run("ci", "plan", environment=environment | no_secret)
    assert (without.code, "of Dependabot's gets no secrets" in without.out) == (0, True), str(without)
    with_secrets = project.run("ci", "plan", environment=environment)
    assert (with_secrets.code, "Acme Bakery" in with_secrets.out) == (0, True), str(with_secrets)
    # Nobody else's want of a database is taken for that.
    environment["GITHUB_ACTOR"] = "octo"
    assert project.run("ci", "plan", environment=environment | no_secret).code != 0
