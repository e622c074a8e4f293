"""What a document that was read says of columns that are new at one of the sites. Pure.

A column may come to two sites at different moments, and the one that has it later gives a default to every row. That is
nobody's edit. In a new column a value of which no edit is known counts where the document was made, and from there on;
at any other site it counts for nothing until the column was read from where its documents come from.
"""

from __future__ import annotations

from collections.abc import Mapping

from streamd.apply.decide.conflict import child_field
from streamd.apply.event.incoming import Incoming, Reading
from streamd.common import clock as hlc
from streamd.model import ChildTable, DocumentType, Row, name_text


def said(incoming: Incoming, doctype: DocumentType, *, known_as: bool) -> Row:
    """The document that was read, as far as it is the producer's word.

    `known_as` says that it is known to be the one that is here. Of one that was made here, what is new here is not the
    producer's word either. Where nobody knows who made it, and a column is new at both sites, it is the word of both.
    """
    reading = incoming.reading or Reading()
    new = reading.new_there
    if reading.is_same:
        new |= reading.new_here
    elif not known_as:
        new -= reading.new_here
    return _without_defaults(incoming, doctype, new)


def but_for_new(incoming: Incoming, doctype: DocumentType) -> Row:
    """The document without what may differ since the column is new here, and not there."""
    reading = incoming.reading or Reading()
    return _without_defaults(incoming, doctype, reading.new_here - reading.new_there)


def _without_defaults(incoming: Incoming, doctype: DocumentType, new: frozenset[str]) -> Row:
    """The document without the values in these columns of which the producer knows no edit."""
    data: Row = incoming.data
    if not new or incoming.reading is None:
        return data
    clocks, site = incoming.reading.known.clocks, incoming.producer_site
    found = _row(data, new, clocks, "")
    for child in doctype.children:
        prefix = f"{child.field}/"
        columns = frozenset(field.removeprefix(prefix) for field in new if field.startswith(prefix))
        if columns and found.get(child.field):
            found[child.field] = [_child_row(child, row, columns, clocks, site) for row in found[child.field]]
    return found


def _child_row(child: ChildTable, row: Row, new: frozenset[str], clocks: Mapping[str, str], site: str) -> Row:
    place = child_field(child.field, name_text(tuple(row.get(column, "") for column in child.key)))
    if hlc.made_at(clocks.get(place, ""), site):
        return row  # it was added there, as it is
    return _row(row, new, clocks, place + "/")


def _row(row: Row, new: frozenset[str], clocks: Mapping[str, str], prefix: str) -> Row:
    return {column: value for column, value in row.items() if column not in new or prefix + column in clocks}
