"""What an event needs before it can be applied: the documents that it links to. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from streamd.apply.event.incoming import Incoming
from streamd.apply.source import Ref
from streamd.model import Catalogue, ChildTable, Difference, Document, DocumentType, Link, Operation, Row
from streamd.rows import document_links, linked, split


def needed(incoming: Incoming, catalogue: Catalogue, here: Document | None) -> list[Ref]:
    """The documents that the event's links name, each once, in order; only types that are declared here.

    A link of several columns may change in part: then the rest is taken from the document that is `here`.
    """
    doctype = catalogue.get(incoming.event.doctype)
    if doctype is None or incoming.fault:
        return []
    found: Iterable[Ref] = ()
    if incoming.event.operation == Operation.CREATE and isinstance(incoming.data, dict):
        found = document_links(doctype, *split(doctype, incoming.data))
    elif isinstance(incoming.data, Difference):
        found = _changed_links(doctype, incoming.data, here)
    itself = (incoming.event.doctype, incoming.event.name)
    return [ref for ref in dict.fromkeys(found) if ref[0] in catalogue and ref != itself]


def replaced(incoming: Incoming, catalogue: Catalogue, here: Document | None) -> list[Ref]:
    """The documents that dynamic links led to before the event, which may not say itself of which type they are."""
    doctype = catalogue.get(incoming.event.doctype)
    if doctype is None or here is None or incoming.fault or not isinstance(incoming.data, Difference):
        return []
    before = incoming.data.old
    found = list(_of_row(_dynamic(doctype.links), before.changed, here.fields))
    for child in doctype.children:
        changed = before.row_changed.get(child.field, []) if _dynamic(child.links) else []
        rows = _rows(child, here) if changed else {}
        for row in changed:
            found += _of_row(_dynamic(child.links), row, rows.get(_key(child, row), {}))
    return [ref for ref in dict.fromkeys(found) if ref[0] in catalogue]


def afterwards(incoming: Incoming, doctype: DocumentType, here: Document | None) -> Document | None:
    """The document after the event, as far as links are read from it; None where nothing is known of it.

    Rows that are removed stay in it: no later event speaks of them. Rows whose links change as a whole, if at all, are
    not read, and stay as they were: a document may have a great many.
    """
    name, data = incoming.event.name, incoming.data
    if incoming.event.operation == Operation.CREATE and isinstance(data, dict):
        return Document(doctype.name, name, *split(doctype, data))
    if incoming.event.operation != Operation.UPDATE or here is None:
        return None
    if not isinstance(data, Difference):
        return here
    children = dict(here.children)
    for child in doctype.children:
        if not any(map(_may_change_in_part, child.links)):
            continue
        rows = _rows(child, here)
        for row in (*data.added.get(child.field, ()), *data.row_changed.get(child.field, ())):
            key = _key(child, row)
            rows[key] = rows.get(key, {}) | row
        children[child.field] = list(rows.values())
    return Document(doctype.name, name, here.fields | data.changed, children)


def _changed_links(doctype: DocumentType, difference: Difference, here: Document | None) -> Iterator[Ref]:
    yield from _of_row(doctype.links, difference.changed, here.fields if here else {})
    for child in doctype.children:
        for row in difference.added.get(child.field, []):
            yield from _of_row(child.links, row, {})
        in_part = any(map(_may_change_in_part, child.links))
        rows = _rows(child, here) if here is not None and in_part else {}
        for row in difference.row_changed.get(child.field, []):
            yield from _of_row(child.links, row, rows.get(_key(child, row), {}))


def _rows(child: ChildTable, here: Document) -> dict[tuple[object, ...], Row]:
    return {_key(child, row): row for row in here.children.get(child.field, [])}


def _key(child: ChildTable, row: Row) -> tuple[object, ...]:
    return tuple(row.get(column) for column in child.key)


def _dynamic(links: Iterable[Link]) -> list[Link]:
    return [link for link in links if link.type_column is not None]


def _may_change_in_part(link: Link) -> bool:
    return link.type_column is not None or len(link.columns) > 1


def _of_row(links: Iterable[Link], changed: Row, here: Mapping[str, object]) -> Iterator[Ref]:
    for link in links:
        columns = (*link.columns, *((link.type_column,) if link.type_column else ()))
        if any(column in changed for column in columns):
            for target, name, _ in linked((link,), {**here, **changed}):
                yield target, name


def in_order(wanted: Iterable[Ref], links: Mapping[Ref, list[Ref]]) -> list[Ref]:
    """The wanted documents and all that they need in turn, each after what it needs; cycles are cut anywhere.

    `links` has an entry for each document that can be put here.
    """
    order: dict[Ref, None] = {}
    entered: set[Ref] = set()
    stack: list[tuple[Ref, bool]] = [(ref, False) for ref in reversed(list(wanted))]
    while stack:
        ref, done = stack.pop()
        if done:
            order[ref] = None
        elif ref in links and ref not in entered:
            entered.add(ref)
            stack.append((ref, True))
            stack += [(target, False) for target in reversed(links[ref])]
    return list(order)
