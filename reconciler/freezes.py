"""Which freezes are on: those of the policy, at a moment.

Takes the policy's windows and the time; gives `Frozen`s. Pure. Recurring windows are read by cronsim
(https://github.com/cuu508/cronsim), which counts in the window's own time zone, daylight saving included.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo

from reconciler.fields import seconds
from reconciler.guards import Frozen
from reconciler.policy import Freeze


def frozen_now(freezes: Iterable[Freeze], now: datetime) -> Iterator[Frozen]:
    """The windows in which `now` lies, with their ends."""
    for freeze in freezes:
        end = _end_of_window(freeze, now) if freeze.cron is None else _end_of_recurring(freeze, now)
        if end is not None:
            yield Frozen(freeze.name, end)


def _end_of_window(freeze: Freeze, now: datetime) -> datetime | None:
    begin, end = datetime.fromisoformat(str(freeze.from_)), datetime.fromisoformat(str(freeze.to))
    return end if begin <= now < end else None


def _end_of_recurring(freeze: Freeze, now: datetime) -> datetime | None:
    """Where the clocks are changed within a window, `for` can be read in two ways: so long, or until the clock on the
    wall has gone on by so much. The later of the two counts, so that no freeze ends early.
    """
    from zoneinfo import ZoneInfo

    assert freeze.cron is not None
    assert freeze.for_ is not None
    zone, length = ZoneInfo(freeze.timezone), timedelta(seconds=seconds(freeze.for_))
    begin = _last_begin(freeze.cron, zone, now)
    if begin is None:
        return None
    exact = begin.astimezone(UTC) + length
    on_the_wall = (begin + length).astimezone(UTC)
    end = max(exact, on_the_wall)
    return end if now < end else None


def _last_begin(cron: str, zone: tzinfo, now: datetime) -> datetime | None:
    """The last moment up to `now` at which the expression begins something, in the zone.

    cronsim goes back by the clock on the wall. In the hour that is there twice, when clocks are put back, a window may
    have begun at a time that this clock has yet to show again; so it starts beyond that hour, and what is to come is
    passed over.
    """
    from cronsim import CronSim

    for begin in CronSim(cron, (now + timedelta(hours=2)).astimezone(zone), reverse=True):
        if begin.timestamp() <= now.timestamp():
            return begin
    return None
