"""Lines of one commit's files in another commit's: what an annotation needs where the base of a pull request moved."""

from __future__ import annotations

from reconciler.ci.lines import HeadLines
from reconciler.model import Location
from reconciler.repository import Hunk, Repository
from tests.support.gitrepo import GitRepo


def test_hunks_tell_where_each_line_of_one_commit_stands_in_another(git_repo: GitRepo) -> None:
    git_repo.write("ops/state/[a].yaml", "1\n2\n3\n4\n5\n6\n")
    git_repo.write("ops/state/gone.yaml", "1\n")
    git_repo.commit("Old")
    with Repository.open(git_repo.path / "ops") as repository:
        old = repository.commit()
        git_repo.write("ops/state/[a].yaml", "0\n1\nzwei\n4\n5\n6\n7\n")
        (git_repo.path / "ops/state/gone.yaml").unlink()
        git_repo.commit("New")
        new = repository.commit()
        assert repository.hunks(old, new, "state/[a].yaml") == [Hunk(1, 1, 1, 2), Hunk(2, 4, 3, 4), Hunk(7, 7, 7, 8)]
        assert repository.hunks(new, old, "state/[a].yaml") == [Hunk(1, 2, 1, 1), Hunk(3, 4, 2, 4), Hunk(7, 8, 7, 7)]
        assert repository.hunks(old, new, "state/gone.yaml") == []
        assert repository.hunks(old, old, "state/[a].yaml") == []


def test_a_line_is_found_in_the_head_and_one_that_it_lacks_stands_where_it_would() -> None:
    # HEAD has two lines more at its top, the third line twice as long, and its last line alone.
    lines = HeadLines({"a.yaml": [Hunk(1, 3, 1, 1), Hunk(5, 7, 3, 4), Hunk(9, 10, 6, 6)]})
    placed = [lines.place(Location("a.yaml", line, 7)) for line in range(1, 11)]
    assert [(place.line, place.column) for place in placed if place] == [
        (1, 7), (1, 7), (1, 7), (2, 7), (3, 7), (3, 7), (4, 7), (5, 7), (5, 7), (6, 7),
    ]  # fmt: skip
    assert lines.place(Location("b.yaml", 5, 1)) == Location("b.yaml", 5, 1)
    assert lines.place(None) is None
