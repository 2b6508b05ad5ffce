"""Where a remote is on the web, and the page that makes a pull request there."""

from __future__ import annotations

import pytest

from reconciler.hosts.pull_request import PullRequest, Repository, hosted_at
from tests.support.gitrepo import GitRepo

REQUEST = PullRequest("kill/x-1", "main", "Kill", "body", ())


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://github.com/acme/platform.git", Repository("github.com", "acme/platform")),
        ("https://user:secret@github.com/acme/platform", Repository("github.com", "acme/platform")),
        ("git@github.com:acme/platform.git", Repository("github.com", "acme/platform")),
        ("ssh://git@git.example.org:2222/acme/platform.git", Repository("git.example.org", "acme/platform")),
        ("git@gitlab.com:group/sub/platform.git", Repository("gitlab.com", "group/sub/platform", True)),
        ("https://code.example.org/a/b", Repository("code.example.org", "a/b", True)),
        ("/srv/git/platform.git", None),
        ("../platform.git", None),
        ("file:///srv/git/platform.git", None),
        ("C:/git/platform.git", None),
        ("https://github.com/", None),
    ],
)
def test_the_address_of_a_remote_is_understood_however_it_is_written(
    git_repo: GitRepo, address: str, expected: Repository | None
) -> None:
    git_repo.git("remote", "add", "origin", address)
    assert hosted_at(git_repo.path, "origin", {"CI_SERVER_URL": "https://code.example.org"}) == expected


def test_an_abbreviated_address_is_read_as_git_reads_it(git_repo: GitRepo) -> None:
    git_repo.git("config", "url.https://github.com/.insteadOf", "hub:/")
    git_repo.git("remote", "add", "origin", "hub:/acme/platform")
    assert hosted_at(git_repo.path, "origin", {}) == Repository("github.com", "acme/platform")


def test_the_page_names_both_branches() -> None:
    assert Repository("github.com", "a/b").page(REQUEST) == "https://github.com/a/b/compare/main...kill/x-1?expand=1"
    assert Repository("gitlab.com", "a/b", True).page(REQUEST) == (
        "https://gitlab.com/a/b/-/merge_requests/new"
        "?merge_request%5Bsource_branch%5D=kill%2Fx-1&merge_request%5Btarget_branch%5D=main"
    )
