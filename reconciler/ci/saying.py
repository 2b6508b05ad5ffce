"""Where a Result goes: the log, the job's summary, its outputs, and files.

Takes a Result and the environment; gives text for stdout. What comes from YAML, from the database or from an error
stands in the log so that the runner finds no command in it; the annotations alone are commands.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

from reconciler.ci.job import Result
from reconciler.ci.surroundings import Service
from reconciler.console.annotations import code_quality, log_text, workflow_commands
from reconciler.console.comment import summary

__all__ = ["log", "outputs", "page", "write_code_quality", "write_outputs", "write_page"]

_LONGEST_SUMMARY = 1 << 20
"""Bytes; GitHub shows no summary of a step that is longer."""


def log(result: Result, service: Service) -> str:
    """What the job's log says."""
    text = "\n".join(filter(None, [result.text.rstrip("\n"), *result.notes]))
    if service != "github":
        return text
    return f"{log_text(text)}\n{workflow_commands(result.annotations)}".strip("\n")


def page(result: Result) -> str:
    """The Markdown of the summary, and of the file for a service that has none."""
    notes = "".join(f"\n> {note}\n" for note in result.notes)
    return summary(result.markdown).rstrip("\n") + "\n" + notes


def write_page(result: Result, environment: Mapping[str, str], file: Path | None) -> Path | None:
    """Write the summary where the service shows it, and to the file; the file's name, where one was written.

    A service without summaries gets a file in any case. Raises OSError.
    """
    text = page(result)
    shown = environment.get("GITHUB_STEP_SUMMARY")
    if shown and len(text.encode()) <= _LONGEST_SUMMARY:
        with Path(shown).open("a", encoding="utf-8") as of_step:
            of_step.write(text)
    elif file is None:
        file = Path("reconcile.md")
    if file is not None:
        file.write_text(text, encoding="utf-8")
    return file


def outputs(result: Result, plan_file: Path | None) -> dict[str, str]:
    """What later steps of the job may read. `plan_file` is where the plan was saved, None where it was not."""
    counts = result.plan.counts if result.plan is not None else None
    return {
        "changes": str(counts.changes if counts else 0),
        "kills": str(counts.kills if counts else 0),
        "restores": str(counts.restores if counts else 0),
        "held": str(counts.held if counts else 0),
        "plan-file": str(plan_file or ""),
        "artifact": result.artifact or "" if plan_file else "",
        "fingerprint": result.plan.fingerprint if result.plan is not None else "",
        "exit-code": str(result.code),
    }


def write_outputs(found: Mapping[str, str], environment: Mapping[str, str]) -> None:
    """Append the outputs to GitHub's file, where there is one. Raises OSError."""
    path = environment.get("GITHUB_OUTPUT")
    if not path:
        return
    # Between two lines that nobody can guess, a value can hold anything.
    end = f"end-{secrets.token_hex(16)}"
    with Path(path).open("a", encoding="utf-8") as file:
        file.writelines(f"{name}<<{end}\n{value}\n{end}\n" for name, value in found.items())


def write_code_quality(result: Result, file: Path) -> None:
    """GitLab's report, for the diff of a merge request. Raises OSError."""
    file.write_bytes(code_quality(result.annotations))
