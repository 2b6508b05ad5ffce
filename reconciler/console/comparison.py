"""What moved between a review and an apply: the plan that was read, held against the one that was carried out.

Takes two Plans; gives a Comparison, field by field. The fingerprint alone says that something moved, and not what.
"""

from __future__ import annotations

import msgspec

from reconciler.model import Change, FieldKey
from reconciler.plan import Plan, fingerprint_of

__all__ = ["Comparison", "compare_plans"]


class Comparison(msgspec.Struct, frozen=True):
    """`gone`: was to be done, and is no more. `new`: the other way round. `other`: both, differently."""

    gone: tuple[Change, ...] = ()
    new: tuple[Change, ...] = ()
    other: tuple[tuple[Change, Change], ...] = ()

    @property
    def moved(self) -> int:
        """How many fields differ."""
        return len(self.gone) + len(self.new) + len(self.other)


def compare_plans(reviewed: Plan, applied: Plan) -> Comparison:
    """What differs, in the order of fields; nothing where the fingerprints are the same."""
    if reviewed.fingerprint == applied.fingerprint:
        return Comparison()
    before = {change.sort_key(): change for change in reviewed.changes}
    after = {change.sort_key(): change for change in applied.changes}
    return Comparison(
        gone=_only_in(before, after),
        new=_only_in(after, before),
        other=tuple(
            (before[key], after[key])
            for key in sorted(before.keys() & after.keys())
            if fingerprint_of([before[key]]) != fingerprint_of([after[key]])
        ),
    )


def _only_in(one: dict[FieldKey, Change], other: dict[FieldKey, Change]) -> tuple[Change, ...]:
    return tuple(one[key] for key in sorted(one.keys() - other.keys()))
