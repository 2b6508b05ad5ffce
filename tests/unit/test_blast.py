"""A run that would change too much is refused with the numbers and the way to mean it; in both directions."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from reconciler.blast import TRAILER, refusals, tables_to_count
from reconciler.model import MISSING, Action, Change, Direction, Finding
from reconciler.policy import Blast, BlastLimit

KILL, RESTORE, NEUTRAL = Direction.KILL, Direction.RESTORE, Direction.NEUTRAL


def changes(
    number: int, direction: Direction = KILL, *, table: str = "shops", action: Action = Action.UPDATE, fields: int = 1
) -> list[Change]:
    """So many rows that change, in so many fields each."""
    return [
        Change(
            table=table,
            key=f"{direction.value}-{row}",
            field=f"f{field}",
            finding=Finding.CHANGE,
            action=action,
            direction=direction,
            before=True,
            after=False,
            desired=False,
            base=True,
            explanation="",
        )
        for row in range(number)
        for field in range(fields)
    ]


def refused(found: Iterable[Change], limit: Blast, sizes: dict[str, int] | None = None, allowed: int = 0) -> list[str]:
    return refusals(found, limit, sizes or {}, allowed)


ROWS = Blast(kill=BlastLimit(rows=5), restore=BlastLimit(rows=2))
SHARE = Blast(kill=BlastLimit(share="50%", floor=3), restore=BlastLimit(share="12.5%", floor=0))


@pytest.mark.parametrize(("direction", "most"), [(KILL, 5), (RESTORE, 2), (NEUTRAL, 2)])
def test_more_rows_than_the_policy_allows_are_refused_and_as_many_are_not(direction: Direction, most: int) -> None:
    assert refused(changes(most, direction), ROWS) == []
    [sentence] = refused(changes(most + 1, direction), ROWS)
    assert sentence.startswith(f"{most + 1} rows would change, and the policy allows {most} in one run")
    assert ("toward the kill side" in sentence) is (direction is KILL)


def test_a_refusal_holds_the_exact_waiver_for_a_commit_and_for_the_command_line() -> None:
    [sentence] = refused([*changes(6), *changes(1, RESTORE)], ROWS)
    assert f'"{TRAILER}: 7"' in sentence
    assert '--allow-changes 7 --reason "..."' in sentence
    assert "A kill in the meantime: --only table/key" in sentence


def test_what_is_allowed_on_purpose_passes_and_one_row_more_does_not() -> None:
    found = [*changes(6), *changes(4, RESTORE)]
    assert refused(found, ROWS, allowed=10) == []
    assert len(refused(found, ROWS, allowed=9)) == 2


def test_rows_count_and_not_their_fields() -> None:
    assert refused(changes(5, fields=3), ROWS) == []


def test_each_direction_has_its_own_limit_and_the_other_does_not_count_against_it() -> None:
    assert refused([*changes(5), *changes(2, RESTORE)], ROWS) == []
    assert len(refused([*changes(1), *changes(3, RESTORE)], ROWS)) == 1


@pytest.mark.parametrize("action", [Action.HOLD, Action.KEEP, Action.RECORD, Action.RELEASE])
def test_what_is_not_written_does_not_count(action: Action) -> None:
    assert refused(changes(1000, action=action), ROWS) == []
    assert tables_to_count(changes(1000, action=action), SHARE) == set()


def test_rows_that_are_made_count() -> None:
    assert len(refused(changes(3, NEUTRAL, action=Action.CREATE), ROWS)) == 1


def test_a_share_of_a_table_is_refused_with_its_numbers() -> None:
    assert refused(changes(5), SHARE, {"shops": 10}) == []
    [sentence] = refused(changes(6), SHARE, {"shops": 10})
    assert sentence.startswith("6 of 10 rows of shops (60.0%) would change, and the policy allows 50%")


def test_a_share_is_exact() -> None:
    assert refused(changes(1, RESTORE), SHARE, {"shops": 8}) == []
    assert len(refused(changes(2, RESTORE), SHARE, {"shops": 15})) == 1


def test_a_share_counts_only_above_its_floor_and_the_number_of_rows_always() -> None:
    assert refused(changes(3), SHARE, {"shops": 3}) == []
    assert len(refused(changes(4), SHARE, {"shops": 4})) == 1
    below = Blast(kill=BlastLimit(rows=2, share="50%", floor=10))
    assert [text.split(",")[0] for text in refused(changes(3), below, {"shops": 3})] == ["3 rows would change"]


def test_a_share_is_of_each_table_by_itself() -> None:
    found = [*changes(4), *changes(4, table="cities")]
    [sentence] = refused(found, SHARE, {"shops": 1000, "cities": 5})
    assert "rows of cities" in sentence


def test_only_tables_that_could_pass_their_share_are_counted() -> None:
    found = [*changes(4), *changes(3, table="cities")]
    assert tables_to_count(found, SHARE) == {"shops"}
    assert tables_to_count(found, ROWS) == set()


def test_an_empty_table_in_which_rows_would_be_made_is_no_division_by_zero() -> None:
    [sentence] = refused(changes(1, NEUTRAL, action=Action.CREATE), SHARE, {"shops": 0})
    assert "1 of 0 rows of shops (100.0%)" in sentence


def test_without_a_limit_nothing_is_refused() -> None:
    assert refused(changes(100_000), Blast()) == []
    assert refused(changes(100_000), Blast(restore=BlastLimit(rows=1))) == []


def test_a_first_run_that_finds_everything_as_it_is_asks_for_nothing() -> None:
    adopted = [
        Change(**{name: getattr(one, name) for name in one.__struct_fields__} | {"base": MISSING})
        for one in changes(1000, NEUTRAL, action=Action.RECORD)
    ]
    assert refused(adopted, ROWS) == []
