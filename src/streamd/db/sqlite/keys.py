"""The keys that SQLite itself would give next. There is one writer: what is next now is next until we are done."""

from __future__ import annotations

import re
from collections.abc import Sequence

from streamd.db.books.given_keys import Keys, Place, TakenKeys
from streamd.db.sqltext import evaluated_sql, quote
from streamd.db.statements import Fetching
from streamd.errors import SiteError
from streamd.model import Column, Scalar

HIGHEST = (1 << 63) - 1

_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")
_ANOTHER_EACH_TIME = re.compile(r"\b(random|randomblob|\w*uuid\w*|\w*ulid\w*)\s*\(", re.IGNORECASE)


def gives_another_each_time(default: str | None) -> bool:
    """Whether a default is an expression that has another value each time."""
    return default is not None and _ANOTHER_EACH_TIME.search(_QUOTED.sub("", default)) is not None


async def next_keys(reader: Fetching, taken: TakenKeys, table: str, column: Column, count: int) -> Keys:
    """The next values of an automatic column, within a write transaction. Raises `SiteError`."""
    (default,) = await reader._fetch(
        "SELECT dflt_value FROM pragma_table_xinfo(?) WHERE name = ?", (table, column.name)
    )
    if default[0] is not None:
        return await _evaluated(reader, table, column, default[0], count)
    place = Place(table, column.name)
    (highest,) = await reader._fetch(f"SELECT coalesce(max({quote(column.name)}), 0) FROM {quote(table)}")
    # Of a table with AUTOINCREMENT, numbers of deleted rows are not given again.
    given = await reader._fetch("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,))
    first = max(highest[0], *(row[0] for row in given), taken.highest(place)) + 1
    if first + count - 1 > HIGHEST:
        raise SiteError(f"{table}.{column.name} has no higher number left", hint="free some, or use another key")
    keys = range(first, first + count)
    taken.foresee(place, keys)
    return list(keys)


async def _evaluated(reader: Fetching, table: str, column: Column, default: str, count: int) -> Keys:
    rows: Sequence[Sequence[Scalar]] = await reader._fetch(evaluated_sql(default), (count,))
    keys = [row[0] for row in rows]
    if not all(isinstance(key, str | int | float) for key in keys):
        raise SiteError(
            f"the default of {table}.{column.name} gives values that can be no key", hint="let it give text, or numbers"
        )
    return keys
