"""Which keys the child rows of a producer's documents have here: as the ids of the rows tell (`rowids`).

A row that was added here, or in a document that has no site of its birth, has the key that its id says. Databases, and
users, give numbers again: when a row was added last is remembered (`Record.field_clocks`), and what comes from before
that is of another row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from streamd.apply.decide.conflict import child_field
from streamd.apply.decide.plan import contained
from streamd.apply.event.incoming import Incoming
from streamd.apply.localnames.names import Names
from streamd.common import clock as hlc
from streamd.db.base import Reader
from streamd.identity import natural
from streamd.model import Catalogue, ChildTable, DocumentId, DocumentType, Name, Operation, Record, RowId, name_text
from streamd.rowids import RowIds, note_removed, said_rows

Owner = tuple[str, DocumentId]
RowKey = tuple[Owner, str, RowId]
"""A child row: its document, the field, and the row's id."""


@dataclass(slots=True)
class _Rows:
    """The rows of a document as they are known here. New ones keep their keys there, but where `names` is True."""

    id: DocumentId
    names: bool
    record: Record | None = None
    ids: RowIds = field(default_factory=RowIds)
    changed: bool = False


class RowKeys:
    """Knows the keys of rows of the documents of one batch that it was shown (`look_up`). `site` is who we are."""

    def __init__(self, names: Names, catalogue: Catalogue, site: str) -> None:
        self._names = names
        self._catalogue = catalogue
        self._site = site
        self._rows: dict[Owner, _Rows] = {}
        self._past: set[int] = set()
        self._read: dict[tuple[Owner, str], int] = {}

    def owner(self, incoming: Incoming) -> Owner | None:
        """The event's document, where its rows may have other ids than their keys there say."""
        event = incoming.event
        if event.operation == Operation.GAP or incoming.fault or event.doctype not in self._catalogue:
            return None
        known = self._names.of(incoming)
        if known is None:
            return (event.doctype, incoming.id) if event.rows else None
        return event.doctype, known.id

    async def look_up(self, reader: Reader, run: Sequence[Incoming]) -> None:
        """Read what is remembered of the rows of these events' documents."""
        new: dict[str, dict[DocumentId, Name | None]] = {}
        for incoming in run:
            owner = self.owner(incoming)
            if owner is not None and owner not in self._rows and self._catalogue[owner[0]].children:
                ref = (owner[0], incoming.event.name)
                self._rows[owner] = _Rows(owner[1], self._names.renames(ref))
                new.setdefault(owner[0], {})[owner[1]] = self._names.local(ref)
        for doctype, places in new.items():
            ids = await reader.row_ids(doctype, places)
            records = await reader.records(doctype, [name for name in places.values() if name is not None])
            for id, name in places.items():
                rows = self._rows[doctype, id]
                rows.ids = ids.get(id, rows.ids)
                record = None if name is None else records.get(name)
                if record is not None and (record.id or natural(record.name)) == id:
                    rows.record = record
        for incoming in run:
            owner = self.owner(incoming)
            if owner is not None:
                self._see(owner, incoming)

    def _see(self, owner: Owner, incoming: Incoming) -> None:
        """What was read whole in this batch contains what comes after it, up to where the log was read."""
        rows, read = self._rows.get(owner), self._read.get((owner, incoming.log), 0)
        if incoming.reading is not None:
            self._read[owner, incoming.log] = max(read, incoming.event.sequence)
        elif contained(incoming, None if rows is None else rows.record) or read >= incoming.event.sequence:
            self._past.add(id(incoming))

    @staticmethod
    def id_of(incoming: Incoming, fieldname: str, key: Name) -> RowId:
        """The id of a row that an event speaks of by its key there."""
        said = dict(incoming.event.rows.get(fieldname, ()))
        return said.get(key[0]) or RowId(key[0])

    def key(self, incoming: Incoming, child: ChildTable, key: Name) -> Name | None:
        """The key here of a row that the producer calls so; None for one that is not here."""
        rows = self._of(incoming)
        if rows is None:
            return key
        row = self.id_of(incoming, child.field, key)
        found = rows.ids.key_of(child.field, row)
        if found is not None:
            return found
        if not rows.names and row.site != self._site:
            return key
        if not self._is_own(rows, row):
            is_past = incoming.reading is not None or id(incoming) in self._past
            return rows.ids.last_key_of(child.field, row) if is_past else None
        own = (row.key,)
        return None if self._is_anothers(incoming, rows, child.field, own, row) else own

    def _is_own(self, rows: _Rows, row: RowId) -> bool:
        return row.site == self._site or not (row.site or rows.id.site)

    def _is_anothers(self, incoming: Incoming, rows: _Rows, fieldname: str, key: Name, row: RowId) -> bool:
        """Whether the key is that of another row by now: of one that came from elsewhere, or was added here later."""
        given = rows.ids.id_of(fieldname, key)
        if given is not None and given != row:
            return True
        at = self._clock(rows, fieldname, key)
        return incoming.reading is None and hlc.made_at(at, self._site) and at >= incoming.event.clock

    def is_new(self, incoming: Incoming, fieldname: str, key: Name) -> bool:
        """Whether a row that an event brings is none that was here. One that was replaced there comes as if it were."""
        rows = self._of(incoming)
        if rows is None or not rows.names or id(incoming) in self._past:
            return False
        row = self.id_of(incoming, fieldname, key)
        if self._is_own(rows, row) or rows.ids.key_of(fieldname, row) is not None:
            return False
        last = rows.ids.last_key_of(fieldname, row)
        if last is None:
            return True
        at = self._clock(rows, fieldname, last)
        # What our users removed stays removed where the producer does not know of it yet.
        return not hlc.made_at(at, self._site) if incoming.reading is not None else at < incoming.event.clock

    def was_used(self, owner: Owner, fieldname: str, key: Name) -> bool:
        """Whether a row of this document has had this key: what is said of it may be of that one."""
        rows = self._rows[owner]
        is_known = rows.ids.id_of(fieldname, key) is not None
        return is_known or bool(self._clock(rows, fieldname, key))

    def give(self, row: RowKey, key: Name) -> None:
        """The row gets this key."""
        owner, fieldname, id = row
        self._rows[owner].ids.put(fieldname, key, id)
        self._rows[owner].changed = True

    def follow(self, incoming: Incoming, local: Incoming, doctype: DocumentType) -> Incoming:
        """The event under the names of this site with the ids of the rows that it speaks of; notes what it removes."""
        rows = self._of(incoming)
        if rows is None:
            return local
        if not rows.names:
            for fieldname, pairs in incoming.event.rows.items():
                for key, row in pairs:
                    if row.site != self._site and rows.ids.key_of(fieldname, row) is None:
                        rows.ids.put(fieldname, (key,), row)
                        rows.changed = True
        local.event.rows = said_rows(doctype, local.data, rows.id, rows.ids, self._site)
        if incoming.reading is None and id(incoming) not in self._past:
            before = rows.ids.copy()
            note_removed(doctype, local.data, rows.ids)
            rows.changed = rows.changed or rows.ids != before
        return local

    def changed(self, incoming: Incoming) -> tuple[str, DocumentId, RowIds] | None:
        """What is to be remembered of the rows of the event's document after it."""
        owner, rows = self.owner(incoming), self._of(incoming)
        if owner is None or rows is None or not rows.changed:
            return None
        rows.changed = False
        return owner[0], rows.id, rows.ids.copy()

    def _of(self, incoming: Incoming) -> _Rows | None:
        owner = self.owner(incoming)
        return None if owner is None else self._rows.get(owner)

    @staticmethod
    def _clock(rows: _Rows, fieldname: str, key: Name) -> str:
        """When a row was added, or removed, last that has this key here."""
        return "" if rows.record is None else rows.record.field_clocks.get(child_field(fieldname, name_text(key)), "")
