"""Which document here is which one at another site, where the two have different names, on every engine.

Names are of any length, and no engine has an index over such: they are found by digests of their texts, which compare
exactly, whatever the collation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from streamd.db.statements import Fetching, Running, some_of
from streamd.model import Counterpart, Name, name_from_text, name_text

_COLUMNS = 'peer, doctype, remote_key, remote_name, name_key, name, "rows"'
_ROWS = msgspec.json.Decoder(dict[str, dict[str, Name]])


def name_digest(text: str | bytes) -> str:
    """32 characters that stand for a name, given as `name_text` writes it."""
    return hashlib.blake2b(text if isinstance(text, bytes) else text.encode(), digest_size=16).hexdigest()


class CounterpartReader(Fetching):
    """Reads who is who."""

    async def counterparts(self, peer: str, doctype: str, remote_names: Iterable[Name]) -> dict[Name, Counterpart]:
        found = await self._counterparts(peer, doctype, "remote_key", remote_names)
        return {each.remote_name: each for each in found}

    async def counterparts_here(self, peer: str, doctype: str, names: Iterable[Name]) -> dict[Name, Counterpart]:
        found = await self._counterparts(peer, doctype, "name_key", names)
        return {each.name: each for each in found}

    async def _counterparts(self, peer: str, doctype: str, key: str, names: Iterable[Name]) -> list[Counterpart]:
        found = []
        for some in some_of(names):
            rows = await self._fetch(
                f'SELECT peer, doctype, name, remote_name, "rows" FROM streamd_counterpart '
                f"WHERE peer = ? AND doctype = ? AND {key} IN ({', '.join('?' * len(some))})",
                [peer, doctype, *(name_digest(name_text(name)) for name in some)],
            )
            found += [_counterpart(row) for row in rows]
        return found

    async def has_counterparts(self, peer: str) -> bool:
        return bool(await self._fetch("SELECT 1 FROM streamd_counterpart WHERE peer = ? LIMIT 1", (peer,)))


class CounterpartTransaction(CounterpartReader, Running):
    """Remembers who is who."""

    async def put_counterparts(self, counterparts: Sequence[Counterpart]) -> None:
        values = [_values(each) for each in counterparts]
        # The document may have had another name there until now: that one is free for another document.
        await self._run_many(
            "DELETE FROM streamd_counterpart WHERE peer = ? AND doctype = ? AND name_key = ? AND remote_key <> ?",
            [(peer, doctype, name_key, remote_key) for peer, doctype, remote_key, _, name_key, _, _ in values],
        )
        if values:
            await self._run_many(self._put("streamd_counterpart", _COLUMNS, "peer, doctype, remote_key"), values)

    async def rename_counterparts(self, doctype: str, old: Name, new: Name) -> None:
        text = name_text(new)
        # What had the new name before is not here any more.
        await self._forget_counterparts([(doctype, text)])
        await self._run(
            "UPDATE streamd_counterpart SET name = ?, name_key = ? WHERE doctype = ? AND name_key = ?",
            (text, name_digest(text), doctype, name_digest(name_text(old))),
        )

    async def forget_deleted(self, before: int, limit: int) -> int:
        """Forget tombstones older than `before` (ms since 1970), `limit` at most, and what they were called elsewhere.

        Returns how many.
        """
        gone = [
            (doctype, name)
            for doctype, name in await self._fetch(
                f"SELECT doctype, name FROM streamd_document WHERE deleted_at < ? LIMIT {int(limit)}", (before,)
            )
        ]
        await self._run_many("DELETE FROM streamd_document WHERE doctype = ? AND name = ?", gone)
        await self._forget_counterparts(gone)
        ids = await self._fetch(
            f"SELECT doctype, id_key FROM streamd_identity WHERE gone_at < ? LIMIT {int(limit)}", (before,)
        )
        await self._run_many("DELETE FROM streamd_identity WHERE doctype = ? AND id_key = ?", ids)
        return max(len(gone), len(ids))

    async def _forget_counterparts(self, documents: Sequence[tuple[str, str | bytes]]) -> None:
        await self._run_many(
            "DELETE FROM streamd_counterpart WHERE doctype = ? AND name_key = ?",
            [(doctype, name_digest(text)) for doctype, text in documents],
        )


def _values(counterpart: Counterpart) -> tuple[Any, ...]:
    remote, name = name_text(counterpart.remote_name), name_text(counterpart.name)
    rows = msgspec.json.encode(counterpart.rows).decode()
    return counterpart.peer, counterpart.doctype, name_digest(remote), remote, name_digest(name), name, rows


def _counterpart(row: Sequence[Any]) -> Counterpart:
    peer, doctype, name, remote_name, rows = row
    return Counterpart(peer, doctype, name_from_text(name), name_from_text(remote_name), _ROWS.decode(rows))
