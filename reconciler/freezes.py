"""Which freezes are on: those of the policy, at a moment.

Takes the policy's windows and the time; gives `Frozen`s. Pure. Recurring windows are read by cronsim
(https://github.com/cuu508/cronsim), which counts in the window's own time zone, daylight saving included.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

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
    from zoneinfo import ZoneInfo

    from cronsim import CronSim

    assert freeze.cron is not None and freeze.for_ is not None
    local = now.astimezone(ZoneInfo(freeze.timezone))
    # One second on, because cronsim looks strictly before, and a window begins at its first moment.
    begin = next(CronSim(freeze.cron, local + timedelta(seconds=1), reverse=True), None)
    if begin is None:
        return None
    end = begin + timedelta(seconds=seconds(freeze.for_))
    # Compared in UTC: two moments of one zone are compared by the clock on the wall, which daylight saving turns back.
    return end if now.timestamp() < end.timestamp() else None
