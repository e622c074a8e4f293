"""Whose the documents of a producer are here: the Event Subscriber's, where one is set. Pure.

Of a row that is new here, `owner` and `modified_by` become the subscriber. Of a row that is here, `owner` stays, and
`modified_by` becomes the subscriber where it would change. `creation` and `modified` stay the producer's, so that
sites can be compared. A DocType that has a field of its own called `owner` (a ToDo's is whom it is allocated to) keeps
the producer's value there: it is no bookkeeping.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from streamd.model import ChildTable, Difference, Document, DocumentType, Link, Row

OWNER, MODIFIED_BY = "owner", "modified_by"


def as_subscriber(data: Any, doctype: DocumentType, here: Document | None, subscriber: str) -> Any:
    """The data of an event as the subscriber would have made it: a whole document, a difference, or anything else.

    `here` is the document as it stands here. The data itself is not changed.
    """
    if isinstance(data, Difference):
        return _difference(data, doctype, here, subscriber)
    if not isinstance(data, dict) or data.keys() == {"old"}:
        return data
    whole = _row(data, here.fields if here else None, doctype.links, subscriber)
    for child in doctype.children:
        if isinstance(whole.get(child.field), list):
            whole[child.field] = _rows(whole[child.field], doctype, child, here, subscriber)
    return whole


def _difference(data: Difference, doctype: DocumentType, here: Document | None, subscriber: str) -> Difference:
    added, changed = dict(data.added), dict(data.row_changed)
    for child in doctype.children:
        for rows in (added, changed):
            if child.field in rows:
                rows[child.field] = _rows(rows[child.field], doctype, child, here, subscriber)
    columns = _row(data.changed, here.fields if here else None, doctype.links, subscriber)
    return msgspec.structs.replace(data, changed=columns, added=added, row_changed=changed)


def _rows(
    rows: Iterable[Row], doctype: DocumentType, child: ChildTable, here: Document | None, subscriber: str
) -> list[Row]:
    stand = {_key(row, child): row for row in (here.children.get(child.field, []) if here else [])}
    if doctype.single and "field" in child.key:
        return [_single_value(row, stand.get(_key(row, child)), subscriber) for row in rows]
    return [_row(row, stand.get(_key(row, child)), child.links, subscriber) for row in rows]


def _row(row: Row, here: Mapping[str, Any] | None, links: Iterable[Link], subscriber: str) -> Row:
    found = dict(row)
    if OWNER in found and not any(OWNER in link.columns for link in links):
        found[OWNER] = subscriber if here is None else here.get(OWNER)
    if MODIFIED_BY in found and (here is None or here.get(MODIFIED_BY) != found[MODIFIED_BY]):
        found[MODIFIED_BY] = subscriber
    return found


def _single_value(row: Row, here: Mapping[str, Any] | None, subscriber: str) -> Row:
    """The same for a single, each of whose fields is a row: `field` says which."""
    field = row.get("field")
    if field not in (OWNER, MODIFIED_BY) or "value" not in row:
        return dict(row)
    stood = None if here is None else {field: here.get("value")}
    return row | {"value": _row({field: row["value"]}, stood, (), subscriber)[field]}


def _key(row: Mapping[str, Any], child: ChildTable) -> tuple[Any, ...]:
    return tuple(row.get(column) for column in child.key)
