"""PostgreSQL's triggers: what they write of a row, and whose change they say it is.

The trigger functions name no columns of the user's, except those of the key, and those only where we write ourselves:
whatever a migration does to a table, its users' writes go on, and are captured as the rows are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from streamd.db.bound import User, bound_tables, excluded_columns
from streamd.db.postgresql.sql import APPLYING, SCHEMA, literal, quote
from streamd.model import Catalogue, ChildTable, Column, DocumentType, Kind, Table

TRIGGER, TRUNCATES = "!streamd", "!streamd truncate"
"""Triggers fire in the order of their names: ours before those of users, whose own writes come after."""


def function_name(table: str) -> str:
    """The name of a table's trigger function: PostgreSQL cuts names after 63 bytes."""
    name = f"capture_{table}"
    if len(name.encode()) <= 63:
        return name
    return f"capture_{table.encode()[:36].decode(errors='ignore')}_{_digest(table)}"


def name_key_sql(key: Sequence[str], columns: Mapping[str, Column], alias: str) -> str:
    """An expression: a row's name as `bookkeeping.name_key` makes it."""
    return " || chr(31) || ".join(_name_part(columns[name], f"{alias}.{quote(name)}") for name in key)


def _name_part(column: Column, reference: str) -> str:
    if column.kind in (Kind.INTEGER, Kind.DECIMAL):
        return f"'i' || {reference}::text"
    if column.kind == Kind.FLOAT:
        return f"'r' || {reference}::text"
    if column.kind == Kind.DATETIME_ZONED:
        return f"'t' || ({reference} AT TIME ZONE 'UTC')::text || '+00:00'"
    return f"'t' || {reference}::text"


def triggers(catalogue: Catalogue, tables: Mapping[str, Table]) -> dict[str, list[str]]:
    """For each table of the offered document types: its trigger function's name → the statements that make it.

    The second statement is the one that says what the function does.
    """
    return {
        function_name(name): _trigger(tables.get(name, Table(name, ())), users)
        for name, users in bound_tables(catalogue).items()
    }


def _trigger(whole: Table, users: Sequence[User]) -> list[str]:
    table = whole.name
    function = f"{SCHEMA}.{quote(function_name(table))}"
    old, new, differ = "row_to_json(OLD)::text", "row_to_json(NEW)::text", "OLD *<> NEW"
    variables = prepared = ""
    columns = _kept(users)
    # A child by inheritance has columns of its own, which are none of the type's.
    only_named = bool(whole.heirs or excluded_columns(users))
    if only_named or any(column.as_text for column in columns):
        old, new, differ = "old_row", "new_row", "old_row <> new_row"
        variables = "    old_row text;\n    new_row text;\n    query text;\n"
        prepared = f"""    query := {_query(columns, only_named)};
    IF TG_OP <> 'INSERT' THEN
        EXECUTE query INTO old_row USING OLD;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        EXECUTE query INTO new_row USING NEW;
    END IF;
"""
    body = f"""
DECLARE
    found text;
{variables}BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        INSERT INTO {SCHEMA}.streamd_change (tbl, op) VALUES ({literal(table)}, 'T');
        RETURN NULL;
    END IF;
    IF current_setting('{APPLYING}', true) = 'on' THEN
        IF TG_OP = 'DELETE' THEN
            found := {_marks(users, "OLD")};
        ELSE
            found := {_marks(users, "NEW")};
        END IF;
    END IF;
{prepared}    IF TG_OP = 'INSERT' THEN
        INSERT INTO {SCHEMA}.streamd_change (tbl, op, "after", origin)
        VALUES ({literal(table)}, 'I', {new}, found);
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO {SCHEMA}.streamd_change (tbl, op, "before", origin)
        VALUES ({literal(table)}, 'D', {old}, found);
    ELSIF {differ} THEN
        INSERT INTO {SCHEMA}.streamd_change (tbl, op, "before", "after", origin)
        VALUES ({literal(table)}, 'U', {old}, {new}, found);
    END IF;
    RETURN NULL;
END
"""
    # What a user's session has set must not change how values are written.
    make = (
        f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
        "SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO, YMD' "
        "SET intervalstyle = 'postgres' SET bytea_output = 'hex' SET extra_float_digits = 1 SET lc_monetary = 'C' "
        f"AS $streamd${body}$streamd$"
    )
    statements = [
        # With all triggers that call it: some may be on tables that are none of this one's any more.
        f"DROP FUNCTION IF EXISTS {function}() CASCADE",
        make,
        f"COMMENT ON FUNCTION {function}() IS 'streamd {_digest(make)}'",
        f"REVOKE ALL ON FUNCTION {function}() FROM PUBLIC",
    ]
    # The server itself copies row triggers to partitions, also to new ones.
    for on in (quote(table), *whole.heirs):
        statements += _called(TRIGGER, "INSERT OR UPDATE OR DELETE", on, f"ROW EXECUTE FUNCTION {function}()")
    for on in (quote(table), *whole.heirs, *whole.partitions):
        statements += _called(TRUNCATES, "TRUNCATE", on, f"STATEMENT EXECUTE FUNCTION {function}()")
    return statements


def _called(name: str, event: str, on: str, how: str) -> list[str]:
    """The statements of one trigger."""
    return [
        # There is one on a table that had another name.
        f"DROP TRIGGER IF EXISTS {quote(name)} ON {on}",
        f"CREATE TRIGGER {quote(name)} AFTER {event} ON {on} FOR EACH {how}",
        # Also where a session plays a replica, and other triggers rest.
        f"ALTER TABLE {on} ENABLE ALWAYS TRIGGER {quote(name)}",
    ]


def _kept(users: Sequence[User]) -> tuple[Column, ...]:
    doctype, child = users[0]
    return (child or doctype).written_columns


def _query(columns: Sequence[Column], only_named: bool) -> str:
    """An expression: the query that makes JSON of a row; with `only_named`, of the type's own columns alone.

    Columns that JSON makes unreadable are in it as their texts. It names what the table has by then: a function that
    names columns fails with the user's write as soon as one is gone. And they are those that are kept: an excluded
    column that is renamed stays outside.
    """
    as_text = _names(column for column in columns if column.as_text)
    only = f" AND a.attname = ANY ({_names(columns)})" if only_named else ""
    return (
        "(SELECT 'SELECT row_to_json(k.*)::text FROM (SELECT ' || coalesce(string_agg(format('($1).%1$I%2$s AS %1$I', "
        f"a.attname, CASE WHEN a.attname = ANY ({as_text}) THEN '::text' ELSE '' END), ', ' ORDER BY a.attnum), '') "
        "|| ') AS k' FROM pg_attribute a "
        f"WHERE a.attrelid = TG_RELID AND a.attnum > 0 AND NOT a.attisdropped{only})"
    )


def _names(columns: Iterable[Column]) -> str:
    return f"ARRAY[{', '.join(literal(column.name) for column in columns)}]::text[]"


def _marks(users: Sequence[User], alias: str) -> str:
    marks = [_mark(doctype, child, alias) for doctype, child in users]
    return marks[0] if len(marks) == 1 else f"coalesce({', '.join(marks)})"


def _mark(doctype: DocumentType, child: ChildTable | None, alias: str) -> str:
    columns = {column.name: column for column in (child.columns if child else doctype.columns)}
    where = "".join(
        f" AND {alias}.{quote(name)} IS NOT DISTINCT FROM {literal(value)}"
        for name, value in (child.where if child else ())
    )
    name = name_key_sql(child.parent_key if child else doctype.key, columns, alias)
    return (
        f"(SELECT o.mark FROM {SCHEMA}.streamd_origin o WHERE o.doctype = {literal(doctype.name)} "
        f"AND o.name = {name}{where})"
    )


def wanted_digest(statements: Sequence[str]) -> str:
    """What `our_triggers` finds where these statements were run."""
    return f"streamd {_digest(statements[1])}"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
