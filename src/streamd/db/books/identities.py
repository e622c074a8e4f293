"""Which documents have had which names, on every engine. Ids and names are found by digests, as in `counterparts`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from streamd.db.books.counterparts import name_digest
from streamd.db.statements import Fetching, Running, some_of
from streamd.identity import Identity, natural
from streamd.model import DocumentId, Name, name_from_text, name_text

_COLUMNS = "doctype, id_key, id, name_key, name, clock, gone_at"
_ID = msgspec.json.Decoder(DocumentId)
_id_text = msgspec.json.Encoder().encode


class IdentityBookReader(Fetching):
    """Reads them."""

    async def identities(self, doctype: str, names: Iterable[Name], ids: Iterable[DocumentId] = ()) -> list[Identity]:
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
        return bool(await self._fetch("SELECT 1 FROM streamd_identity LIMIT 1"))

    async def has_lives(self) -> bool:
        return bool(await self._fetch("SELECT 1 FROM streamd_life LIMIT 1"))

    async def ids_told(self, batch: int) -> bytes | None:
        rows = await self._fetch("SELECT ids FROM streamd_told WHERE batch = ?", (batch,))
        return None if not rows else str(rows[0][0]).encode()


class IdentityBookTransaction(IdentityBookReader, Running):
    """Writes them."""

    async def put_identities(self, rows: Iterable[Identity], forgotten: Iterable[tuple[str, DocumentId]] = ()) -> None:
        values = [_values(each) for each in rows]
        if values:
            await self._run_many(self._put("streamd_identity", _COLUMNS, "doctype, id_key"), values)
        gone = [(doctype, name_digest(_id_text(each))) for doctype, each in forgotten]
        if gone:
            await self._run_many("DELETE FROM streamd_identity WHERE doctype = ? AND id_key = ?", gone)

    async def put_ids_told(self, batch: int, ids: bytes) -> None:
        await self._run("DELETE FROM streamd_told")
        await self._run("INSERT INTO streamd_told (batch, ids) VALUES (?, ?)", (batch, ids.decode()))


def _values(row: Identity) -> tuple[Any, ...]:
    id, name = _id_text(row.id), name_text(row.name)
    return row.doctype, name_digest(id), id.decode(), name_digest(name), name, row.clock, row.gone_at


def _identity(row: Any) -> Identity:
    doctype, id, name, clock, gone_at = row
    return Identity(doctype, _ID.decode(id), name_from_text(name), clock, gone_at)
