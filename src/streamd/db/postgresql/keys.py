"""The keys that PostgreSQL itself would give next: what the column's own default gives, or the sequence behind it.

Nobody else gets what a sequence gave to us, so users' own rows never clash with ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg

from streamd.db.books.given_keys import Keys, Place, TakenKeys, from_sequence
from streamd.db.postgresql.sql import quote, rowset
from streamd.db.postgresql.values import reader, rows_as_json
from streamd.errors import SiteError
from streamd.model import Column, Kind
from streamd.rows import name_reader

AUTOMATIC = r"""
SELECT c.relname, a.attname FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.attgenerated = ''
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0
  AND NOT a.attisdropped AND (a.attidentity <> '' OR EXISTS (
    SELECT 1 FROM regexp_matches(
        regexp_replace(pg_get_expr(d.adbin, d.adrelid), '''[^'']*''', '', 'g'), '([[:alnum:]_$]+)"?\(', 'g') AS called
    JOIN pg_proc p ON p.proname = called[1] WHERE p.provolatile = 'v'))
"""
"""Columns that get another value each time: identities, and defaults that call a volatile function."""

_DEFAULT = """
SELECT coalesce(pg_get_expr(d.adbin, d.adrelid), 'nextval(' || s.oid || '::oid::regclass)'), s.oid::bigint
FROM pg_attribute a
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.attgenerated = ''
LEFT JOIN LATERAL (
    SELECT q.oid FROM pg_depend p JOIN pg_class q ON q.oid = p.refobjid AND q.relkind = 'S'
    WHERE p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid AND p.refclassid = 'pg_class'::regclass
    UNION ALL
    SELECT q.oid FROM pg_depend p JOIN pg_class q ON q.oid = p.objid AND q.relkind = 'S'
    WHERE p.classid = 'pg_class'::regclass AND p.deptype = 'i' AND p.refclassid = 'pg_class'::regclass
      AND p.refobjid = a.attrelid AND p.refobjsubid = a.attnum
    LIMIT 1
) AS s ON true
WHERE a.attrelid = $1::text::regclass AND a.attname = $2
"""


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a column's values come from. `sequence` is None where no sequence is behind them."""

    table: str
    column: Column
    expression: str
    sequence: int | None

    @property
    def counts(self) -> bool:
        """Whether what it gives is used up by being given."""
        return self.sequence is not None or "nextval(" in self.expression


async def next_keys(driver: asyncpg.Connection, taken: TakenKeys, table: str, column: Column, count: int) -> Keys:
    """The next values of an automatic column. Raises `SiteError`."""
    source = await _source(driver, table, column)
    if not source.counts:
        return await _draw(driver, source, count)

    async def usable(keys: Keys) -> Keys:
        return await _usable(driver, source, keys)

    async def draw(size: int) -> Keys:
        return await _draw(driver, source, size)

    async def missing(keys: Keys) -> Keys:
        return await _missing(driver, source, keys)

    return await from_sequence(taken, Place(table, column.name), count, usable, draw, missing)


async def _source(driver: asyncpg.Connection, table: str, column: Column) -> _Source:
    rows = await driver.fetch(_DEFAULT, quote(table), column.name)
    if not rows or rows[0][0] is None:
        raise SiteError(
            f"the database gives no values for {table}.{column.name} by itself",
            hint="give the column a default, or say in [doctypes] how else documents are named",
        )
    return _Source(table, column, *rows[0])


async def _draw(driver: asyncpg.Connection, source: _Source, count: int) -> Keys:
    """New values, as they travel."""
    name = quote(source.column.name)
    value = f"({source.expression})"
    if source.column.kind != Kind.TEXT:
        value = f"CAST({value} AS {source.column.declared})"
    try:
        rows = await driver.fetch(
            f"SELECT row_to_json(k.*)::text FROM (SELECT {value} AS {name} FROM generate_series(1, $1::int)) AS k",
            count,
        )
    except asyncpg.InsufficientPrivilegeError as error:
        raise SiteError(
            f"the site's database: {error}",
            hint=f"grant the daemon's role what it needs to number {source.table}: GRANT USAGE ON that sequence",
        ) from error
    return _values(source, rows)


async def _missing(driver: asyncpg.Connection, source: _Source, keys: Keys) -> Keys:
    """Those of the keys that do not stand in the table."""
    table, name = quote(source.table), quote(source.column.name)
    rows = await driver.fetch(
        f"SELECT row_to_json(k.*)::text FROM (SELECT t.{name} FROM {table} AS t "
        f"WHERE t.{name} IN (SELECT r.{name} FROM {rowset((source.column,), '$1')})) AS k",
        rows_as_json((source.column,), [(key,) for key in keys]),
    )
    present = set(_values(source, rows))
    return [key for key in keys if key not in present]


def _values(source: _Source, rows: list[asyncpg.Record]) -> Keys:
    read, name_of = reader((source.column,)), name_reader((source.column.name,))
    names = [name_of(read(row[0].encode())) for row in rows]
    if None in names:
        raise SiteError(
            f"the default of {source.table}.{source.column.name} gives values that can be no key",
            hint="let it give text, or numbers",
        )
    return [name[0] for name in names if name is not None]


async def _usable(driver: asyncpg.Connection, source: _Source, keys: Keys) -> Keys:
    """Those of the keys that were given back which nobody else gets."""
    if source.sequence is None:
        return keys
    last, up = (
        await driver.fetch(
            "SELECT pg_sequence_last_value(seqrelid), seqincrement > 0 FROM pg_sequence WHERE seqrelid = $1::oid",
            source.sequence,
        )
    )[0]
    # Somebody may have let it count anew: then it will give them once more, and not to us.
    return [key for key in keys if isinstance(key, str) or (last is not None and (key == last or (key < last) == up))]
