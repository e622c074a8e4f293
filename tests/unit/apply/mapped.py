"""Types of both sites, and rows of theirs."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from streamd.capture.happening import Happening, event_data
from streamd.model import Difference, DocumentType, Operation, Row


def difference(of: DocumentType, before: Row, after: Row) -> Difference:
    """What capture says of a document that was the one and is the other."""
    happening = Happening(of, (1,), "", Operation.UPDATE, *map(parent, (before, after)), parent_touched=True)
    for child in of.children:
        rows: dict[Any, list[bytes | None]] = {}
        for index, document in enumerate((before, after)):
            for row in document.get(child.field, []):
                rows.setdefault((row[child.key[0]],), [None, None])[index] = json.dumps(row).encode()
        happening.children[child.field] = rows
    data, _ = event_data(happening)
    return Difference() if data is None else msgspec.json.decode(data, type=Difference)


def parent(document: Row) -> bytes:
    return json.dumps({name: value for name, value in document.items() if not isinstance(value, list)}).encode()
