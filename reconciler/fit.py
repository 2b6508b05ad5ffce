"""Do the schemas fit the live database, and may this role do what the run needs? Asked before anything else.

Takes Definitions, the desired State and a Catalog; gives Problems, each naming the line of the schema (or state) file
that disagrees, and what the database has instead. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from reconciler.catalog import (
    INTEGER_BITS,
    NUMBER_TYPES,
    TEXT_TYPES,
    TIMESTAMP_TYPES,
    Catalog,
    Column,
    Relation,
    RelationName,
)
from reconciler.errors import InvalidInput, NotAsExpected, Problem, nearest
from reconciler.fields import (
    ArrayField,
    BooleanField,
    EnumField,
    Field,
    IntegerField,
    JsonField,
    NumberField,
    StringField,
    TimestampField,
)
from reconciler.model import Location, Match, Row
from reconciler.policy import Policy
from reconciler.schema import Definitions, Table

_INDEXED = ("r", "p", "m")
"""Kinds of relations that can have a unique index: of a view or a foreign table the catalog cannot know it."""


def relations_of(definitions: Definitions) -> Iterator[RelationName]:
    """Every relation that the definitions speak of."""
    for table in definitions.tables.values():
        yield (table.definition.schema, table.definition.table)
    audit = definitions.policy.audit
    yield (audit.schema, audit.table)
    if audit.actor is not None:
        yield (audit.actor.schema, audit.actor.table)
    if audit.without_tenant is not None and audit.without_tenant.create is not None:
        yield (audit.without_tenant.create.schema, audit.without_tenant.create.table)


def relation_of(catalog: Catalog, table: Table) -> Relation:
    """The table's relation, once `problems_of_reading` found nothing."""
    return catalog.relations[table.definition.schema, table.definition.table]


def made_by_init(definitions: Definitions, table: Table) -> str | None:
    """The key of the row of this table that `reconcile init` makes for audit entries: nobody who could be managed."""
    without = definitions.policy.audit.without_tenant
    if without is None or without.create is None:
        return None
    is_its_table = (without.create.schema, without.create.table) == (table.definition.schema, table.definition.table)
    return without.tenant if is_its_table else None


def problems_of_reading(
    definitions: Definitions, desired: Mapping[str, Mapping[str, Row]], catalog: Catalog
) -> list[Problem]:
    """What keeps a plan from being made: missing tables and columns (those that an `$expect` names, too), types that
    do not fit, no SELECT.
    """
    problems: list[Problem] = []
    for table in definitions.tables.values():
        relation = catalog.relations.get((table.definition.schema, table.definition.table))
        if relation is None:
            problems.append(_missing_relation(table.name, table.places.of("table"), catalog))
            continue
        problems.extend(_columns_of_table(table, relation, catalog.role))
        problems.extend(_expected_columns(relation, desired.get(table.name, {}), catalog.role))
    return problems


def problems_of_values(
    definitions: Definitions,
    desired: Mapping[str, Mapping[str, Row]],
    catalog: Catalog,
    matches: Mapping[str, Sequence[Match]] = {},
) -> list[Problem]:
    """What is wrong in state: values, and those that a `then` promises, which the column cannot hold; keys that are
    none. Tables that the database lacks are left out.
    """
    problems: list[Problem] = []
    for table in definitions.tables.values():
        relation = catalog.relations.get((table.definition.schema, table.definition.table))
        if relation is not None:
            problems.extend(_values_of_table(table, relation, desired.get(table.name, {})))
            problems.extend(_values_of_matches(table, relation, matches.get(table.name, ())))
    return problems


def refuse_what_does_not_fit(
    definitions: Definitions,
    desired: Mapping[str, Mapping[str, Row]],
    catalog: Catalog,
    matches: Mapping[str, Sequence[Match]],
) -> None:
    """Raise NotAsExpected where the database does not fit the schemas, InvalidInput where state alone is wrong."""
    problems = problems_of_reading(definitions, desired, catalog)
    misfits = problems_of_values(definitions, desired, catalog, matches)
    if problems:
        raise NotAsExpected([*problems, *misfits])
    if misfits:
        raise InvalidInput(misfits)


def problems_of_writing(
    definitions: Definitions, desired: Mapping[str, Mapping[str, Row]], catalog: Catalog
) -> list[Problem]:
    """What keeps an apply from being made, beyond `problems_of_reading`: no UPDATE or INSERT, no audit table."""
    problems: list[Problem] = []
    if catalog.in_recovery:
        text = "this server is a replica: it can be planned against, not applied to"
        problems.append(Problem(text, None, "use the primary's URL"))
    for name, rows in desired.items():
        table = definitions.tables[name]
        relation = relation_of(catalog, table)
        problems.extend(_privileges_to_write(table, relation, rows.values(), catalog.role))
    problems.extend(_audit_problems(definitions, catalog))
    return problems


def problems_of_creating(definitions: Definitions, catalog: Catalog) -> list[Problem]:
    """What keeps `reconcile init` from its work: an audit table that does not fit, a row that cannot be made."""
    problems = list(_audit_problems(definitions, catalog))
    without = definitions.policy.audit.without_tenant
    if without is None or without.create is None:
        return problems
    places = definitions.policy_places
    relation = catalog.relations.get((without.create.schema, without.create.table))
    if relation is None:
        place = places.of("audit", "without_tenant", "create", "table")
        return [*problems, _missing_relation(without.create.table, place, catalog)]
    for name in (without.create.key, *without.create.row):
        if name not in relation.columns:
            place = places.of("audit", "without_tenant", "create", "row", name)
            problems.append(Problem(f'table {relation} has no column "{name}"', place, nearest(name, relation.columns)))
    return problems


def _missing_relation(name: str, place: Location, catalog: Catalog) -> Problem:
    message = f'database {catalog.database} has no table "{name}" that role {catalog.role} can see'
    return Problem(message, place, "is this the right database? else name its `schema:`")


def _column(relation: Relation, name: str, place: Location | None, role: str) -> Column | Problem:
    column = relation.columns.get(name)
    if "%" in name:
        text = f'"{name}": a name with a percent sign in it is not supported'
        return Problem(text, place, "manage it through a view")
    if column is None:
        return Problem(f'table {relation} has no column "{name}"', place, nearest(name, relation.columns))
    if not column.may_select:
        hint = f'GRANT SELECT ("{name}") ON {relation} TO {role};'
        return Problem(f"role {role} may not read {relation}.{name}", place, hint)
    return column


def _columns_of_table(table: Table, relation: Relation, role: str) -> Iterator[Problem]:
    definition, places = table.definition, table.places
    read = [("key", definition.key), ("label", definition.label), ("touch", definition.touch)]
    for part, name in read:
        if name is not None and isinstance(found := _column(relation, name, places.of(part), role), Problem):
            yield found
    if definition.audit.tenant is not None:
        found = _column(relation, definition.audit.tenant, places.of("audit", "tenant"), role)
        if isinstance(found, Problem):
            yield found
    for index, name in enumerate(definition.secret):
        if name not in relation.columns:
            hint = nearest(name, relation.columns) or "a misspelt secret is not protected"
            yield Problem(f'table {relation} has no column "{name}"', places.of("secret", index), hint)
    for name in definition.create:
        if name not in relation.columns:
            yield Problem(f'table {relation} has no column "{name}"', places.of("create", name))
    if definition.missing_row == "create":
        given = {definition.key, definition.touch, *definition.create, *table.fields}
        for column in relation.columns.values():
            if column.not_null and not column.has_default and column.name not in given:
                message = f"{relation}.{column.name} is NOT NULL and has no default: `create` must give it"
                hint = ", ".join(f"{name}: ..." for name in (*definition.create, column.name))
                yield Problem(message, places.of("create"), f"create: {{{hint}}}")
    key = relation.columns.get(definition.key)
    if key is not None and not (key.type in TEXT_TYPES or key.type in INTEGER_BITS or key.type == "uuid"):
        yield Problem(f"a key of type {key.declared} is not supported", places.of("key"), "text, uuid or an integer")
    if key is not None and relation.kind in _INDEXED and key.name not in relation.unique:
        text = f"no unique constraint of {relation} is on {key.name} alone, so two rows may have one key"
        yield Problem(text, places.of("key"), f'ALTER TABLE {relation} ADD UNIQUE ("{key.name}");')
    for name, field in table.fields.items():
        place = places.of("fields", name)
        found = _column(relation, name, place, role)
        if isinstance(found, Problem):
            yield found
            continue
        if found.generated:
            yield Problem(f"{relation}.{name} is generated by the database and cannot be written", place)
        for part, message in type_disagreements(field, found):
            where = places.of("fields", name, part)
            yield Problem(f"{relation}.{name} is {found.declared} in the database: {message}", where)
        if field.nullable and found.not_null:
            yield Problem(f"{relation}.{name} is NOT NULL in the database", places.of("fields", name, "nullable"))
    for name, field in table.matched.items():
        found = _column(relation, name, places.of("match", name), role)
        if isinstance(found, Problem):
            yield found
            continue
        for part, message in type_disagreements(field, found):
            where = places.of("match", name, part)
            yield Problem(f"{relation}.{name} is {found.declared} in the database: {message}", where)


def type_disagreements(field: Field, column: Column) -> Iterator[tuple[str, str]]:
    """(property of the definition, why it does not fit the column)."""
    fits = {
        BooleanField: column.type == "bool",
        IntegerField: column.type in INTEGER_BITS or column.type == "numeric",
        NumberField: column.type in NUMBER_TYPES,
        StringField: column.type in TEXT_TYPES or column.type == "uuid",
        EnumField: (column.is_enum and not column.is_array) or column.type in TEXT_TYPES,
        TimestampField: column.type in TIMESTAMP_TYPES,
        JsonField: column.type in ("json", "jsonb"),
        ArrayField: column.is_array,
    }[type(field)]
    if not fits:
        hint = " (type: enum)" if column.is_enum and isinstance(field, StringField) else ""
        yield "type", f"not {field.type_name}{hint}"
        return
    if isinstance(field, EnumField) and column.is_enum:
        for value in field.values:
            if value not in column.labels:
                near = nearest(value, column.labels) or f"it has {', '.join(column.labels)}"
                yield "values", f'it lacks the value "{value}"; {near}'
    if isinstance(field, IntegerField) and column.type in INTEGER_BITS:
        limit = 1 << (INTEGER_BITS[column.type] - 1)
        if field.max is not None and field.max >= limit:
            yield "max", f"it holds at most {limit - 1}"
        if field.min is not None and field.min < -limit:
            yield "min", f"it holds at least {-limit}"
    if isinstance(field, StringField) and column.max_length is not None and (field.max_length or 0) > column.max_length:
        yield "max_length", f"it holds at most {column.max_length} characters"
    if isinstance(field, ArrayField):
        for _, message in type_disagreements(field.items, column.element_column):
            yield "items", f"its elements: {message}"


def _expected_columns(relation: Relation, rows: Mapping[str, Row], role: str) -> Iterator[Problem]:
    """What an `$expect` names and the database lacks, or does not let this role read."""
    unreadable: set[str] = set()
    for row in rows.values():
        for name, expected in row.expect.items():
            live = relation.columns.get(name)
            if live is not None and (live.may_select or name in unreadable):
                continue
            unreadable.add(name)  # said once: one grant is missing, for however many rows
            unfit = _column(relation, name, expected.location, role)
            if isinstance(unfit, Problem):
                yield unfit


def _values_of_table(table: Table, relation: Relation, rows: Mapping[str, Row]) -> Iterator[Problem]:
    """Values that the column cannot hold exactly, and keys that are not spelt as the database spells them.

    Each distinct value is looked at once; most of a million are the same few.
    """
    key = relation.columns.get(table.definition.key)
    if key is not None and key.type in TEXT_TYPES:
        key = None  # any text is spelt as it should be
    judged: dict[tuple[str, int], str | None] = {}
    columns = {name: relation.columns[name] for name in table.fields if name in relation.columns}
    limited = {name: column for name, column in columns.items() if _may_misfit(table.fields[name], column)}
    for row in rows.values():
        if key is not None and (hint := key.misspelt_key(row.key)):
            yield Problem(f"{row.key} is not a key of {relation} ({key.declared})", row.location, hint)
        data = row.data
        for name, column in limited.items():
            if name not in data:
                continue
            seen = (name, id(data[name]))  # equal scalars of a field are one object (see `desired`)
            if seen not in judged:
                judged[seen] = column.misfit(data[name])
            if judged[seen] is not None:
                yield Problem(f"{relation}.{name} is {column.declared}: {judged[seen]}", row.values[name].location)
        for name in row.timed:
            # What is to come is looked at now: once the time has come, nobody may be there to mend it.
            value = row.values[name]
            if name not in limited or value.then is None or value.then.restores:
                continue
            misfit = limited[name].misfit(value.then.data)
            if misfit is not None:
                yield Problem(f"{relation}.{name} is {limited[name].declared}: `then`: {misfit}", value.location)


def _values_of_matches(table: Table, relation: Relation, matches: Sequence[Match]) -> Iterator[Problem]:
    """Values of `$where`, on either side, that the column cannot hold exactly."""
    for match in matches:
        for name, value in match.values.items():
            column = relation.columns.get(name)
            if column is not None and (misfit := column.misfit(value.data)) is not None:
                yield Problem(f"{relation}.{name} is {column.declared}: {misfit}", value.location)
            if column is not None and value.then is not None and (later := column.misfit(value.then.data)) is not None:
                yield Problem(f"{relation}.{name} is {column.declared}: `then`: {later}", value.location)
        for name, values in match.columns.items():
            column = relation.columns.get(name)
            for data in values if column is not None else ():
                if column is not None and (misfit := column.misfit(data)) is not None:
                    text = f"no row matches, for {relation}.{name} is {column.declared}: {misfit}"
                    yield Problem(text, match.location)


def _may_misfit(field: Field, column: Column) -> bool:
    """Whether a value that the field allows could be one that the column changes or refuses."""
    if isinstance(field, IntegerField) and column.type in INTEGER_BITS:
        limit = 1 << (INTEGER_BITS[column.type] - 1)
        return field.min is None or field.max is None or field.min < -limit or field.max >= limit
    return column.is_limited


def _privileges_to_write(table: Table, relation: Relation, rows: Collection[Row], role: str) -> Iterator[Problem]:
    managed = set[str]().union(*(row.values for row in rows))
    if table.definition.touch is not None:
        managed.add(table.definition.touch)
    for name in sorted(managed):
        if not relation.columns[name].may_update:
            places = (row.values[name].location for row in rows if name in row.values)
            hint = f'GRANT UPDATE ("{name}") ON {relation} TO {role};'
            yield Problem(f"role {role} may not update {relation}.{name}", next(places, table.places.of("touch")), hint)
        if table.definition.missing_row == "create" and not relation.columns[name].may_insert:
            hint = f"GRANT INSERT ON {relation} TO {role};"
            yield Problem(f"role {role} may not insert into {relation}", table.places.of("missing_row"), hint)
            return


def _audit_problems(definitions: Definitions, catalog: Catalog) -> Iterator[Problem]:
    policy: Policy = definitions.policy
    places = definitions.policy_places
    audit = catalog.relations.get((policy.audit.schema, policy.audit.table))
    if audit is None:
        yield _missing_relation(policy.audit.table, places.of("audit", "table"), catalog)
        return
    for name in policy.audit.columns:
        place = places.of("audit", "columns", name)
        column = audit.columns.get(name)
        if column is None:
            yield Problem(f'table {audit} has no column "{name}"', place, nearest(name, audit.columns))
        elif not column.may_insert:
            hint = f"GRANT INSERT ON {audit} TO {catalog.role};"
            yield Problem(f"role {catalog.role} may not write {audit}.{name}", place, hint)
    for column in audit.columns.values():
        if column.not_null and not column.has_default and column.name not in policy.audit.columns:
            place = places.of("audit", "columns")
            yield Problem(f"{audit}.{column.name} is NOT NULL and has no default, and nothing fills it", place)
    if policy.audit.actor is not None:
        yield from _actor_problems(policy, catalog, places.of("audit", "actor"))
    tenantless = [table for table in definitions.tables.values() if table.definition.audit.tenant is None]
    if tenantless and policy.audit.without_tenant is None:
        place = tenantless[0].places.of("audit")
        hint = "give `without_tenant` under `audit` in schemas/policy.yaml"
        yield Problem(f"an audit entry of {tenantless[0].name} would belong to no tenant", place, hint)


def _actor_problems(policy: Policy, catalog: Catalog, place: Location) -> Iterator[Problem]:
    actor = policy.audit.actor
    assert actor is not None
    users = catalog.relations.get((actor.schema, actor.table))
    if users is None:
        yield _missing_relation(actor.table, place, catalog)
        return
    for name in (actor.id, actor.email):
        found = _column(users, name, place, catalog.role)
        if isinstance(found, Problem):
            yield found
