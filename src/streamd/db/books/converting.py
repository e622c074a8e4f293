"""Brings what earlier releases remembered of names to ids.

The first ones knew *lives*: which of the documents that had a name one after the other, told by the clock with which it
got the name. The last life of a name becomes the id of the document that has it, at every site alike.

The next ones knew *counterparts* where documents have names of a site's own: what a document is called at another site,
and its rows. What came from there has the name of its birth, and that site, as its id from here on. Rows that were
added at the other site have the keys that they have there; all others have their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from streamd.common import clock as hlc
from streamd.db.books.bookkeeping import BookTransaction
from streamd.identity import Identity
from streamd.model import DocumentId, LinkId, Name, Record, RowId, name_from_text, name_text
from streamd.rowids import RowIds

_LIVES = msgspec.json.Decoder(list[list[Any]])
_ROWS = msgspec.json.Decoder(dict[str, dict[str, Name]])
_OWN = msgspec.json.Decoder(list[dict[str, Any]])
_LINKS = msgspec.json.Decoder(list[LinkId])
_EVENT = msgspec.json.Decoder(dict[str, msgspec.Raw])


class ConvertingTransaction(BookTransaction):
    """Converts the tables of earlier releases, once."""

    async def convert(self, site: str) -> None:
        """Bring what earlier releases remembered of names to ids: lives (schema 5 and older) and counterparts (6)."""
        await self._convert_lives()
        await self._convert_counterparts(site)
        events = await self._fetch("SELECT id, event FROM streamd_parked")
        changed = [(_in_ids(event, site), number) for number, event in events]
        await self._run_many("UPDATE streamd_parked SET event = ? WHERE id = ?", changed)

    async def _convert_lives(self) -> None:
        found = {
            (doctype, _text(name)): _LIVES.decode(lives)[-1]
            for doctype, name, lives in await self._fetch("SELECT doctype, name, lives FROM streamd_life")
        }
        rows = []
        for doctype, name, clock, deleted_at, renamed_to in await self._fetch(
            "SELECT doctype, name, clock, deleted_at, renamed_to FROM streamd_document"
        ):
            since, life, *_ = found.get((doctype, _text(name)), ("", ""))
            id = DocumentId(name_from_text(name), life)
            if renamed_to is None and (life or deleted_at is not None):
                at = clock if deleted_at is not None else since
                rows.append(Identity(doctype, id, name_from_text(name), at, deleted_at))
        await self.put_identities(rows)
        await self._run("DELETE FROM streamd_document WHERE renamed_to IS NOT NULL")
        await self._run("DELETE FROM streamd_life")

    async def _convert_counterparts(self, site: str) -> None:
        rows = await self._fetch('SELECT peer, doctype, name, remote_name, "rows" FROM streamd_counterpart')
        ids: list[Identity] = []
        keys: list[tuple[str, DocumentId, RowIds]] = []
        for peer, doctype, text, remote, pairs in rows:
            name = name_from_text(text)
            record = (await self.records(doctype, [name])).get(name)
            if record is None or record.source not in (site, peer):
                continue  # what came by a third site is known from there
            id = record.id or DocumentId(name)
            if record.source == peer:
                born = record.remote_name if record.id is None else record.id.name
                id = DocumentId(born, "" if record.id is None else record.id.clock, peer)
                ids.append(Identity(doctype, id, name, record.clock, record.deleted_at))
                # The counterpart knew what the document is called there by now.
                await self.put_records([replace(record, remote_name=name_from_text(remote))])
            keys.append((doctype, id, _row_ids(_ROWS.decode(pairs), record, site, peer)))
        await self.put_identities(ids)
        await self.put_row_ids(keys)
        await self._run("DELETE FROM streamd_counterpart")


def _row_ids(pairs: Mapping[str, Mapping[str, Name]], record: Record, site: str, peer: str) -> RowIds:
    """The ids of rows, of which `pairs` has the keys at `peer` (as text) and here."""
    found = RowIds()
    for field, keys in pairs.items():
        for there, here in keys.items():
            at = record.field_clocks.get(f"{field}/{name_text(here)}", "") if here else ""
            is_theirs = hlc.made_at(at, peer)
            if here and record.source == peer and not hlc.made_at(at, site):
                found.put(field, here, RowId(name_from_text(there)[0]))
            elif here and record.source == site and is_theirs:
                found.put(field, here, RowId(name_from_text(there)[0], peer))
    return found


def _text(name: str | bytes) -> str:
    return name if isinstance(name, str) else name.decode()


def _in_ids(text: str | bytes, site: str) -> str:
    """A parked event with the id of its document, and those of what it links to."""
    event = _EVENT.decode(text)
    event.pop("old_life", None)
    life = msgspec.json.decode(event.pop("life", msgspec.Raw(b"null")))
    if life:
        event["id"] = msgspec.Raw(msgspec.json.encode(DocumentId(msgspec.json.decode(event["name"], type=tuple), life)))
    links = _LINKS.decode(event.pop("links", msgspec.Raw(b"[]")))
    for said in _OWN.decode(event.pop("own", msgspec.Raw(b"[]"))):
        id = DocumentId(tuple(said["own"]), site=site)
        if said["doctype"] == msgspec.json.decode(event["doctype"]) and _is_of(event, said["name"]):
            event["id"] = msgspec.Raw(msgspec.json.encode(id))
            rows = {
                field: [(key[0], RowId(own[0])) for key, own in pairs] for field, pairs in said.get("rows", {}).items()
            }
            event["rows"] = msgspec.Raw(msgspec.json.encode(rows))
        else:
            links.append(LinkId(said["doctype"], tuple(said["name"]), id))
    if links:
        event["links"] = msgspec.Raw(msgspec.json.encode(links))
    return msgspec.json.encode(event).decode()


def _is_of(event: dict[str, msgspec.Raw], name: list[Any]) -> bool:
    """Whether an event is of the document that has, or had, this name."""
    names = (event["name"], event.get("renamed_from", msgspec.Raw(b"null")))
    return any(msgspec.json.decode(each) == name for each in names)
