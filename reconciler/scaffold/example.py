"""The invented table that a new repository has where no database was looked at.

Takes nothing; gives its Relation and Structure, so that it is written by the same code as a live one.
"""

from __future__ import annotations

from reconciler.catalog import Column, Relation
from reconciler.scaffold.structure import Structure

__all__ = ["RELATION", "STRUCTURE", "TABLE"]

TABLE = "accounts"


def _column(name: str, type_name: str, *, labels: tuple[str, ...] = (), not_null: bool = True) -> Column:
    declared = {"bool": "boolean", "int4": "integer"}.get(type_name, type_name)
    return Column(
        name, type_name, declared, -1, bool(labels), False, None, labels, not_null, False, False, True, True, True
    )


RELATION = Relation(
    "public",
    TABLE,
    "r",
    {
        column.name: column
        for column in (
            _column("id", "uuid"),
            _column("name", "text"),
            _column("messaging_enabled", "bool"),
            _column("requests_per_day_limit", "int4"),
            _column("model", "text", not_null=False),
            _column("status", "account_status", labels=("active", "suspended", "closed")),
            _column("webhook_secret", "text"),
            _column("updated_at", "timestamptz"),
        )
    },
)

STRUCTURE = Structure(keys=("id",), checks=("CHECK ((requests_per_day_limit >= 1))",))
