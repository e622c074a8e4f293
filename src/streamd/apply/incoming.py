"""Decodes events as they arrive. What a peer sends is not trusted to have the right shape."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from streamd.apply.plan import Incoming
from streamd.model import Catalogue, Difference, DocumentType, Event, Operation
from streamd.wire import read_json

_DIFFERENCE = msgspec.json.Decoder(Difference, float_hook=Decimal)


def decode(event: Event, producer_site: str, log: str, catalogue: Catalogue) -> Incoming:
    """An event with its data as values; data that cannot be read is None, and the event will be parked for it."""
    data: Any
    try:
        data = (_DIFFERENCE.decode if event.operation == Operation.UPDATE else read_json)(bytes(event.data))
    except msgspec.DecodeError:
        data = None
    doctype = catalogue.get(event.doctype)
    if event.operation == Operation.CREATE and doctype is not None and not is_document(doctype, data):
        data = None
    fault = "" if doctype is None or event.operation == Operation.GAP else _fault(doctype, event)
    return Incoming(event, None if fault else data, producer_site, log, fault=fault)


def _fault(doctype: DocumentType, event: Event) -> str:
    """What makes an event unusable here, whatever the database holds; or nothing."""
    for name in (event.name, event.renamed_from):
        if name is not None and len(name) != len(doctype.key):
            return (
                f"{doctype.name} is named by {', '.join(doctype.key)} here, and by {len(name)} values at the producer: "
                "declare the same key at both sites"
            )
    if doctype.single and (event.name != doctype.only_name or event.renamed_from is not None):
        return f"{doctype.name} is a single: its one document is named as the type is, always"
    if doctype.single and event.operation == Operation.DELETE:
        return f"{doctype.name} is a single, which cannot be deleted"
    return ""


def is_document(doctype: DocumentType, data: Any) -> bool:
    """Whether data has the shape of a document of this type: columns, and lists of rows under its child fields."""
    if not isinstance(data, dict):
        return False
    for child in doctype.children:
        rows = data.get(child.field)
        if rows is not None and not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
            return False
    return True
