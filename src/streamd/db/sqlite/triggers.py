"""SQLite's triggers: what notes each changed row of the offered types' tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streamd.db.bound import User, bound_tables, fingerprint, kept_columns
from streamd.db.sqlite.displaced import Displacement, told_apart_by
from streamd.db.sqlite.sql import NOW_MS, PREFIX, label, literal, name_key_sql, quote, row_as_json
from streamd.model import Catalogue, ChildTable, Column, DocumentType, Table

BEFORE = "_before"
BEHIND = " -- fires behind a trigger of the site"

OURS = f"""
SELECT name, sql || CASE WHEN EXISTS (
    SELECT 1 FROM sqlite_master AS t WHERE t.type = 'trigger' AND t.tbl_name = o.tbl_name COLLATE NOCASE
    AND t.rowid > o.rowid AND t.name NOT LIKE 'streamd\\_%' ESCAPE '\\') THEN '{BEHIND}' ELSE '' END
FROM sqlite_master AS o WHERE type = 'trigger' AND name LIKE 'streamd\\_%' ESCAPE '\\'
"""
"""Our triggers, each with its text. The newest trigger of a table fires first: what a user's one does before ours has
noted the row would seem to have come before the row itself."""


def _mark(doctype: DocumentType, child: ChildTable | None, alias: str) -> str:
    columns = child.parent_key if child else doctype.key
    where = "".join(
        f" AND {alias}.{quote(column)} IS {literal(value)}" for column, value in (child.where if child else ())
    )
    return (
        f"(SELECT mark FROM streamd_origin WHERE doctype = {literal(doctype.name)} "
        f"AND name = {name_key_sql(columns, alias)}{where})"
    )


def _mark_of(users: Sequence[User], alias: str) -> str:
    marks = [_mark(doctype, child, alias) for doctype, child in users]
    return marks[0] if len(marks) == 1 else f"coalesce({', '.join(marks)})"


def trigger_name(table: str, event: str) -> str:
    return f"{PREFIX}{table}_{event.lower()}"


def triggers(catalogue: Catalogue, tables: Mapping[str, Table]) -> dict[str, str]:
    """The triggers of the offered document types' tables, by name."""
    found = {}
    for table_name, users in bound_tables(catalogue).items():
        table = tables[table_name]
        stamp, kept = fingerprint(table), kept_columns(table.columns, users)
        displacement = Displacement(table, told_apart_by(users), kept, _mark_of(users, "o")) if table.enforced else None
        for op, event, old, new in (
            ("I", "INSERT", False, True),
            ("U", "UPDATE", True, True),
            ("D", "DELETE", True, False),
        ):
            mark = _mark_of(users, "NEW" if new else "OLD")
            before = row_as_json(kept, "OLD") if old else "NULL"
            after = row_as_json(kept, "NEW") if new else "NULL"
            rows = f"VALUES ({literal(table_name)}, '{op}', {before}, {after}, {mark}, '{stamp}', {NOW_MS})"
            if old and new and len(kept) < len(table.columns):
                # What was changed may be among what is left out: then it is no change.
                rows = (
                    f"SELECT {literal(table_name)}, '{op}', b, a, {mark}, '{stamp}', {NOW_MS} "
                    f"FROM (SELECT {before} AS b, {after} AS a) WHERE b IS NOT a"
                )
            log = "INSERT INTO streamd_change (tbl, op, before, after, origin, fingerprint, at)"
            first = ""
            if displacement is not None:
                gone = f"{log} SELECT {literal(table_name)}, 'D', d.before, NULL, d.origin, '{stamp}', {NOW_MS}"
                first = displacement.after(event, gone)
            name = trigger_name(table_name, event)
            found[name] = (
                f"CREATE TRIGGER {quote(name)} AFTER {event} ON {quote(table_name)} BEGIN {first}{log} {rows}; END"
            )
        if displacement is not None:
            for event, body in displacement.before.items():
                name = f"{trigger_name(table_name, event)}{BEFORE}"
                found[name] = f"CREATE TRIGGER {quote(name)} BEFORE {event} ON {quote(table_name)} {body}"
    return found


def outgrown(ours: Mapping[str, str], catalogue: Catalogue, tables: Mapping[str, Table]) -> dict[str, tuple[str, ...]]:
    """The triggers that were made for other columns or keys, with the columns that they do not write; or fire too late.

    SQLite follows a column's new name in a trigger, but not in the text that the trigger writes.
    """
    found: dict[str, tuple[str, ...]] = {
        name: ()
        for name, text in triggers(catalogue, tables).items()
        if ours.get(name, text) != text and (name.endswith(BEFORE) or ours[name].endswith(BEHIND))
    }
    for table_name, users in bound_tables(catalogue).items():
        table = tables[table_name]
        kept = kept_columns(table.columns, users)
        for event in ("INSERT", "UPDATE", "DELETE"):
            name = trigger_name(table_name, event)
            text = ours.get(name)
            unseen = tuple(column.name for column in kept if not _writes(text, column)) if text is not None else ()
            if unseen or (text is not None and f"'{fingerprint(table)}'" not in text):
                found[name] = unseen
    return found


def _writes(trigger: str, column: Column) -> bool:
    text = literal(label(column.name))[1:-1]
    return column.generated or f"'{text}" in trigger or f",{text}" in trigger
