"""What stands against removing a row and inserting it again within one transaction. Pure.

While it is away, rows that refer to it may go with it (`ON DELETE CASCADE`), or lose their reference (`SET NULL`); and
where an update changes what they refer to, they would refer to another row afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from streamd.db.moves import quote
from streamd.db.parts import TableWrite
from streamd.model import ForeignKey

_HARMLESS = ("", "NO ACTION", "RESTRICT")
"""Actions that the database itself refuses a removal by, where it does."""


def touching(
    write: TableWrite, foreign_keys: Mapping[str, Sequence[ForeignKey]], which: str, *, acts: bool = True
) -> Iterator[tuple[str, str]]:
    """Queries that find a row which refers to the rows of a write, and may not; and what is said if there is one.

    `which` is the condition for the rows (`t`). `acts`: the database does what foreign keys say of removals.
    """
    changed = {column.name for column in write.columns}
    for child, keys in foreign_keys.items():
        for key in keys:
            if key.table != write.table or len(key.columns) != len(key.referred):
                continue
            follows = acts and key.on_delete.upper() not in _HARMLESS
            if not follows and changed.isdisjoint(key.referred):
                continue
            joined = " AND ".join(
                f"c.{quote(column)} = t.{quote(referred)}"
                for column, referred in zip(key.columns, key.referred, strict=True)
            )
            query = (
                f"SELECT 1 FROM {quote(write.table)} AS t JOIN {quote(child)} AS c ON {joined} WHERE {which} LIMIT 1"
            )
            yield query, f"rows of {child} refer to rows of {write.table} by {', '.join(key.columns)}"
