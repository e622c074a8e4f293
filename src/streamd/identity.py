"""Which documents have had which names: what a site knows of it, and what follows from its documents' events. Pure.

A document is known by its id, which it keeps for life (`DocumentId`). Most ids are natural: they are the document's
name, and nobody has to remember anything. A row is kept only of a document that has another name than its id says, and
of one that is gone, until its tombstone is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from streamd.common.values import DocumentId, Name
from streamd.model import Event

Ref = tuple[str, Name]


def natural(name: Name) -> DocumentId:
    """The id of a document that is called what it was made as, if no document before it was."""
    return DocumentId(name)


@dataclass(frozen=True, slots=True)
class Identity:
    """What is remembered of one document: its name here, since which `clock`; or when it was deleted (`gone_at`, ms).

    Of a document that is gone, `name` is the last one, and `clock` that of the deletion.
    """

    doctype: str
    id: DocumentId
    name: Name
    clock: str = ""
    gone_at: int | None = None


def id_of(event: Event) -> DocumentId:
    """The document that an event is of. One that is renamed was called by the name of its id before."""
    return natural(event.renamed_from or event.name) if event.id is None else event.id


class Identities:
    """The ids of some documents at one moment, and, as they change, what has to be written down (`changes`).

    Of each name that is asked for, the rows with its natural id, and with the name, have to be among those given.
    """

    def __init__(self, rows: Iterable[Identity] = ()) -> None:
        self._rows: dict[tuple[str, DocumentId], Identity] = {}
        self._here: dict[Ref, DocumentId] = {}
        self._changed: set[tuple[str, DocumentId]] = set()
        for row in rows:
            self._rows[(row.doctype, row.id)] = row
            if row.gone_at is None:
                self._here[(row.doctype, row.name)] = row.id

    def copy(self) -> Identities:
        """The same, to be changed."""
        return Identities(self._rows.values())

    def of(self, doctype: str, name: Name) -> DocumentId | None:
        """The id of the document that has the name; None where it is known that none has it any more."""
        known = self._here.get((doctype, name))
        if known is not None or (doctype, natural(name)) in self._rows:
            return known
        return natural(name)

    def gone(self, doctype: str, name: Name) -> DocumentId | None:
        """The id of the last document that was deleted when it had the name."""
        gone = (row for row in self._rows.values() if row.gone_at is not None and row.doctype == doctype)
        last = max((row for row in gone if row.name == name), key=lambda row: row.clock, default=None)
        return None if last is None else last.id

    def row(self, doctype: str, id: DocumentId) -> Identity | None:
        """What is remembered of a document; None where it is called as its id says, or never was here."""
        return self._rows.get((doctype, id))

    def name_of(self, doctype: str, id: DocumentId) -> Name | None:
        """What the document is called here, if it is here; None where it is gone, or surely never was here."""
        row = self._rows.get((doctype, id))
        if row is not None:
            return row.name if row.gone_at is None else None
        return id.name if self.of(doctype, id.name) == id else None

    def is_gone(self, doctype: str, id: DocumentId) -> bool:
        """Whether the document was deleted."""
        row = self._rows.get((doctype, id))
        return row is not None and row.gone_at is not None

    def made(self, doctype: str, name: Name, clock: str) -> DocumentId:
        """A document is made here under the name, at this clock. Returns its id."""
        known = self.of(doctype, name)
        if known is None:
            known = DocumentId(name, clock)
            self.put(Identity(doctype, known, name, clock))
        return known

    def renamed(self, doctype: str, old: Name, new: Name, clock: str) -> DocumentId:
        """The document that has the name `old` gets the name `new`. Returns its id."""
        known = self.of(doctype, old) or natural(old)
        self.put(Identity(doctype, known, new, clock))
        return known

    def deleted(self, doctype: str, name: Name, clock: str, at: int) -> DocumentId:
        """The document that has the name is deleted. Returns its id."""
        known = self.of(doctype, name) or natural(name)
        self.put(Identity(doctype, known, name, clock, at))
        return known

    def put(self, row: Identity) -> None:
        """The document is called so, or gone, from here on."""
        key = (row.doctype, row.id)
        before = self._rows.pop(key, None)
        if before is not None:
            self._changed.add(key)
            if self._here.get((row.doctype, before.name)) == row.id:
                del self._here[(row.doctype, before.name)]
        if row.gone_at is None and row.id == natural(row.name):
            return
        self._changed.add(key)
        self._rows[key] = row
        if row.gone_at is None:
            self._here[(row.doctype, row.name)] = row.id

    def forget(self, doctype: str, id: DocumentId) -> None:
        """The document is not here any more, and not deleted either."""
        row = self._rows.pop((doctype, id), None)
        if row is not None:
            self._changed.add((doctype, id))
            self._here.pop((doctype, row.name), None)

    def changes(self) -> tuple[list[Identity], list[tuple[str, DocumentId]]]:
        """What is to be written down, and of which documents nothing is to be remembered."""
        rows = [self._rows[key] for key in self._changed if key in self._rows]
        return rows, [key for key in self._changed if key not in self._rows]
