"""What tables a PostgreSQL database has: those of the schema in which tables are made by default."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import asyncpg

from streamd.db.postgresql.keys import AUTOMATIC
from streamd.db.postgresql.partitions import heirs_and_partitions, parts
from streamd.model import Column, ForeignKey, Kind, Table

_KINDS = {
    "int2": Kind.INTEGER,
    "int4": Kind.INTEGER,
    "int8": Kind.INTEGER,
    "oid": Kind.INTEGER,
    "numeric": Kind.DECIMAL,
    "float4": Kind.FLOAT,
    "float8": Kind.FLOAT,
    "bool": Kind.BOOLEAN,
    "bytea": Kind.BYTES,
    "date": Kind.DATE,
    "time": Kind.TIME,
    "timetz": Kind.TIME,
    "timestamp": Kind.DATETIME,
    "timestamptz": Kind.DATETIME_ZONED,
    "uuid": Kind.UUID,
    "json": Kind.JSON,
    "jsonb": Kind.JSON,
}

_ARRAYS_AND_ROWS = ("A", "C")
"""Type categories whose values PostgreSQL writes as JSON arrays and objects."""

_COLUMNS = """
WITH RECURSIVE domain (type, base, not_null) AS (
    SELECT oid, typbasetype, typnotnull FROM pg_type WHERE typtype = 'd'
    UNION ALL
    SELECT d.type, t.typbasetype, d.not_null OR t.typnotnull
    FROM domain d JOIN pg_type t ON t.oid = d.base WHERE t.typtype = 'd'
), as_object (type) AS (
    -- Types of somebody's own with a cast to JSON, which makes JSON of them that no cast reads back.
    SELECT castsource FROM pg_cast
    WHERE casttarget = 'pg_catalog.json'::regtype AND castmethod = 'f' AND castsource >= 16384
    UNION
    SELECT t.oid FROM as_object o JOIN pg_type t ON (t.typelem = o.type AND t.typcategory = 'A')
        OR (t.typtype = 'd' AND t.typbasetype = o.type)
        OR (t.typtype = 'c' AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = t.typrelid
            AND a.atttypid = o.type AND a.attnum > 0 AND NOT a.attisdropped))
)
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), b.typname, b.typcategory::text,
       a.attnotnull OR coalesce(d.not_null, false), a.attgenerated <> '', a.atthasdef OR a.attidentity <> '',
       a.atttypid IN (SELECT type FROM as_object)
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid
LEFT JOIN (domain d JOIN pg_type x ON x.oid = d.base AND x.typtype <> 'd') ON d.type = a.atttypid
JOIN pg_type b ON b.oid = coalesce(d.base, a.atttypid)
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0
  AND NOT a.attisdropped AND ($1::text[] IS NULL OR c.relname = ANY($1))
ORDER BY c.relname, a.attnum
"""

_INDEXES = """
SELECT c.relname, i.indisprimary,
       ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(n, at)
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.n WHERE k.at <= i.indnkeyatts ORDER BY k.at),
       i.indnkeyatts::int, i.indpred IS NOT NULL
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE c.relnamespace = current_schema()::regnamespace AND i.indisunique
"""

_FOREIGN_KEYS = """
SELECT c.relname, CASE WHEN r.relnamespace = c.relnamespace THEN r.relname::text ELSE s.nspname || '.' || r.relname END,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY n(n, at)
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = n.n ORDER BY n.at),
       ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY n(n, at)
             JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum = n.n ORDER BY n.at),
       k.confdeltype::text, k.confupdtype::text
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_class r ON r.oid = k.confrelid
JOIN pg_namespace s ON s.oid = r.relnamespace
WHERE k.contype = 'f' AND c.relnamespace = current_schema()::regnamespace
  AND (k.conparentid = 0 OR NOT r.relispartition) ORDER BY k.conname
"""
"""A table of another schema is called as such: it is not the one of that name in ours."""

_ACTIONS = {"a": "NO ACTION", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}

# A rule rewrites statements: like a trigger, it can change or swallow what is written.
_TRIGGERS = """
SELECT c.relname, t.tgname::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_proc p ON p.oid = t.tgfoid
WHERE NOT t.tgisinternal AND c.relnamespace = current_schema()::regnamespace
  AND p.pronamespace <> coalesce(to_regnamespace('streamd'), 0::oid)
UNION ALL SELECT c.relname, 'rule ' || r.rulename FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
WHERE c.relkind IN ('r', 'p') AND c.relnamespace = current_schema()::regnamespace ORDER BY 2
"""


async def columns_of(driver: asyncpg.Connection, tables: Iterable[str] | None) -> dict[str, tuple[Column, ...]]:
    """The columns of these tables (of all, for None), by table."""
    found: dict[str, list[Column]] = {}
    for table, name, declared, base, category, not_null, generated, default, as_text in await driver.fetch(
        _COLUMNS, None if tables is None else list(tables)
    ):
        kind = Kind.JSON if category in _ARRAYS_AND_ROWS else _KINDS.get(base, Kind.TEXT)
        column = Column(name, declared, kind, nullable=not not_null, generated=generated, has_default=default)
        found.setdefault(table, []).append(replace(column, kind=Kind.TEXT, as_text=True) if as_text else column)
    return {table: tuple(columns) for table, columns in found.items()}


async def foreign_keys(driver: asyncpg.Connection) -> dict[str, list[ForeignKey]]:
    """The foreign keys of each table that has some."""
    found: dict[str, list[ForeignKey]] = {}
    for table, referred, names, theirs, on_delete, on_update in await driver.fetch(_FOREIGN_KEYS):
        key = ForeignKey(tuple(names), referred, tuple(theirs), _ACTIONS[on_delete], _ACTIONS[on_update])
        found.setdefault(table, []).append(key)
    return found


async def reflect(driver: asyncpg.Connection) -> dict[str, Table]:
    """Every table of the user's."""
    columns = await columns_of(driver, None)
    automatic: dict[str, set[str]] = {}
    for table, column in await driver.fetch(AUTOMATIC):
        automatic.setdefault(table, set()).add(column)
    keys: dict[str, tuple[str, ...]] = {}
    uniques: dict[str, list[tuple[str, ...]]] = {}
    in_unique: dict[str, set[str]] = {}
    for table, primary, names, size, partial in await driver.fetch(_INDEXES):
        if primary:
            keys[table] = tuple(names)
            continue
        in_unique.setdefault(table, set()).update(names)
        if len(names) == size and not partial:
            uniques.setdefault(table, []).append(tuple(names))
    foreign = await foreign_keys(driver)
    triggers: dict[str, list[str]] = {}
    for table, trigger in await driver.fetch(_TRIGGERS):
        triggers.setdefault(table, []).append(trigger)
    heirs, partitions = heirs_and_partitions(await parts(driver))
    return {
        table: Table(
            table,
            _marked(found, in_unique.get(table, set()), automatic.get(table, set())),
            keys.get(table, ()),
            tuple(dict.fromkeys(uniques.get(table, ()))),
            tuple(foreign.get(table, ())),
            tuple(triggers.get(table, ())),
            heirs=heirs.get(table, ()),
            partitions=partitions.get(table, ()),
        )
        for table, found in columns.items()
    }


def _marked(columns: Sequence[Column], unique: set[str], automatic: set[str]) -> tuple[Column, ...]:
    return tuple(
        replace(column, unique=column.name in unique, automatic=column.name in automatic) for column in columns
    )
