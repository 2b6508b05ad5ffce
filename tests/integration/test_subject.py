"""Whom an incident is about: found by key, by the beginning of one, or by name, and never guessed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from reconciler.database.connection import open_database
from reconciler.database.url import parse_database_url
from reconciler.errors import UsageProblem
from reconciler.model import Row, Value
from reconciler.runbook.subject import Subject, find_in_database, find_in_state
from tests.support.postgres import Database
from tests.support.triage import ACME, BOB, RUNBOOK

TENANTS = RUNBOOK.definitions.tables["tenants"]
NAMES = {ACME: "Acme Bakery", BOB: "Bob's Bikes", "acme": "Zoo", "k-50%": "50%_off", "k-two": "Twin", "k-twin": "Twin"}
Find = Callable[[str], Subject]


@pytest.fixture(params=["database", "state"])
def find(request: pytest.FixtureRequest, database: Database) -> Iterator[Find]:
    """Both ways to look: they must find the same."""
    if request.param == "state":
        rows = {key: Row("tenants", key, {}, expect={"name": Value(name)}) for key, name in NAMES.items()}
        yield lambda text: find_in_state(rows, TENANTS, text)
        return
    for key, name in NAMES.items():
        database.tenant(key, name=name)
    database.tenant("SYSTEM", name="System")
    with open_database([parse_database_url(database.url, variable="DATABASE_URL")]) as connection:
        yield lambda text: find_in_database(connection, RUNBOOK.definitions, TENANTS, text)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (ACME, ACME),
        (ACME[:4], ACME),
        (ACME[:8].upper(), ACME),
        ("acme bakery", ACME),
        ("  Acme B ", ACME),
        ("acme", "acme"),  # a whole key before the beginning of a name
        ("bikes", BOB),
        ("bob's", BOB),
        ("50%_", "k-50%"),
        ("k-twin", "k-twin"),
    ],
)
def test_one_row_is_found(find: Find, text: str, key: str) -> None:
    assert find(text) == Subject("tenants", key, NAMES[key])


@pytest.mark.parametrize("text", ["Twin", "twi", "k-tw", "e"])
def test_what_could_mean_several_is_refused_with_a_list(find: Find, text: str) -> None:
    with pytest.raises(UsageProblem, match="could mean each of these") as refused:
        find(text)
    assert len(str(refused.value).splitlines()) > 2


@pytest.mark.parametrize("text", ["nobody", "", "  ", "System", "SYSTEM", "%%", "_ _", "' OR true --"])
def test_what_means_none_is_refused(find: Find, text: str) -> None:
    with pytest.raises(UsageProblem) as refused:
        find(text)
    assert "Nothing was changed" in str(refused.value)


def test_no_more_than_ten_are_listed(database: Database) -> None:
    for number in range(15):
        database.tenant(f"key-{number:02}", name="Many")
    with open_database([parse_database_url(database.url, variable="DATABASE_URL")]) as connection:
        with pytest.raises(UsageProblem) as refused:
            find_in_database(connection, RUNBOOK.definitions, TENANTS, "many")
    lines = str(refused.value).splitlines()
    assert (lines[1], lines[-2], lines[-1]) == ("  key-00  Many", "  key-09  Many", "  and more")


def test_with_the_database_away_only_a_whole_key_is_taken_unseen() -> None:
    assert find_in_state({}, TENANTS, ACME) == Subject("tenants", ACME, None, is_certain=False)
    with pytest.raises(UsageProblem, match="give the whole key"):
        find_in_state({}, TENANTS, ACME[:8])
