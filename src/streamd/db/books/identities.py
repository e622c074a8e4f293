"""Which documents have had which names, and their rows which keys, on every engine.

Ids and names are of any length, and no engine has an index over such: they are found by digests of their texts, which
compare exactly, whatever the collation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from streamd.db.statements import Fetching, Running, some_of
from streamd.identity import Identity, natural
from streamd.model import DocumentId, Name, name_from_text, name_text
from streamd.rowids import RowIds

_COLUMNS = "doctype, id_key, id, name_key, name, clock, gone_at"
_ID = msgspec.json.Decoder(DocumentId)
_ROWS = msgspec.json.Decoder(RowIds)
_id_text = msgspec.json.Encoder().encode


def name_digest(text: str | bytes) -> str:
    """32 characters that stand for a name or an id, given as text."""
    return hashlib.blake2b(text if isinstance(text, bytes) else text.encode(), digest_size=16).hexdigest()


class IdentityBookReader(Fetching):
    """Reads them."""

    async def identities(self, doctype: str, names: Iterable[Name], ids: Iterable[DocumentId] = ()) -> list[Identity]:
        """The rows with these names, with their natural ids, and with these ids: what `Identities` needs of them."""
        wanted = list(dict.fromkeys(names))
        by_id = dict.fromkeys([*map(natural, wanted), *ids])
        found: dict[DocumentId, Identity] = {}
        for column, keys in (
            ("id_key", [(name_digest(_id_text(each)),) for each in by_id]),
            ("name_key", [(name_digest(name_text(each)),) for each in wanted]),
        ):
            for some in some_of(keys):
                rows = await self._fetch(
                    f"SELECT doctype, id, name, clock, gone_at FROM streamd_identity WHERE doctype = ? "
                    f"AND {column} IN ({', '.join('?' * len(some))})",
                    [doctype, *(key for (key,) in some)],
                )
                found |= {row.id: row for row in map(_identity, rows)}
        return list(found.values())

    async def has_identities(self) -> bool:
        """Whether there is any row at all. Where names are not used again, there are those of deletions alone."""
        return bool(await self._fetch("SELECT 1 FROM streamd_identity LIMIT 1"))

    async def row_ids(self, doctype: str, ids: Iterable[DocumentId]) -> dict[DocumentId, RowIds]:
        """What is remembered of the rows of these documents, of which anything is (`streamd_row_ids`)."""
        by_key = {name_digest(_id_text(each)): each for each in ids}
        found: dict[DocumentId, RowIds] = {}
        for some in some_of((key,) for key in by_key):
            marks = ", ".join("?" * len(some))
            rows = await self._fetch(
                f'SELECT id_key, "rows" FROM streamd_row_ids WHERE doctype = ? AND id_key IN ({marks})',
                [doctype, *(key for (key,) in some)],
            )
            found |= {by_key[key]: _ROWS.decode(text) for key, text in rows}
        return found

    async def has_row_ids(self) -> bool:
        """Whether anything is remembered of any row. Where documents have the same names everywhere, there is not."""
        return bool(await self._fetch("SELECT 1 FROM streamd_row_ids LIMIT 1"))

    async def has_conversions(self) -> bool:
        """Whether what an earlier release remembered of names waits for `convert`."""
        tables = ("streamd_life", "streamd_counterpart")
        return any([await self._fetch(f"SELECT 1 FROM {table} LIMIT 1") for table in tables])

    async def ids_told(self, batch: int) -> bytes | None:
        """What `put_ids_told` wrote of this batch, if it was the last one of which it wrote anything."""
        rows = await self._fetch("SELECT ids FROM streamd_told WHERE batch = ?", (batch,))
        return None if not rows else str(rows[0][0]).encode()


class IdentityBookTransaction(IdentityBookReader, Running):
    """Writes them."""

    async def put_identities(self, rows: Iterable[Identity], forgotten: Iterable[tuple[str, DocumentId]] = ()) -> None:
        """Remember these rows, each in place of what was remembered of its document, and forget the others."""
        values = [_values(each) for each in rows]
        if values:
            await self._run_many(self._put("streamd_identity", _COLUMNS, "doctype, id_key"), values)
        gone = [(doctype, name_digest(_id_text(each))) for doctype, each in forgotten]
        if gone:
            await self._run_many("DELETE FROM streamd_identity WHERE doctype = ? AND id_key = ?", gone)

    async def put_row_ids(self, documents: Iterable[tuple[str, DocumentId, RowIds]]) -> None:
        """Remember this of the rows of documents, in place of what was remembered of them."""
        values = [
            (doctype, name_digest(_id_text(id)), msgspec.json.encode(ids).decode()) for doctype, id, ids in documents
        ]
        if values:
            await self._run_many(self._put("streamd_row_ids", 'doctype, id_key, "rows"', "doctype, id_key"), values)

    async def forget_deleted(self, before: int, limit: int) -> int:
        """Forget tombstones older than `before` (ms since 1970), `limit` at most, and the ids of their rows.

        Returns how many.
        """
        gone = await self._fetch(
            f"SELECT doctype, name FROM streamd_document WHERE deleted_at < ? LIMIT {int(limit)}", (before,)
        )
        await self._run_many("DELETE FROM streamd_document WHERE doctype = ? AND name = ?", gone)
        ids = await self._fetch(
            f"SELECT doctype, id_key FROM streamd_identity WHERE gone_at < ? LIMIT {int(limit)}", (before,)
        )
        for table in ("streamd_identity", "streamd_row_ids"):
            await self._run_many(f"DELETE FROM {table} WHERE doctype = ? AND id_key = ?", ids)
        return max(len(gone), len(ids))

    async def put_ids_told(self, batch: int, ids: bytes) -> None:
        """Write down which ids capture wrote into the entries of a claimed batch, should it have to do so again."""
        await self._run("DELETE FROM streamd_told")
        await self._run("INSERT INTO streamd_told (batch, ids) VALUES (?, ?)", (batch, ids.decode()))


def _values(row: Identity) -> tuple[Any, ...]:
    id, name = _id_text(row.id), name_text(row.name)
    return row.doctype, name_digest(id), id.decode(), name_digest(name), name, row.clock, row.gone_at


def _identity(row: Any) -> Identity:
    doctype, id, name, clock, gone_at = row
    return Identity(doctype, _ID.decode(id), name_from_text(name), clock, gone_at)
