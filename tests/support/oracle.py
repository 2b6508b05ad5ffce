"""What a run may do to one field, told anew from the rules of the design: random histories are held against it.

Takes rules of fields, and for each run what git asks, what is in the database, and the time; gives the value that must
be there afterwards, and remembers what happened. It has no SQL, no plan and no ledger, and shares no code with the
package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

Way = Literal["kill", "restore", "neutral"]
Data = Any


class _Nothing:
    """No such value: there is no base, the row does not exist, git does not name the field."""

    def __repr__(self) -> str:
        return "NOTHING"


NOTHING = _Nothing()


@dataclass(frozen=True)
class Rule:
    """How one field is to be treated. `kills` are the values of the kill side; `lower` is for limits."""

    kills: frozenset[Data] = frozenset()
    lower: bool = False
    after: timedelta | None = None
    checked: bool = False

    def way(self, before: Data, after: Data) -> Way:
        """Toward the kill side, away from it, or neither."""
        if self.lower:
            return "neutral" if before == after else "kill" if after < before else "restore"
        was, becomes = before in self.kills, after in self.kills
        return "neutral" if was == becomes else "kill" if becomes else "restore"


@dataclass(frozen=True)
class Entry:
    """What git says of one field: `matched` where it says so of every row that looks so, and a run from git has applied
    that since `since` (None: never).
    """

    value: Data
    reason: str | None = None
    until: datetime | None = None
    then: Data = NOTHING
    restores: bool = False
    override: tuple[tuple[str, str], ...] = ()
    matched: bool = field(default=False, compare=False)
    since: datetime | None = field(default=None, compare=False)


ASKED = Entry(NOTHING, reason="asked")
"""Stands for git's entry where git has asked for a value that was never applied, and a guard holds it."""


@dataclass(frozen=True)
class World:
    """What all fields of a run have in common. `glass` is what it applies that is not merged, or not committed."""

    now: datetime
    committed: bool = True
    healthy: bool = True
    frozen: bool = False
    glass: str | None = None


@dataclass
class Memory:
    """What must be remembered of one field from run to run.

    `base` was applied last; `known` was there when a run last looked. `killed` is when it was killed last, and
    `by_hand` whether a run has seen a hand do it. `against` stands in the database against git's will: the value,
    git's entry when git first saw it (None: not yet), and whether broken glass left it; `seen` is since when, and
    `released` once somebody gave it back to git. `spent` holds the waivers that no longer count; `replaced` what was
    there before git made it a value. `left_by` is the glass that was broken last.
    """

    base: Data = NOTHING
    known: Data = NOTHING
    killed: datetime | None = None
    by_hand: bool = False
    against: tuple[Data, Entry | None, bool] | None = None
    seen: datetime | None = None
    released: bool = False
    spent: set[tuple[str, str]] = field(default_factory=set)
    replaced: dict[Data, Data] = field(default_factory=dict)
    left_by: str | None = None


def wanted(entry: Entry | None, memory: Memory, now: datetime) -> Data:
    """The value that git asks for at this time, NOTHING where it asks for none."""
    if entry is None:
        return NOTHING
    if entry.until is None or now < entry.until:
        return entry.value
    if entry.restores:
        return memory.replaced.get(entry.value, memory.base)
    return entry.value if entry.then is NOTHING else entry.then


def expected(rule: Rule, entry: Entry, memory: Memory, has: Data, world: World) -> Data:
    """The value after the run, of a row that exists."""
    wants, base = wanted(entry, memory, world.now), memory.base
    passes = _Guards(rule, entry, memory, world)
    if _is_glass_opened(rule, entry, memory, has, wants):
        assert memory.against is not None
        return memory.against[0]
    if _is_opened_before_the_answer(rule, entry, memory, has, wants):
        assert memory.against is not None
        return has if passes.to(memory.against[0], wants) else memory.against[0]
    if wants == has == base or _is_kept_glass(rule, entry, memory, has, wants):
        return has
    if base is not NOTHING and rule.way(base, has) == "restore":
        if wants == base:
            return base  # re-opened behind git's back
        if rule.way(base, wants) == "restore":
            return wants if passes.to(base, wants) else base  # opened by hand ahead of git
    if _is_killed_by_hand(rule, entry, memory, has, wants) and not _is_touched(entry, memory, has):
        return has
    return wants if passes.to(has, wants) else has


def expected_row(
    rules: Mapping[str, Rule], entries: Mapping[str, Entry], memories: Mapping[str, Memory], world: World
) -> dict[str, Data] | None:
    """The values of a row that does not exist, once a run has made it; None where it is not made."""
    values: dict[str, Data] = {}
    is_made = False
    for name, entry in entries.items():
        rule, memory = rules[name], memories[name]
        wants = wanted(entry, memory, world.now)
        way: Way = "neutral" if memory.base is NOTHING else rule.way(memory.base, wants)
        way = "kill" if wants in rule.kills else way
        goes_ahead = _Guards(rule, entry, memory, world).pass_on(way, memory.base)
        is_made = is_made or goes_ahead
        values[name] = memory.base if way == "restore" and not goes_ahead else wants
    return values if is_made else None


def remember(
    rule: Rule,
    entry: Entry | None,
    memory: Memory,
    has: Data,
    becomes: Data,
    world: World,
    *,
    insists: bool = False,
) -> None:
    """Take note of what a run saw (`has`, NOTHING where there was no row) and left behind (`becomes`).

    `insists`: it was to kill this without a merge, whether or not there was anything to write.
    """
    wants, written = wanted(entry, memory, world.now), becomes != has
    if entry is None or wants is NOTHING:
        if world.committed and memory.base is not NOTHING:
            _release(rule, memory, has)
        elif world.committed and (memory.released or (memory.against is not None and not memory.against[2])):
            # What a dirty work tree wrote and somebody gave back, or only asked for; and no commit has named it.
            memory.known, memory.against, memory.seen, memory.released = NOTHING, None, None, False
        return
    is_off = not written and has is not NOTHING and (has == wants or rule.way(has, wants) == "restore")
    again = memory.against == (has, None, True) and not memory.released and memory.left_by == world.glass
    if insists and is_off and wants == entry.value and again:
        return  # the same once more
    if insists and is_off and wants == entry.value:
        memory.left_by = world.glass
        memory.killed, memory.by_hand, memory.known = world.now, False, has
        memory.against, memory.seen, memory.released = (has, None, True), world.now, False
        return
    if _is_glass_opened(rule, entry, memory, has, wants):
        memory.killed, memory.known = world.now, becomes
        _tell_of_glass(entry, memory, world)
        return
    is_before_the_answer = _is_opened_before_the_answer(rule, entry, memory, has, wants)
    if is_before_the_answer and written:
        memory.killed, memory.known = world.now, becomes
        return
    if is_before_the_answer and world.committed:
        memory.spent |= set(entry.override)
    if not world.committed and not written and has == wants:
        return  # nothing is learnt from a work tree that agrees with the database
    is_new_kill = _is_new_kill(rule, memory, has)
    is_kill = written and (becomes in rule.kills if has is NOTHING else rule.way(has, becomes) == "kill")
    is_kept = not written and has != wants and _is_killed_by_hand(rule, entry, memory, has, wants)
    if is_new_kill or is_kill:
        memory.killed = world.now
        memory.by_hand = not is_kill and memory.known is not NOTHING
    is_kept = is_kept and not _is_touched(entry, memory, has)
    is_glass = not written and _is_kept_glass(rule, entry, memory, has, wants)
    if is_glass or (not written and _is_agreed_for_a_time(entry, memory, has, world)):
        _tell_of_glass(entry, memory, world)
    if written or (becomes == wants != memory.base) or (is_kept and is_new_kill and not is_glass):
        memory.spent |= set(entry.override)
    if written and not world.committed:
        memory.left_by = world.glass
    if written and has is not NOTHING and becomes != memory.base:
        memory.replaced[becomes] = has
    against = _stands_against(memory, entry, has, becomes, world, is_kept=is_kept or is_glass)
    is_first = memory.against is None or against is None or memory.against[0] != against[0]
    if is_first or written:
        memory.seen = None if against is None else world.now
    memory.against = against
    memory.released = memory.released and memory.against is not None and not written
    if world.committed and (written or becomes == wants):
        memory.base = becomes
    memory.known = becomes


def _tell_of_glass(entry: Entry, memory: Memory, world: World) -> None:
    """The first run from git that sees what broken glass has left: what waives a guard then does not count."""
    assert memory.against is not None
    if world.committed and memory.against[1] is None:
        memory.against = (memory.against[0], entry, memory.against[2])
        memory.spent |= set(entry.override)


def _stands_against(
    memory: Memory, entry: Entry, has: Data, becomes: Data, world: World, *, is_kept: bool
) -> tuple[Data, Entry | None, bool] | None:
    """What is left against git's will by a run."""
    if becomes != has:
        return None if world.committed else (becomes, None, True)
    was = memory.against if memory.against is not None and memory.against[0] == has else None
    seen_by = entry if world.committed else None
    if is_kept:
        return (has, was[1] or seen_by, was[2]) if was else (has, seen_by, False)
    if was is not None and _is_agreed_for_a_time(entry, memory, has, world):
        return (has, was[1] or seen_by, True)
    if has == wanted(entry, memory, world.now):
        return None
    if memory.base is NOTHING and has is not NOTHING:  # a guard holds what was never applied
        return (has, (was and was[1]) or (ASKED if world.committed else None), bool(was and was[2]))
    return was


class _Guards:
    """Cooldown, health and freezes, and the waivers that count against them."""

    def __init__(self, rule: Rule, entry: Entry, memory: Memory, world: World) -> None:
        self._rule = rule
        self._memory = memory
        self._world = world
        self._waived = {guard for guard, text in entry.override if (guard, text) not in memory.spent}

    def to(self, before: Data, after: Data) -> bool:
        """Whether a change may be made now."""
        return before == after or self.pass_on(self._rule.way(before, after), before)

    def pass_on(self, way: Way, before: Data) -> bool:
        """Whether a change that way may be made now."""
        if way == "kill":
            return True
        if self._world.frozen and "freeze" not in self._waived:
            return False
        if way == "neutral":
            return True
        if not self._world.committed:
            return False
        if self._rule.checked and not self._world.healthy and "requires" not in self._waived:
            return False
        return "after" in self._waived or self._rule.after is None or self._is_cold(before)

    def _is_cold(self, before: Data) -> bool:
        killed = self._memory.killed
        if killed is None:
            return before not in self._rule.kills
        assert self._rule.after is not None
        return self._world.now >= killed + self._rule.after


def _is_killed_by_hand(rule: Rule, entry: Entry, memory: Memory, has: Data, wants: Data) -> bool:
    """Whether the database stands on the kill side of git, and no run of git's put it there.

    So it does, too, in a row that has begun to match what git had asked of others before.
    """
    if memory.base is NOTHING and entry.matched and entry.since is not None:
        return rule.way(has, wants) == "restore" and (has in rule.kills or memory.by_hand)
    if memory.base is NOTHING or has in (memory.base, wants):
        return False
    return rule.way(has, wants) == "restore" and rule.way(memory.base, has) != "restore"


def _is_touched(entry: Entry, memory: Memory, has: Data) -> bool:
    """Whether a commit has touched the entry since git first saw the value."""
    if memory.against is None or memory.against[0] != has:
        return False
    if memory.released or memory.against[1] is ASKED:
        return True
    if entry.matched and entry.since is not None and memory.seen is not None and entry.since <= memory.seen:
        return False  # the row has moved from one match to another, and nobody has touched either
    return memory.against[1] not in (None, entry)


def _is_opened_before_the_answer(rule: Rule, entry: Entry, memory: Memory, has: Data, wants: Data) -> bool:
    """Whether somebody has opened by hand what was killed by hand, or through broken glass, and a commit answers."""
    if memory.against is None or memory.against[1] is ASKED or NOTHING in (has, wants) or has != wants:
        return False
    left = memory.against[0]
    return rule.way(left, has) == "restore" and _is_touched(entry, memory, left)


def _is_agreed_for_a_time(entry: Entry, memory: Memory, has: Data, world: World) -> bool:
    """Whether git says what broken glass has left, but only until a time, and said so when the glass was broken."""
    if memory.against is None or not memory.against[2] or memory.released or memory.against[0] != has:
        return False
    wants = wanted(entry, memory, world.now)
    is_in_time = entry.until is not None and (world.now < entry.until or (entry.restores and wants == entry.value))
    has_then = entry.restores or entry.then is not NOTHING
    return has == wants and is_in_time and has_then and memory.against[1] in (None, entry)


def _is_glass_opened(rule: Rule, entry: Entry, memory: Memory, has: Data, wants: Data) -> bool:
    """Whether somebody has opened by hand what broken glass had killed, and git has not answered."""
    if memory.against is None or not memory.against[2] or memory.released or NOTHING in (has, wants):
        return False
    left = memory.against[0]
    return rule.way(left, has) == rule.way(left, wants) == "restore" and not _is_touched(entry, memory, left)


def _is_kept_glass(rule: Rule, entry: Entry, memory: Memory, has: Data, wants: Data) -> bool:
    """Whether a run of a dirty work tree left the value, and git has not answered."""
    if memory.against is None or not memory.against[2] or memory.released or memory.against[0] != has or wants == has:
        return False
    return rule.way(has, wants) != "kill" and not _is_touched(entry, memory, has)


def _is_new_kill(rule: Rule, memory: Memory, has: Data) -> bool:
    """Whether nobody has seen before that the value is on the kill side."""
    if has is NOTHING:
        return False
    if memory.known is NOTHING:
        return memory.killed is None and has in rule.kills
    return rule.way(memory.known, has) == "kill"


def _release(rule: Rule, memory: Memory, has: Data) -> None:
    """Git names the field no longer. What is open by now was restored: a kill that comes later is another one."""
    if has is not NOTHING and not rule.lower and has not in rule.kills:
        memory.killed, memory.by_hand = None, False
    memory.base = memory.known = NOTHING
    memory.against, memory.seen, memory.released = None, None, False


# What is asked of rows that look so -----------------------------------------------------------------------------------

Rows = Mapping[str, Mapping[str, Data]]


@dataclass(frozen=True)
class Group:
    """An entry of `$where`: rows that have one of these values in each column, and what they are to be."""

    columns: Mapping[str, list[Data]]
    sets: Mapping[str, Data]


def asked(rows: Rows, own: Rows, groups: list[Group]) -> dict[str, dict[str, Data]] | None:
    """What is asked of each row: what its own entry says and, of other fields, what the groups say that it is in.

    None where two groups disagree, and the row itself does not say. What its own entry says counts in its looks, too.
    """
    wanted: dict[str, dict[str, Data]] = {}
    for key, row in rows.items():
        mine = own.get(key, {})
        looks = {**row, **mine}
        of_groups: dict[str, Data] = {}
        for group in groups:
            if all(looks[column] in values for column, values in group.columns.items()):
                for name, data in group.sets.items():
                    if name not in mine and of_groups.setdefault(name, data) != data:
                        return None
        if mine or of_groups:
            wanted[key] = {**of_groups, **mine}
    return wanted
