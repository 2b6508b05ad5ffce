"""The live database's catalog as an examination needs it: also of what the role cannot see yet.

Takes a connection inside a transaction and Definitions; gives a Catalog. A table without a schema's name is looked for
along the search path, which leaves schemas out that the role may not use; here they count, so that the missing grant
can be named instead of a missing table.
"""

from __future__ import annotations

from typing import Any

import msgspec
from psycopg import Connection

from reconciler.catalog import Catalog, Column, Relation, read_catalog
from reconciler.fit import relations_of
from reconciler.schema import Definitions

__all__ = ["as_if_allowed", "read_live_catalog"]


def read_live_catalog(connection: Connection[Any], definitions: Definitions) -> Catalog:
    """The catalog, under the names that the definitions use."""
    wanted = list(dict.fromkeys(relations_of(definitions)))
    catalog = read_catalog(connection, wanted)
    unseen = [name for schema, name in wanted if schema is None and (schema, name) not in catalog.relations]
    if not unseen:
        return catalog
    found = connection.execute(
        """
        SELECT c.relname, min(n.nspname)
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relname = ANY (%s) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
           AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND NOT has_schema_privilege(n.oid, 'USAGE')
         GROUP BY c.relname HAVING count(*) = 1
        """,
        (unseen,),
    ).fetchall()
    hidden = read_catalog(connection, [(schema, name) for name, schema in found])
    more = {(None, name): relation for (_, name), relation in hidden.relations.items()}
    return msgspec.structs.replace(catalog, relations={**catalog.relations, **more})


def as_if_allowed(catalog: Catalog) -> Catalog:
    """The same database, to a role that may do everything: what then does not fit is no matter of privileges."""
    relations = {name: _allowed(relation) for name, relation in catalog.relations.items()}
    return msgspec.structs.replace(catalog, relations=relations)


def _allowed(relation: Relation) -> Relation:
    columns = {name: _open(column) for name, column in relation.columns.items()}
    return msgspec.structs.replace(relation, columns=columns)


def _open(column: Column) -> Column:
    return msgspec.structs.replace(column, may_select=True, may_insert=True, may_update=True)
