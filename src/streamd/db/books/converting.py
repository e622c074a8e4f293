"""Brings what the release before remembered of names to ids.

That release knew *lives*: which of the documents that had a name one after the other, told by the clock with which it
got the name. The last life of a name becomes the id of the document that has it, at every site alike.
"""

from __future__ import annotations

from typing import Any

import msgspec

from streamd.db.books.identities import IdentityBookTransaction
from streamd.identity import Identity
from streamd.model import DocumentId, name_from_text

_LIVES = msgspec.json.Decoder(list[list[Any]])
_EVENT = msgspec.json.Decoder(dict[str, msgspec.Raw])


class ConvertingTransaction(IdentityBookTransaction):
    """Converts the tables of the release before, once."""

    async def convert_lives(self) -> None:
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
        events = await self._fetch("SELECT id, event FROM streamd_parked")
        await self._run_many(
            "UPDATE streamd_parked SET event = ? WHERE id = ?",
            [(_with_id(event), number) for number, event in events],
        )


def _text(name: str | bytes) -> str:
    return name if isinstance(name, str) else name.decode()


def _with_id(text: str | bytes) -> str:
    """A parked event with the id of its document."""
    event = _EVENT.decode(text)
    event.pop("old_life", None)
    life = msgspec.json.decode(event.pop("life", msgspec.Raw(b"null")))
    if life:
        event["id"] = msgspec.Raw(msgspec.json.encode(DocumentId(msgspec.json.decode(event["name"], type=tuple), life)))
    return msgspec.json.encode(event).decode()
