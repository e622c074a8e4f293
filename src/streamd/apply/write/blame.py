"""Which other document of this site is in the way of one that the database refused, where that can be told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamd.apply.decide.values import shown
from streamd.apply.event.incoming import Incoming
from streamd.db.base import Reader, SiteDatabase
from streamd.errors import RowRefused, TypeRefused, ValueTaken
from streamd.model import Catalogue, Difference, DocumentType, Name, Operation, name_label


async def name_the_other(database: SiteDatabase, catalogue: Catalogue, incoming: Incoming, error: RowRefused) -> None:
    """Put the other document into the error's message: the one that has the value, or that refers to this one."""
    doctype = catalogue.get(incoming.event.doctype)
    if doctype is None or isinstance(error, TypeRefused):
        return
    found = ""
    async with database.snapshot() as reader:
        if isinstance(error, ValueTaken):
            found = await _taken_by(reader, doctype, incoming, error.columns)
        elif incoming.event.operation == Operation.DELETE:
            found = await _referred_to_by(reader, catalogue, doctype, incoming.event.name)
    if found and found not in error.message:
        error.message += f": {found}"


async def _taken_by(reader: Reader, doctype: DocumentType, incoming: Incoming, columns: tuple[str, ...]) -> str:
    data = incoming.data.changed if isinstance(incoming.data, Difference) else incoming.data
    if not columns or not isinstance(data, Mapping) or any(column not in data for column in columns):
        return ""
    values: dict[str, Any] = {column: data[column] for column in columns}
    others = [name for name in await reader.find_documents(doctype, values, 2) if name != incoming.event.name]
    what = ", ".join(f"{column} {shown(value)}" for column, value in values.items())
    return f"{doctype.name} {name_label(others[0])} has {what} here" if others else ""


async def _referred_to_by(reader: Reader, catalogue: Catalogue, doctype: DocumentType, name: Name) -> str:
    for other in catalogue.doctypes.values():
        for link in other.links:
            if link.doctype == doctype.name and len(link.columns) == len(name):
                found = await reader.find_documents(other, dict(zip(link.columns, name, strict=True)), 1)
                if found:
                    return f"{other.name} {name_label(found[0])} refers to it here, by {', '.join(link.columns)}"
    return ""
