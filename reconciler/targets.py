"""Several databases of one platform, for regions or shards: which of them this process works for, and what is its own.

Takes the policy's `targets` and the name that `--target` gives; gives the files of state that count for it. A process
works for one target, with a transaction, a lock and a ledger of its own; `--target all` is a process for each
(`cli/all_targets`). Without `targets:` in the policy none of this has a meaning.

What stands in `state/TABLE/TARGET/` is asked of that target alone, everything else of all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextvars import ContextVar

from reconciler.errors import UsageProblem, nearest
from reconciler.policy import ALL
from reconciler.sources import SourceFile

__all__ = ["choose", "chosen", "files_for", "folder_for", "need_target", "views"]

_CHOSEN: ContextVar[str | None] = ContextVar("target", default=None)


def choose(name: str, targets: Collection[str]) -> None:
    """Work for this target from here on. Raises UsageProblem where the policy declares none of the name."""
    if not targets:
        raise UsageProblem(f"--target {name}: schemas/policy.yaml declares no `targets`")
    if name not in targets:
        hint = nearest(name, [*targets, ALL]) or f"there are {', '.join(targets)}, and {ALL}"
        raise UsageProblem(f"--target {name}: schemas/policy.yaml declares no such target ({hint})")
    _CHOSEN.set(name)


def chosen() -> str | None:
    """The target that this process works for."""
    return _CHOSEN.get()


def need_target(targets: Collection[str]) -> None:
    """Raise UsageProblem where there are several databases, and nobody has said which is meant."""
    if targets and chosen() is None:
        names = ", ".join(targets)
        raise UsageProblem(f"schemas/policy.yaml declares several databases ({names}): give --target NAME, or {ALL}")


def views(files: Iterable[SourceFile], targets: Collection[str]) -> list[list[SourceFile]]:
    """The files of the chosen target; where none is chosen, those of each."""
    files = list(files)
    if not targets or chosen() is not None:
        return [files_for(files, targets)]
    return [[file for file in files if _owner(file.path, targets) in (None, target)] for target in targets]


def files_for(files: Iterable[SourceFile], targets: Collection[str]) -> list[SourceFile]:
    """The files of state that count for the chosen target; where none is chosen, those that count for all."""
    mine = chosen()
    return [file for file in files if (owner := _owner(file.path, targets)) is None or owner == mine]


def folder_for(table: str, targets: Collection[str]) -> str | None:
    """The folder of state for what is asked of the chosen target alone; None where there are no targets."""
    mine = chosen()
    return f"state/{table}/{mine}/" if mine is not None and mine in targets else None


def _owner(path: str, targets: Collection[str]) -> str | None:
    """The target in whose folder a file stands: `state/tenants/eu/acme.yaml`."""
    parts = path.split("/", 3)
    return parts[2] if len(parts) == 4 and parts[2] in targets else None
