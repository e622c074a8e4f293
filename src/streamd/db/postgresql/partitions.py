"""What changes the rows of a table, and no trigger sees.

Rows are in other tables as well: in partitions, and in child tables by inheritance. They come and go with these: by
ATTACH and DETACH PARTITION, INHERIT and NO INHERIT, DROP TABLE, and by TRUNCATE of one partition that has no trigger of
ours yet. So it is remembered which there were, and their files. ALTER TABLE gives all rows other values: by another
type of a column, and by a new column with a default. So the columns are remembered too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import asyncpg
import msgspec

from streamd.db.postgresql import sql
from streamd.db.postgresql.triggers import TRIGGER, TRUNCATES, function_name
from streamd.rows import UNSEEN

_PARTS = f"""
WITH RECURSIVE below(root, oid) AS (
    SELECT c.relname::text, i.inhrelid FROM pg_class c JOIN pg_inherits i ON i.inhparent = c.oid
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
    UNION SELECT b.root, i.inhrelid FROM below b JOIN pg_inherits i ON i.inhparent = b.oid)
SELECT b.root, c.oid::bigint, format('%I.%I', n.nspname, c.relname), c.relispartition, c.relkind::text,
       coalesce(pg_relation_filenode(c.oid)::bigint, 0),
       EXISTS (SELECT 1 FROM pg_trigger t
               WHERE t.tgrelid = c.oid AND t.tgname = '{TRUNCATES}' AND t.tgenabled = 'A')
FROM below b JOIN pg_class c ON c.oid = b.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f') ORDER BY 1, 2
"""

_TRIGGERS = f"""
SELECT p.proname::text, obj_description(p.oid, 'pg_proc'), t.tgrelid::bigint,
       CASE WHEN c.relnamespace = current_schema()::regnamespace THEN c.relname::text END, t.tgname::text
FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace
JOIN pg_class c ON c.oid = t.tgrelid
WHERE n.nspname = '{sql.SCHEMA}' AND t.tgenabled = 'A'
"""


_COLUMNS = """
SELECT c.relname::text, a.attnum::text, quote_ident(a.attname), format_type(a.atttypid, a.atttypmod) || coalesce(
           (SELECT string_agg(' ' || e.enumlabel, '' ORDER BY e.enumsortorder) FROM pg_enum e
            WHERE e.enumtypid = a.atttypid), ''), a.atthasdef
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY($1) AND a.attnum > 0 AND NOT a.attisdropped
"""

COLUMN = "column "
"""Before the number of a column, among the parts of its table."""


class Part(NamedTuple):
    """One table below another one. `kind` is PostgreSQL's `relkind`; `guarded`: a trigger of ours sees its TRUNCATE."""

    root: str
    oid: int
    name: str
    is_partition: bool
    kind: str
    file: int
    guarded: bool


class Seen(msgspec.Struct, array_like=True):
    """A part as it was when we looked last; of a column its name with its type, and whether it has a default."""

    name: str
    file: int
    guarded: bool


_SEEN = msgspec.json.Decoder(dict[str, Seen])


async def parts(driver: asyncpg.Connection) -> list[Part]:
    """All tables below another one of the user's, at any depth; their names are quoted, with their schemas."""
    return [Part(*row) for row in await driver.fetch(_PARTS)]


def heirs_and_partitions(found: Collection[Part]) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """By table: its children by inheritance, and the partitions that hold rows themselves."""
    heirs: dict[str, list[str]] = {}
    partitions: dict[str, list[str]] = {}
    for part in found:
        if part.kind == "r":
            (partitions if part.is_partition else heirs).setdefault(part.root, []).append(part.name)
    return {root: tuple(each) for root, each in heirs.items()}, {root: tuple(e) for root, e in partitions.items()}


async def our_triggers(driver: asyncpg.Connection) -> dict[str, str]:
    """Our trigger functions that are called wherever they have to be, and nowhere else; with their digests."""
    below: dict[str, set[int]] = {}
    for part in await parts(driver):
        if part.kind != "f":
            below.setdefault(part.root, set()).add(part.oid)
    functions: dict[str, str] = {}
    on: dict[str, dict[int, set[str]]] = {}
    roots: dict[str, tuple[str, int]] = {}
    for function, digest, oid, table, trigger in await driver.fetch(_TRIGGERS):
        functions[function] = digest or ""
        on.setdefault(function, {}).setdefault(oid, set()).add(trigger)
        if table is not None and function_name(table) == function:
            roots[function] = table, oid
    return {
        function: functions[function]
        for function, (table, root) in roots.items()
        if _is_whole(on[function], root, below.get(table, set()))
    }


def _is_whole(on: Mapping[int, set[str]], root: int, below: set[int]) -> bool:
    """Whether a function's triggers, by table, are those that see all rows of `root` and of the tables below it."""
    everywhere = all(TRIGGER in on.get(oid, ()) for oid in {root, *below})
    return everywhere and TRUNCATES in on[root] and on.keys() <= {root, *below}


async def unseen(driver: asyncpg.Connection, tables: Collection[str]) -> dict[str, list[str]]:
    """What happened to the parts of these tables since we looked last and no trigger saw, in words, by table.

    It is for the writing connection: what is there now is remembered, and the changes say what happened.
    """
    before, now = await _before_and_now(driver, tables)
    happened: dict[str, list[str]] = {}
    for table in sorted(tables):
        old, new = before.get(table), now.get(table, {})
        if old == new or (old is None and not new):
            continue
        words = [] if old is None else [*went(old, new), *await _came(driver, old, new)]
        if words:
            happened[table] = words
            await driver.execute(
                "INSERT INTO streamd_change (tbl, op, \"after\") VALUES ($1, 'T', $2)",
                table,
                msgspec.json.encode({UNSEEN: "; ".join(words)}).decode(),
            )
        await driver.execute(
            "INSERT INTO streamd_table (tbl, parts) VALUES ($1, $2) ON CONFLICT (tbl) DO UPDATE SET parts = $2",
            table,
            msgspec.json.encode(new).decode(),
        )
    return happened


async def differs(driver: asyncpg.Connection, tables: Collection[str]) -> bool:
    """Whether `unseen` would find anything to write down."""
    before, now = await _before_and_now(driver, tables)
    return {table: each for table, each in before.items() if each} != now


async def _before_and_now(
    driver: asyncpg.Connection, tables: Collection[str]
) -> tuple[dict[str, dict[str, Seen]], dict[str, dict[str, Seen]]]:
    """The parts of these tables by their numbers, as they are remembered, and as they are."""
    now: dict[str, dict[str, Seen]] = {}
    for part in await parts(driver):
        if part.root in tables and part.kind == "r":
            now.setdefault(part.root, {})[str(part.oid)] = Seen(part.name, part.file, part.guarded)
    for table, number, name, declared, has_default in await driver.fetch(_COLUMNS, list(tables)):
        now.setdefault(table, {})[COLUMN + number] = Seen(f"{name} {declared}", 0, has_default)
    rows = await driver.fetch("SELECT tbl, parts FROM streamd_table WHERE tbl = ANY($1)", list(tables))
    return {table: _SEEN.decode(text) for table, text in rows}, now


def went(before: Mapping[str, Seen], now: Mapping[str, Seen]) -> Iterator[str]:
    """What became of the parts that there were, where rows may have gone with it."""
    for oid, old in before.items():
        new = now.get(oid)
        if oid.startswith(COLUMN):
            if new is not None and new.name != old.name:
                yield f"the column {old.name} is {new.name} now (ALTER TABLE)"
        elif new is None:
            yield f"{old.name} is no part of it any more (DETACH PARTITION, NO INHERIT or DROP TABLE)"
        elif new.file != old.file and not (old.guarded and new.guarded):
            yield f"{new.name} was emptied or written anew (TRUNCATE, or VACUUM FULL)"


async def _came(driver: asyncpg.Connection, before: Mapping[str, Seen], now: Mapping[str, Seen]) -> Sequence[str]:
    """The parts that are new and hold rows. One that is empty was made empty, or its rows went again as others do."""
    words = []
    names = {each.name.partition(" ")[0] for oid, each in before.items() if oid.startswith(COLUMN)}
    for oid, part in now.items():
        if oid in before:
            continue
        if oid.startswith(COLUMN):
            if names and (part.guarded or part.name.partition(" ")[0] in names):
                words.append(f"the column {part.name} is new: every row has another value (ALTER TABLE)")
        elif await _has_rows(driver, part.name):
            words.append(f"{part.name} became a part of it, with rows (ATTACH PARTITION or INHERIT)")
    return words


async def _has_rows(driver: asyncpg.Connection, name: str) -> bool:
    if not await driver.fetchval("SELECT has_table_privilege($1, 'SELECT')", name):
        return True  # it may be read as a part of its table only: rather a gap too many
    return bool(await driver.fetchval(f"SELECT EXISTS (SELECT 1 FROM ONLY {name})"))
