"""Which documents the events of a batch mean, and the links in them, at the moment of each. Pure.

Changes are read in the order of their commits, so what has a name at an event's place is known exactly: by what is
remembered, and by what the events before it changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

import msgspec

from streamd.capture.formed import Edit, Formed
from streamd.common.values import decoder, read_json
from streamd.identity import Identities, Ref, natural
from streamd.model import (
    Difference,
    DocumentId,
    DocumentType,
    LinkId,
    LogEntry,
    Operation,
    SaidRows,
    name_from_text,
)
from streamd.rowids import RowIds, note_added, note_removed, said_rows, together
from streamd.rows import links_in

_read_difference = decoder(Difference)
_LINKS = msgspec.json.Decoder(tuple[LinkId, ...])
_ROWS = msgspec.json.Decoder(SaidRows)
_ID = msgspec.json.Decoder(DocumentId)
_encode = msgspec.json.Encoder().encode

Told = list[tuple[int, str | None, str | None, str | None]]
"""The ids that were written into entries: place, id, links, rows."""


def changes_identities(formed: Formed) -> bool:
    """Whether documents were made, deleted or renamed here."""
    return any(
        _changes(entry.operation, entry.renamed_from) for entry in formed.entries if entry.origin is None
    ) or any(_changes(edit.operation, edit.renamed_from) for edit in formed.edits)


def _changes(operation: str, renamed_from: object) -> bool:
    return operation in (Operation.CREATE, Operation.DELETE) or renamed_from is not None


def documents_in(formed: Formed, doctypes: Mapping[str, DocumentType]) -> set[Ref]:
    """Every document, by its names, that the events of a batch are of, or link to."""
    found: set[Ref] = set()
    for entry in _told(formed.entries, doctypes):
        found |= {(entry.doctype, name_from_text(name)) for name in (entry.name, entry.renamed_from) if name}
        found.update(_links(entry, doctypes))
    for edit in formed.edits:
        found |= {(edit.doctype, name) for name in (edit.name, edit.renamed_from) if name is not None}
    return found


class RowBook:
    """The ids of rows of some documents, as capture follows them; `changed` has those that are to be written down."""

    def __init__(self, known: Mapping[tuple[str, DocumentId], RowIds], site: str) -> None:
        self._known = {key: ids.copy() for key, ids in known.items()}
        self._before = known
        self._site = site

    def say(self, entry: LogEntry, doctype: DocumentType) -> None:
        """Write into an entry which rows it means. What came from another site says that itself, as far as it came."""
        id = _id_in(entry)
        ids = self._known.get((entry.doctype, id))
        if not (id.site or ids):
            return
        data = _data(entry.operation, entry.data)
        if entry.origin is None and ids is not None:
            note_added(doctype, data, ids)
        said = said_rows(doctype, data, id, ids, self._site)
        said = together((said, _ROWS.decode(entry.rows or "{}")))
        entry.rows = _encode(said).decode() if said else None
        if entry.origin is None and ids is not None:
            note_removed(doctype, data, ids)

    def follow(self, edit: Edit, id: DocumentId | None, doctype: DocumentType) -> None:
        """The same, where nobody is told."""
        ids = None if id is None else self._known.get((edit.doctype, id))
        if ids is not None:
            data = _data(edit.operation, edit.data)
            note_added(doctype, data, ids)
            note_removed(doctype, data, ids)

    @property
    def changed(self) -> list[tuple[str, DocumentId, RowIds]]:
        return [(*key, ids) for key, ids in self._known.items() if ids != self._before[key]]


def ids_in(formed: Formed, identities: Identities) -> dict[str, set[DocumentId]]:
    """The ids of the documents that have the names of a batch before it, and of those that it says itself."""
    found: dict[str, set[DocumentId]] = {}
    refs = [(each.doctype, name) for each in formed.edits for name in (each.name, each.renamed_from) if name]
    for entry in formed.entries:
        refs += [(entry.doctype, name_from_text(text)) for text in (entry.name, entry.renamed_from) if text]
        if entry.operation != Operation.GAP:
            found.setdefault(entry.doctype, set()).add(_id_in(entry))
    for doctype, name in refs:
        id = identities.of(doctype, name)
        found.setdefault(doctype, set()).update(() if id is None else (id,))
    return found


def _id_in(entry: LogEntry) -> DocumentId:
    return natural(name_from_text(entry.renamed_from or entry.name)) if entry.id is None else _ID.decode(entry.id)


def _data(operation: str, text: str) -> object:
    return _read_difference(text) if operation == Operation.UPDATE else read_json(text)


def identify(formed: Formed, identities: Identities, doctypes: Mapping[str, DocumentType], rows: RowBook) -> Told:
    """Write into the entries which documents and rows they are of, and link to.

    `identities` and `rows` have what changed after that.

    What came from another site says itself which document it is. A link leads to what has its name when the transaction
    ends: a row that the database lets follow a key is told of before that key is. If nothing has, then to what had it.
    """
    logged = {entry.doctype for entry in formed.entries}
    for edit in formed.edits:
        if edit.doctype not in logged:
            rows.follow(edit, identities.of(edit.doctype, edit.renamed_from or edit.name), doctypes[edit.doctype])
            _follow(identities, edit)
    before = [(entry.id, entry.links, entry.rows) for entry in formed.entries]
    for _, transaction in groupby(_told(formed.entries, doctypes), key=lambda entry: entry.tx):
        linking: list[tuple[LogEntry, dict[Ref, DocumentId | None]]] = []
        for entry in transaction:
            if entry.origin is None:
                _say_id(entry, identities)
            rows.say(entry, doctypes[entry.doctype])
            linking.append((entry, {ref: identities.of(*ref) for ref in _links(entry, doctypes)}))
        for entry, ids in linking:
            last = {ref: identities.of(*ref) or id for ref, id in ids.items()}
            links = {ref: LinkId(*ref, id) for ref, id in last.items() if id != natural(ref[1])}
            links |= {(each.doctype, each.name): each for each in _LINKS.decode(entry.links or "[]")}
            entry.links = _encode(list(links.values())).decode() if links else None
    return [
        (place, entry.id, entry.links, entry.rows)
        for place, entry in enumerate(formed.entries)
        if (entry.id, entry.links, entry.rows) != before[place]
    ]


def tell_again(formed: Formed, told: Told) -> None:
    """Write into the entries what `identify` wrote into those of the same batch."""
    for place, id, links, rows in told:
        entry = formed.entries[place]
        entry.id, entry.links, entry.rows = id, links, rows


def _follow(identities: Identities, edit: Edit) -> None:
    if edit.operation == Operation.CREATE:
        identities.made(edit.doctype, edit.name, edit.clock)
    elif edit.operation == Operation.DELETE:
        identities.deleted(edit.doctype, edit.name, edit.clock, edit.at)
    elif edit.renamed_from is not None:
        identities.renamed(edit.doctype, edit.renamed_from, edit.name, edit.clock)


def _say_id(entry: LogEntry, identities: Identities) -> None:
    if entry.id is not None:
        return  # an applied change that comes after it tells
    name = name_from_text(entry.name)
    id = identities.of(entry.doctype, name)
    if entry.renamed_from is not None:
        id = identities.renamed(entry.doctype, name_from_text(entry.renamed_from), name, entry.clock)
    elif entry.operation == Operation.CREATE:
        id = identities.made(entry.doctype, name, entry.clock)
    elif entry.operation == Operation.DELETE:
        id = identities.deleted(entry.doctype, name, entry.clock, entry.at)
    said = name if entry.renamed_from is None else name_from_text(entry.renamed_from)
    entry.id = None if id is None or id == natural(said) else _encode(id).decode()


def _told(entries: Iterable[LogEntry], doctypes: Mapping[str, DocumentType]) -> Iterator[LogEntry]:
    return (each for each in entries if each.operation != Operation.GAP and each.doctype in doctypes)


def _links(entry: LogEntry, doctypes: Mapping[str, DocumentType]) -> Sequence[Ref]:
    doctype = doctypes[entry.doctype]
    if not (doctype.links or any(child.links for child in doctype.children)):
        return ()
    if entry.operation == Operation.UPDATE:
        return list(links_in(doctype, _read_difference(entry.data)))
    return list(links_in(doctype, read_json(entry.data)))
