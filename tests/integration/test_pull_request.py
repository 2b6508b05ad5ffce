"""Which class a pull request is: the direction of what lies between two commits of a real repository."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reconciler.approvals import PullRequestReview, User, parse_reviews, verdict
from reconciler.errors import InvalidInput, Refused, UsageProblem
from reconciler.pull_request import parse_range, review_changes
from reconciler.review import Review
from tests.support import cli
from tests.support.gitrepo import GitRepo

SCHEMA = """\
table: shops
key: code
audit: {event: SHOP}
fields:
  open: {type: boolean, kill: false, restore: {after: 24h}}
  seats: {type: integer, kill: lower, nullable: true}
  stage: {type: enum, values: [live, trial, stopped], kill: [stopped]}
  title: {type: string}
"""
POLICY = """\
audit:
  table: entries
  columns: {id: $uuid, shop: $tenant, event: $event, metadata: $metadata}
  without_tenant: {tenant: none}
"""
FAR, FARTHER = "2031-01-01T00:00:00Z", "2032-01-01T00:00:00Z"


@pytest.fixture
def repo(git_repo: GitRepo) -> GitRepo:
    git_repo.write("schemas/shops.yaml", SCHEMA)
    git_repo.write("schemas/policy.yaml", POLICY)
    git_repo.write("README.md", "Ours\n")
    git_repo.commit("Begin")
    return git_repo


def state(repo: GitRepo, fields: str) -> str:
    """A commit of one row with these fields (`open: true`), each on its line."""
    below = "".join(f"  {line}\n" for line in fields.splitlines())
    repo.write("state/shops.yaml", f"acme:\n{below}" if fields else "# nothing yet\n")
    return repo.commit(fields or "nothing")


def between(repo: GitRepo, base: str, head: str = "HEAD") -> Review:
    return review_changes(repo.path, parse_range(f"{base}..{head}"))


CASES = [
    # before, after, class
    ("open: true", "open: false", "kill"),
    ("open: false", "open: true", "restore"),
    ("open: true", "open: true", "none"),
    ("open: true", "open: {value: true}", "none"),
    ("seats: 5", "seats: 4", "kill"),
    ("seats: 4", "seats: 5", "restore"),
    ("seats: 4", "seats: null", "restore"),
    ("seats: null", "seats: 4", "kill"),
    ("stage: live", "stage: stopped", "kill"),
    ("stage: stopped", "stage: trial", "restore"),
    ("title: a", "title: b", "neutral"),
    ("title: a", "title: {value: a, reason: why}", "neutral"),
    ("open: true\nseats: 4", "open: false\nseats: 5", "mixed"),
    ("open: true\ntitle: a", "open: false\ntitle: b", "mixed"),
    ("open: false\ntitle: a", "open: true\ntitle: b", "restore"),
    # a touch of an open entry restores what was killed by hand; one of a killed entry restores nothing
    ("open: true", "open: {value: true, reason: fixed}", "restore"),
    ("open: false", "open: {value: false, reason: INC-1}", "neutral"),
    ("stage: live", "stage: trial", "restore"),
    # what git names for the first time, or no longer
    ("title: a", "title: a\nopen: false", "kill"),
    ("title: a", "title: a\nopen: true", "restore"),
    ("title: a", "title: a\nseats: 3", "restore"),
    ("title: a\nopen: false", "title: a", "neutral"),
    ("", "title: a", "neutral"),
    ("", "open: false", "kill"),
    ("open: false", "", "neutral"),
    # waivers
    ("open: false", 'open: {value: false, override: {after: "yes"}}', "restore"),
    ('open: {value: false, override: {after: "yes"}}', "open: false", "neutral"),
    # `until` and `then`
    ("open: false", f"open: {{value: false, until: {FAR}}}", "neutral"),
    ("open: false", f"open: {{value: false, until: {FAR}, then: true}}", "restore"),
    ("open: false", f"open: {{value: false, until: {FAR}, then: restore}}", "restore"),
    ("open: true", f"open: {{value: false, until: {FAR}, then: restore}}", "mixed"),
    (f"open: {{value: false, until: {FAR}, then: true}}", f"open: {{value: false, until: {FARTHER}, then: true}}",
     "neutral"),
    (f"open: {{value: false, until: {FARTHER}, then: true}}", f"open: {{value: false, until: {FAR}, then: true}}",
     "restore"),
    (f"open: {{value: false, until: {FAR}, then: true}}", "open: false", "neutral"),
    (f"open: {{value: true, until: {FAR}, then: false}}", "open: true", "restore"),
    (f"open: {{value: true, until: {FAR}, then: false}}", "", "restore"),
    (f"seats: {{value: 5, until: {FAR}, then: 9}}", f"seats: {{value: 5, until: {FAR}, then: 7}}", "restore"),
    (f"seats: {{value: 5, until: {FAR}, then: 3}}", f"seats: {{value: 2, until: {FAR}, then: 3}}", "mixed"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "expected"), CASES)
def test_a_change_of_one_row_has_its_class(repo: GitRepo, before: str, after: str, expected: str) -> None:
    base = state(repo, before)
    state(repo, after)
    review = between(repo, base)
    assert review.review_class == expected, review
    assert all(entry.directions for entry in review.entries)


def test_a_place_is_that_of_the_new_value_and_none_is_that_of_what_is_gone(repo: GitRepo) -> None:
    base = state(repo, "open: true\ntitle: a")
    state(repo, "open: false")
    killed, gone = between(repo, base).entries
    assert (killed.field, str(killed.location), killed.what) == ("open", "state/shops.yaml:2:9", "true -> false")
    assert (gone.field, gone.location) == ("title", None)


def test_moving_and_formatting_is_no_change(repo: GitRepo) -> None:
    base = state(repo, "open: True\ntitle: a")
    repo.git("rm", "--quiet", "state/shops.yaml")
    repo.write("state/shops/acme.yaml", "# moved\nacme: {title: 'a', open: true}\n")
    repo.write("schemas/shops.yaml", "# a comment\n" + SCHEMA)
    repo.commit("Move")
    review = between(repo, base)
    assert (review.review_class, review.entries, review.files) == ("none", (), ())
    assert review.others == ("schemas/shops.yaml", "state/shops.yaml", "state/shops/acme.yaml")
    assert review.needed == 1


def test_what_is_expected_of_a_row_is_neutral(repo: GitRepo) -> None:
    base = state(repo, "open: false")
    state(repo, "$expect: {title: Acme}\nopen: false")
    (entry,) = between(repo, base).entries
    assert (entry.field, str(entry.location)) == ("", "state/shops.yaml:1:1")
    assert between(repo, base).review_class == "neutral"


def test_a_schema_that_turns_a_direction_round_counts_in_both(repo: GitRepo) -> None:
    base = state(repo, "open: true")
    repo.write("schemas/shops.yaml", SCHEMA.replace("kill: false", "kill: true"))
    state(repo, "open: false")
    review = between(repo, base)
    assert review.review_class == "mixed"
    assert {direction.value for direction in review.entries[0].directions} == {"kill", "restore"}
    (file,) = review.files
    assert (file.kind, file.details) == ("schema", ("shops.open: `kill` false -> true",))
    assert review.needed == 2


def test_guards_playbooks_and_the_policy_are_definitions(repo: GitRepo) -> None:
    base = state(repo, "open: true")
    repo.write("schemas/shops.yaml", SCHEMA.replace(", restore: {after: 24h}", ""))
    repo.write("schemas/policy.yaml", POLICY + "approvals: {kill: 0, restore: 0, definitions: 0}\n")
    repo.write("schemas/playbooks/one.yaml", "title: [unfinished]\n")
    repo.commit("Loosen")
    review = between(repo, base)
    assert [(file.path, file.kind) for file in review.files] == [
        ("schemas/playbooks/one.yaml", "playbook"),
        ("schemas/policy.yaml", "policy"),
        ("schemas/shops.yaml", "schema"),
    ]
    assert review.files[2].details == ('shops.open: `restore` {"after":"24h","requires":[]} -> nothing',)
    assert review.review_class == "neutral"
    assert review.needed == 2, "what counts is the policy of the base"


def test_a_kill_beside_a_changed_schema_is_no_mere_kill(repo: GitRepo) -> None:
    base = state(repo, "open: true")
    repo.write("schemas/shops.yaml", SCHEMA.replace("24h", "1h"))
    state(repo, "open: false")
    assert between(repo, base).review_class == "mixed"


def test_a_field_of_another_type_has_no_direction_that_can_be_told(repo: GitRepo) -> None:
    base = state(repo, "seats: 5")
    repo.write("schemas/shops.yaml", SCHEMA.replace("seats: {type: integer, kill: lower, nullable: true}",
                                                    "seats: {type: string}"))  # fmt: skip
    state(repo, "seats: many")
    review = between(repo, base)
    assert review.review_class == "restore"
    assert "type of the field has changed" in review.entries[0].what


def test_how_many_must_approve_stands_in_the_policy_of_the_base(repo: GitRepo) -> None:
    repo.write("schemas/policy.yaml", POLICY + "approvals: {kill: 0, restore: 3}\n")
    base = state(repo, "open: true\ntitle: a")
    killed = state(repo, "open: false\ntitle: a")
    state(repo, "open: true\ntitle: a")
    assert between(repo, base, killed).needed == 0
    assert between(repo, killed).needed == 3
    repo.write("README.md", "Other words\n")
    assert between(repo, base, state(repo, "open: false\ntitle: a")).needed == 1, "what rides along is looked at"


def test_a_branch_is_compared_with_where_it_parted(repo: GitRepo) -> None:
    state(repo, "open: true\ntitle: a")
    repo.git("checkout", "--quiet", "-b", "topic")
    state(repo, "open: true\ntitle: b")
    repo.git("checkout", "--quiet", "main")
    state(repo, "open: false\ntitle: a")
    parted = review_changes(repo.path, parse_range("main...topic"))
    assert (parted.review_class, parted.notes) == ("neutral", ())
    plain = review_changes(repo.path, parse_range("main..topic"))
    assert plain.review_class == "restore"
    assert "compare main...topic" in plain.notes[0]


def test_a_base_that_is_invalid_asks_for_the_most_and_a_head_that_is_invalid_is_an_error(repo: GitRepo) -> None:
    good = state(repo, "open: true")
    bad = state(repo, "open: maybe")
    state(repo, "open: false")
    review = between(repo, bad)
    assert (review.review_class, review.needed) == ("unknown", 2)
    assert review.unknown is not None
    assert 'state/shops.yaml:2:9: shops.open: "maybe" is not a boolean' in review.unknown
    with pytest.raises(InvalidInput, match="is not a boolean"):
        between(repo, good, bad)


def test_the_first_state_of_a_repository_is_named_for_the_first_time(git_repo: GitRepo) -> None:
    git_repo.write("README.md", "Ours\n")
    base = git_repo.commit("Begin")
    git_repo.write("schemas/shops.yaml", SCHEMA)
    git_repo.write("schemas/policy.yaml", POLICY)
    state(git_repo, "open: true")
    review = between(git_repo, base)
    assert review.review_class == "restore"
    assert [file.kind for file in review.files] == ["policy", "schema"]


def test_what_names_no_two_commits_is_said(repo: GitRepo) -> None:
    for text in ("main", "..", "..main", "a....b"):
        with pytest.raises(UsageProblem, match=r"write BASE\.\.HEAD"):
            parse_range(text)
    with pytest.raises(UsageProblem, match="names no commit"):
        between(repo, "nowhere")
    repo.git("checkout", "--quiet", "--orphan", "alone")
    repo.commit("Alone")
    with pytest.raises(Refused, match="they share no history"):
        review_changes(repo.path, parse_range("main...alone"))


def test_the_work_tree_is_not_looked_at_and_a_project_may_be_a_folder_of_a_repository(git_repo: GitRepo) -> None:
    git_repo.write("ops/schemas/shops.yaml", SCHEMA)
    git_repo.write("ops/schemas/policy.yaml", POLICY)
    git_repo.write("ops/state/shops.yaml", "acme: {open: true}\n")
    base = git_repo.commit("Begin")
    git_repo.write("ops/state/shops.yaml", "acme: {open: false}\n")
    git_repo.write("app/code.py", "1\n")
    head = git_repo.commit("Kill")
    git_repo.write("ops/state/shops.yaml", "acme: {open: not even YAML\n")
    review = review_changes(git_repo.path / "ops", parse_range(f"{base}..{head}"))
    assert review.review_class == "kill"
    assert review.others == ("../app/code.py",)


def test_the_command_says_it_in_text_and_json(repo: GitRepo) -> None:
    base = state(repo, "open: true\nseats: 4")
    head = state(repo, "open: false\nseats: 5")
    done = cli.run("validate", "--changes", f"{base}..{head}", cwd=repo.path)
    assert done.code == 0, str(done)
    assert done.out == (
        "Class: mixed (kills together with something else). Approvals needed: 2.\n"
        "  RESTORE  shops/acme.seats  4 -> 5  state/shops.yaml:3:10\n"
        "  KILL     shops/acme.open  true -> false  state/shops.yaml:2:9\n"
    )
    done = cli.run("validate", "--changes", f"{base}..{head}", "--output", "json", cwd=repo.path)
    found = json.loads(done.out)
    assert {name: found[name] for name in ("class", "approvals", "kills", "restores", "neutral", "valid")} == {
        "class": "mixed", "approvals": 2, "kills": 1, "restores": 1, "neutral": 0, "valid": True,
    }  # fmt: skip
    assert found["entries"][0] == {
        "table": "shops", "key": "acme", "field": "open", "directions": ["kill"], "what": "true -> false",
        "file": "state/shops.yaml", "line": 2, "column": 9,
    }  # fmt: skip
    bad = state(repo, "open: maybe")
    done = cli.run("validate", "--changes", f"{base}..{bad}", "--output", "json", cwd=repo.path)
    assert (done.code, json.loads(done.out)["error"]["kind"]) == (3, "invalid_input")
    assert cli.run("validate", "--changes", f"{base}..", "--revision", base, cwd=repo.path).code == 64


def test_playbooks_of_the_head_are_checked_too(repo: GitRepo) -> None:
    base = state(repo, "open: true")
    repo.write("schemas/playbooks/one.yaml", "title: [unfinished]\n")
    repo.commit("A playbook")
    done = cli.run("validate", "--changes", f"{base}..HEAD", cwd=repo.path)
    assert done.code == 3
    assert "schemas/playbooks/one.yaml:1:" in done.err


# Approvals ----------------------------------------------------------------------------------------------------------


def approved(login: str, head: str, state: str = "APPROVED", association: str = "MEMBER") -> dict[str, object]:
    return {
        "id": 1, "user": {"login": login, "type": "User"}, "body": "", "state": state, "commit_id": head,
        "author_association": association, "submitted_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("reviews", "counted", "is_enough"),
    [
        ([("ann", "HEAD", "APPROVED"), ("bob", "HEAD", "APPROVED")], ("ann", "bob"), True),
        ([("ann", "HEAD", "APPROVED")], ("ann",), False),
        ([("ann", "HEAD", "APPROVED"), ("ann", "HEAD", "APPROVED")], ("ann",), False),
        ([("ann", "HEAD", "APPROVED"), ("bob", "old", "APPROVED")], ("ann",), False),
        ([("ann", "HEAD", "APPROVED"), ("author", "HEAD", "APPROVED")], ("ann",), False),
        ([("ann", "HEAD", "APPROVED"), ("AUTHOR", "HEAD", "APPROVED")], ("ann",), False),
        ([("ann", "HEAD", "APPROVED"), ("ann", "HEAD", "COMMENTED"), ("bob", "HEAD", "APPROVED")],
         ("ann", "bob"), True),
        ([("ann", "HEAD", "APPROVED"), ("ann", "HEAD", "DISMISSED"), ("bob", "HEAD", "APPROVED")], ("bob",), False),
        ([("ann", "HEAD", "APPROVED"), ("bob", "HEAD", "APPROVED"), ("cy", "HEAD", "CHANGES_REQUESTED")],
         ("ann", "bob"), False),
        ([("ann", "HEAD", "CHANGES_REQUESTED"), ("ann", "HEAD", "APPROVED"), ("bob", "HEAD", "APPROVED")],
         ("ann", "bob"), True),
    ],
)  # fmt: skip
def test_a_restore_needs_two_people_who_saw_this_very_head(
    repo: GitRepo, reviews: list[tuple[str, str, str]], counted: tuple[str, ...], is_enough: bool
) -> None:
    base = state(repo, "open: false")
    head = state(repo, "open: true")
    listed = [approved(login, head if seen == "HEAD" else base, word) for login, seen, word in reviews]
    said = verdict(between(repo, base), parse_reviews(json.dumps(listed).encode()), ["author"])
    assert (said.approved_by, said.is_enough) == (counted, is_enough)
    assert len(said.description) <= 140


def test_strangers_and_programs_do_not_count(repo: GitRepo) -> None:
    base = state(repo, "open: false")
    head = state(repo, "open: true")
    bot = approved("robot", head) | {"user": {"login": "robot", "type": "Bot"}}
    listed = [bot, approved("eve", head, association="CONTRIBUTOR"), approved("ann", head), {"state": "APPROVED"}]
    said = verdict(between(repo, base), parse_reviews(json.dumps(listed).encode()), [])
    assert said.approved_by == ("ann",)


def test_all_that_the_host_prints_is_understood_and_nothing_else() -> None:
    one, other = approved("ann", "a"), approved("bob", "a")
    expected = [PullRequestReview("APPROVED", User("ann"), "a", "MEMBER"),
                PullRequestReview("APPROVED", User("bob"), "a", "MEMBER")]  # fmt: skip
    for text in (
        json.dumps([one, other]),
        json.dumps([[one], [other]]),
        json.dumps([one]) + json.dumps([other]),
        json.dumps([one], indent=2) + "\n" + json.dumps([other]) + "\n",
    ):
        assert parse_reviews(text.encode()) == expected
    assert parse_reviews(b"[]\n") == []
    for wrong in ("", "{}", '{"message": "Bad credentials"}', "[1]", "no JSON"):
        with pytest.raises(UsageProblem, match="these are no reviews"):
            parse_reviews(wrong.encode())


def test_the_command_counts_reviews_from_a_file(repo: GitRepo, tmp_path: Path) -> None:
    base = state(repo, "open: false")
    head = state(repo, "open: true")
    file = tmp_path / "reviews.json"
    file.write_text(json.dumps([approved("ann", head), approved("olu", head)]), encoding="utf-8")
    arguments = ("approvals", f"{base}...{head}", "--reviews", str(file))
    done = cli.run(*arguments, "--author", "olu", "--exit-code", cwd=repo.path)
    assert (done.code, done.out) == (5, "failure: restore: 1 of 2 approvals (ann)\n"), str(done)
    done = cli.run(*arguments, "--output", "json", cwd=repo.path)
    found = json.loads(done.out)
    assert (found["state"], found["needed"], found["approved_by"]) == ("success", 2, ["ann", "olu"])
    done = cli.run(*arguments[:3], "-", cwd=repo.path, stdin="[]")
    assert done.out == "failure: restore: 0 of 2 approvals\n"
