"""Freezes are on in their windows and only there, by the clock of their own zone, daylight saving included."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.freezes import frozen_now
from reconciler.policy import Freeze

BERLIN = ZoneInfo("Europe/Berlin")
# Clocks go forward on 29 March 2026 (02:00 is 03:00), and back on 25 October (03:00 is 02:00 again).


def end_of(freeze: Freeze, now: datetime) -> datetime | None:
    """Until when it is on, None where it is not."""
    found = list(frozen_now([freeze], now))
    assert len(found) <= 1
    return found[0].until if found else None


def berlin(text: str, *, again: bool = False) -> datetime:
    """A time on Berlin's walls; `again`: the second time that the clock shows it."""
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=1 if again else 0).astimezone(UTC)


def recurring(cron: str, length: str, zone: str = "Europe/Berlin") -> Freeze:
    return Freeze(name="F", cron=cron, for_=length, timezone=zone)


WINDOW = Freeze(name="Holidays", from_="2026-12-23T18:00:00+01:00", to="2027-01-04T07:00:00Z")
WEEKEND = recurring("0 18 * * FRI", "60h")


@pytest.mark.parametrize(
    ("now", "on"),
    [
        ("2026-12-23T16:59:59.999999+00:00", False),
        ("2026-12-23T17:00:00+00:00", True),
        ("2027-01-04T06:59:59.999999+00:00", True),
        ("2027-01-04T07:00:00+00:00", False),
    ],
)
def test_a_window_begins_at_its_first_moment_and_is_over_at_its_last(now: str, on: bool) -> None:
    until = datetime(2027, 1, 4, 7, tzinfo=UTC)
    assert end_of(WINDOW, datetime.fromisoformat(now)) == (until if on else None)


@pytest.mark.parametrize(
    ("now", "on"),
    [
        ("2026-11-27T17:59:59.999999", False),
        ("2026-11-27T18:00:00", True),
        ("2026-11-27T18:00:00.000001", True),
        ("2026-11-29T12:00:00", True),
        ("2026-11-30T05:59:59.999999", True),
        ("2026-11-30T06:00:00", False),
    ],
)
def test_a_weekend_is_frozen_from_friday_evening_to_monday_morning(now: str, on: bool) -> None:
    assert end_of(WEEKEND, berlin(now)) == (berlin("2026-11-30T06:00:00") if on else None)


def test_a_zone_counts() -> None:
    now = datetime(2026, 11, 27, 17, 30, tzinfo=UTC)
    assert end_of(WEEKEND, now) is not None
    assert end_of(recurring("0 18 * * FRI", "60h", "UTC"), now) is None
    assert end_of(recurring("0 18 * * FRI", "60h", "America/New_York"), now) is None


def test_windows_that_overlap_last_until_the_last_of_them_ends() -> None:
    # Every day for 36 hours: always on, and each window ends 36 hours after the newest has begun.
    now = berlin("2026-11-27T10:00:00")
    assert end_of(recurring("0 9 * * *", "36h"), now) == berlin("2026-11-28T21:00:00")


def test_where_the_clocks_go_back_a_freeze_ends_when_the_wall_says_so_an_hour_later() -> None:
    in_it = berlin("2026-10-25T12:00:00")
    assert end_of(WEEKEND, in_it) == berlin("2026-10-26T06:00:00")
    assert berlin("2026-10-26T06:00:00") - berlin("2026-10-23T18:00:00") == timedelta(hours=61)


def test_where_the_clocks_go_forward_a_freeze_lasts_as_long_as_it_says() -> None:
    in_it = berlin("2026-03-29T12:00:00")
    assert end_of(WEEKEND, in_it) == berlin("2026-03-30T07:00:00")
    # By the wall it would be over after half an hour.
    assert end_of(recurring("30 1 * * *", "90m"), berlin("2026-03-29T03:15:00")) == berlin("2026-03-29T04:00:00")


@pytest.mark.parametrize("again", [False, True])
def test_in_the_hour_that_is_there_twice_a_freeze_that_has_begun_stays_on(again: bool) -> None:
    night = recurring("30 2 * * *", "2h")
    until = berlin("2026-10-25T04:30:00")
    assert end_of(night, berlin("2026-10-25T02:29:00")) is None
    for minute in (30, 45, 59):
        assert end_of(night, berlin(f"2026-10-25T02:{minute}:00", again=again)) == until
    # 02:10, for the second time: the window began 40 minutes ago.
    assert end_of(night, berlin("2026-10-25T02:10:00", again=True)) == until


def test_a_time_that_a_night_leaves_out_begins_when_the_clock_goes_on() -> None:
    night = recurring("30 2 * * *", "2h")
    assert end_of(night, berlin("2026-03-29T01:59:59")) is None
    assert end_of(night, berlin("2026-03-29T03:00:00")) == berlin("2026-03-29T05:00:00")


HOURS = st.integers(1, 72)


@given(
    start=st.sampled_from([datetime(2026, 3, 26, tzinfo=UTC), datetime(2026, 10, 22, tzinfo=UTC)]),
    minutes=st.integers(0, 6 * 24 * 60),
    hour=st.integers(0, 23),
    minute=st.sampled_from([0, 30]),
    length=HOURS,
)
@example(start=datetime(2026, 10, 22, tzinfo=UTC), minutes=3 * 24 * 60 + 70, hour=2, minute=30, length=1)
def test_a_freeze_is_on_whenever_a_window_began_less_than_its_length_ago(
    start: datetime, minutes: int, hour: int, minute: int, length: int
) -> None:
    now = start + timedelta(minutes=minutes)
    # Each day's beginning, told without cron: the wall's time, or where a night leaves it out, when the clock goes on.
    begins = []
    for day in range(-5, 8):
        date = (start + timedelta(days=day)).date()
        wall = datetime(date.year, date.month, date.day, hour, minute, tzinfo=BERLIN)
        begin = wall.astimezone(UTC)
        if begin.astimezone(BERLIN).replace(tzinfo=None) != wall.replace(tzinfo=None):
            begin = datetime(date.year, date.month, date.day, 3, 0, tzinfo=BERLIN).astimezone(UTC)
        begins.append(begin)
    on = any(begin <= now < begin + timedelta(hours=length) for begin in begins)
    until = end_of(recurring(f"{minute} {hour} * * *", f"{length}h"), now)
    if on:
        assert until is not None
        assert until > now
    elif until is not None:
        # Only the hour by which the wall was put back may come on top.
        assert any(begin + timedelta(hours=length) <= now < begin + timedelta(hours=length + 1) for begin in begins)


def test_several_freezes_are_told_one_by_one() -> None:
    now = berlin("2026-12-26T12:00:00")  # a Saturday in the holidays
    assert [frozen.name for frozen in frozen_now([WINDOW, WEEKEND], now)] == ["Holidays", "F"]
    assert list(frozen_now([], now)) == []
