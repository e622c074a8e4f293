"""PostgreSQL's SQL: our tables in a schema of their own, and what finds and writes rows."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import Any

from streamd.db.moves import Movement, in_one_statement
from streamd.db.parts import TableWrite, WriteKind
from streamd.db.sqltext import quote as quote
from streamd.db.sqltext import same
from streamd.db.tables import table_statements
from streamd.model import ChildTable, Column, DocumentType, Kind, Scalar
from streamd.wire import HEX

SCHEMA = "streamd"

PLAN_EACH_TIME = "SET LOCAL plan_cache_mode = force_custom_plan"
"""As our sessions have it: each time it is planned anew how rows are found, by how large the tables are now."""

PLAN_ONCE = "SET LOCAL plan_cache_mode = auto"

APPLYING = "streamd.applying"
"""A setting of our sessions: only then it is worth a look whether a change has an origin mark.

It gives no rights: marks stand in a table that only our role can write.
"""

# Not rounded: half a millisecond ahead of other engines, an earlier edit could win over theirs.
NOW_MS = "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"

_TYPES = dict.fromkeys(("text", "short", "doctype", "name", "digest"), "text") | {
    "int": "int",
    "big": "bigint",
    "counter": "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "stamps": f"fingerprint text NOT NULL DEFAULT '', \"at\" bigint NOT NULL DEFAULT {NOW_MS}, "
    "tx xid8 NOT NULL DEFAULT pg_current_xact_id()",
    "ids": ", ids text NOT NULL",
    "text_in_index": "name",
}
_TABLES = table_statements(_TYPES, {"streamd_table": "tbl text PRIMARY KEY, parts text NOT NULL"}, schema=f"{SCHEMA}.")
# Its rows live no longer than the transaction that writes them, so nothing of it has to outlive a crash.
_TABLES["streamd_origin"] = _TABLES["streamd_origin"].replace("CREATE TABLE", "CREATE UNLOGGED TABLE", 1)

TABLES = (
    f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}",
    *_TABLES.values(),
    # Tables that came with a later release: whoever was given rights on the first ones gets them on these as well.
    f"""DO $streamd$ DECLARE grantee text; BEGIN
        FOR grantee IN
            SELECT DISTINCT r.rolname FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) AS a
            JOIN pg_roles r ON r.oid = a.grantee
            WHERE c.oid = '{SCHEMA}.streamd_document'::regclass AND a.privilege_type = 'UPDATE' AND r.oid <> c.relowner
        LOOP
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON {SCHEMA}.streamd_counterpart, '
                '{SCHEMA}.streamd_series, {SCHEMA}.streamd_life, {SCHEMA}.streamd_table, '
                '{SCHEMA}.streamd_identity, {SCHEMA}.streamd_row_ids, {SCHEMA}.streamd_told TO %I', grantee);
        END LOOP;
    END $streamd$""",
)


@lru_cache(maxsize=512)
def numbered(statement: str) -> str:
    """A statement with `?` for its values as PostgreSQL wants it: `$1`, `$2`, …"""
    count = 0

    def number(_: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return f"${count}"

    return re.sub(r"\?", number, statement)


def literal(value: Scalar) -> str:
    if isinstance(value, str):
        return ("E" if "\\" in value else "") + "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
    return repr(value)


def row_of(columns: DocumentType | ChildTable) -> str:
    """An expression: a row of the table `t` as JSON text; what is excluded is not read.

    `t.*` is the row, where `t` alone would be a column of that name.
    """
    if not columns.excluded and not any(column.as_text for column in columns.columns):
        return "row_to_json(t.*)::text"
    return f"(SELECT row_to_json(k.*) FROM (SELECT {selected(columns.written_columns)}) AS k)::text"


def selected(columns: Iterable[Column]) -> str:
    """These columns of the table `t`, as a list to select."""
    names = ((quote(column.name), column.as_text) for column in columns)
    return ", ".join(f"t.{name}::text AS {name}" if as_text else f"t.{name}" for name, as_text in names)


def written(columns: Iterable[Column]) -> str:
    """The values of simple columns of the table `t`, each as it travels."""
    return ", ".join(map(_written, columns))


def _written(column: Column) -> str:
    name = f"t.{quote(column.name)}"
    if column.kind == Kind.DATETIME_ZONED:
        return f"replace(to_jsonb({name}) #>> '{{}}', 'T', ' ')"
    return f"{name}::text" if column.as_text or column.kind == Kind.DATETIME else name


def holding(wanted: Sequence[tuple[Column, Any]]) -> tuple[str, list[Any]]:
    """A condition that columns of the table `t` hold exactly these values, and the values for it."""
    parts: list[str] = []
    values: list[Any] = []
    for column, value in wanted:
        reference, parameter = f"t.{quote(column.name)}", f"${len(values) + 1}"
        if column.kind == Kind.INTEGER:
            parts.append(f"{reference} = {parameter}::bigint")
        elif column.kind == Kind.BOOLEAN:
            parts.append(f"{reference} = ({parameter}::int = 1)")
        elif column.kind == Kind.DECIMAL:
            parts.append(f"{reference} = {parameter}::text::numeric")
            value = str(value)
        elif column.kind == Kind.FLOAT:
            # Of a column of 32 bits, the number is meant that it is written as.
            compared = f"{reference}::text::float8" if column.declared == "real" else reference
            parts.append(f"{compared} = {parameter}::float8")
        elif column.kind == Kind.UUID:
            parts.append(f"{reference} = {parameter}::text::uuid")
        elif column.declared.startswith(("text", "character varying")):
            # The second comparison is exact, whatever the column's collation; the first one finds its index.
            parts.append(f'{reference} = {parameter}::text AND {reference} COLLATE "C" = {parameter}::text')
        elif column.kind == Kind.BYTES:
            parts.append(f"encode({reference}, 'hex') = lower({parameter}::text)")
            value = value[HEX]
        elif column.kind in (Kind.DATETIME, Kind.DATETIME_ZONED):
            parts.append(f"replace(to_json({reference}) #>> '{{}}', 'T', ' ') COLLATE \"C\" = {parameter}::text")
        else:
            parts.append(f'{reference}::text COLLATE "C" = {parameter}::text')
        values.append(value)
    return " AND ".join(parts), values


def rowset(columns: Iterable[Column], parameter: str) -> str:
    """The rows that a parameter holds as a JSON list, as rows `r` of these columns.

    Not as rows of the table: a domain would refuse that the table's other columns are NULL there.
    """
    return f"json_to_recordset({parameter}::json) AS r ({_defined(columns)})"


def _record(columns: Iterable[Column], parameter: str, alias: str) -> str:
    return f"json_to_record({parameter}::json) AS {alias} ({_defined(columns)})"


def _defined(columns: Iterable[Column]) -> str:
    return ", ".join(
        f"{name} {declared}" for name, declared in {quote(each.name): each.declared for each in columns}.items()
    )


def write_sql(write: TableWrite, nulls: Collection[str] = ()) -> str:
    """The statement of a write of many rows, which are its one parameter.

    The columns of `nulls` get the `null` of JSON, which is not SQL's: no row that is read from JSON can have it.
    """
    table, columns = quote(write.table), [quote(column.name) for column in write.columns]
    values = [
        f"'null'::{column.declared}" if column.name in nulls else f"r.{quote(column.name)}" for column in write.columns
    ]
    where = same((column.name for column in write.where), "t", "r")
    rows = rowset([column for column in (*write.columns, *write.where) if column.name not in nulls], "$1")
    if write.kind == WriteKind.INSERT:
        names, given = ", ".join(columns), ", ".join(values)
        return f"INSERT INTO {table} AS t ({names}) OVERRIDING SYSTEM VALUE SELECT {given} FROM {rows}"
    if write.kind == WriteKind.UPDATE:
        changes = ", ".join(f"{column} = {value}" for column, value in zip(columns, values, strict=True))
        return f"UPDATE {table} AS t SET {changes} FROM {rows} WHERE {where}"
    return f"DELETE FROM {table} AS t USING {rows} WHERE {where}"


def rekey_sql(write: TableWrite) -> str:
    """The statement of an update that changes the very columns which say what row is meant: new and old row."""
    table = quote(write.table)
    changes = ", ".join(f"{quote(column.name)} = n.{quote(column.name)}" for column in write.columns)
    where = same((column.name for column in write.where), "t", "o")
    return (
        f"UPDATE {table} AS t SET {changes} FROM {_record(write.columns, '$1', 'n')}, "
        f"{_record(write.where, '$2', 'o')} WHERE {where}"
    )


def count_sql(write: TableWrite) -> str:
    """How many rows `rekey_sql` and `move_sql` would change; the old row is the one parameter."""
    table = quote(write.table)
    where = same((column.name for column in write.where), "t", "o")
    return f"SELECT count(*) FROM {table} AS t, {_record(write.where, '$1', 'o')} WHERE {where}"


def move_sql(write: TableWrite, moved: Sequence[Movement]) -> str:
    """The statement that does what `rekey_sql` does, with all that follows it; new and old row are its parameters."""
    size = len(write.columns)

    def value(place: int) -> str:
        return f"n.{quote(write.columns[place].name)}" if place < size else f"o.{quote(write.where[place - size].name)}"

    return (
        f"WITH n AS (SELECT * FROM {_record(write.columns, '$1', 'n')}), "
        f"o AS (SELECT * FROM {_record(write.where, '$2', 'o')}){in_one_statement(moved, value)}"
    )


def among(key: Iterable[Column], parameter: str) -> str:
    """The condition that a row (`t`) is among those that a parameter names by these columns."""
    columns = list(key)
    names = [quote(column.name) for column in columns]
    return (
        f"({', '.join(f't.{name}' for name in names)}) IN (SELECT {', '.join(names)} FROM {rowset(columns, parameter)})"
    )


def put_again_sql(write: TableWrite, columns: Sequence[Column]) -> str:
    """The statement that does an update by removing the rows and inserting them again; the rows are its parameter.

    All are removed before the first one is inserted, since they are sorted in between; and foreign keys are checked at
    its end, when they are all back.
    """
    table, changed = quote(write.table), {column.name for column in write.columns}
    names = [column.name for column in columns if not column.generated]
    values = ", ".join(f"{'r' if name in changed else 'g'}.{quote(name)}" for name in names)
    removed = same((column.name for column in write.where), "t", "r")
    alike = same((column.name for column in write.where), "g", "r")
    order = ", ".join(f"g.{quote(column.name)}" for column in write.where)
    return (
        f"WITH r AS (SELECT * FROM {rowset((*write.columns, *write.where), '$1')}), "
        f"g AS (DELETE FROM {table} AS t USING r WHERE {removed} RETURNING t.*) "
        f"INSERT INTO {table} ({', '.join(map(quote, names))}) OVERRIDING SYSTEM VALUE "
        f"SELECT {values} FROM g JOIN r ON {alike} ORDER BY {order}"
    )


FIRE_CONSTRAINT_TRIGGERS = """
DO $streamd$ DECLARE names text; BEGIN
    SELECT string_agg(quote_ident(conname), ', ') INTO names FROM pg_constraint
    WHERE contype = 't' AND condeferrable AND connamespace = current_schema()::regnamespace;
    IF names IS NOT NULL THEN
        EXECUTE 'SET CONSTRAINTS ' || names || ' IMMEDIATE';
        EXECUTE 'SET CONSTRAINTS ' || names || ' DEFERRED';
    END IF;
END $streamd$
"""
"""What users' constraint triggers do at the end of a transaction, they do now: later nobody would look at it."""

DEFERRABLE = """
SELECT conname::text FROM pg_constraint
WHERE condeferrable AND NOT condeferred AND connamespace = current_schema()::regnamespace
"""
"""Constraints that can wait until a transaction's end, and do not by themselves."""


MISSING_RIGHTS = f"""
SELECT c.relname::text, w."right" FROM unnest($1::text[], $2::text[]) AS w (tbl, "right")
JOIN pg_class c ON c.relname = w.tbl AND c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
WHERE NOT CASE w."right" WHEN 'DELETE' THEN has_table_privilege(c.oid, 'DELETE')
    ELSE has_any_column_privilege(c.oid, w."right") END
UNION ALL
SELECT '{SCHEMA}', "right" FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS r ("right")
WHERE EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = to_regnamespace('{SCHEMA}') AND c.relkind = 'r'
    AND NOT has_table_privilege(c.oid, "right"))
"""
"""Which of the rights that are asked for (tables and rights, side by side) we lack; of our tables, as `streamd`."""


def grants(role: str) -> list[str]:
    """What a role needs to run the daemon, besides its rights on the user's own tables."""
    name = quote(role)
    return [
        f"GRANT USAGE ON SCHEMA {SCHEMA} TO {name}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {SCHEMA} TO {name}",
    ]
