"""Which document at the producer a field of mapping type Document leads to: what is asked for, and when. Pure.

The ancestor calls it a mapped dependency: an opportunity there holds a person's name, phone and country as plain data,
and here it links to the lead that has these values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

from streamd.errors import ExpressionError, RowRefused
from streamd.expressions import Expression, compile_expression
from streamd.model import Difference, Row, Scalar
from streamd.settings import FieldMapping, MappingSettings
from streamd.wire import HEX

EVAL = "eval:"
"""What an expression begins with among `remote_value_filters`."""


@dataclass(frozen=True)
class Filter:
    """What a field of the document that is looked for has to hold.

    It is the value of an expression, else of the field `fieldname` of the document that needs it, else `constant`.
    `fault` says why the filter can be used in no case.
    """

    constant: Scalar | None = None
    fieldname: str | None = None
    expression: Expression | None = None
    fault: str = ""

    @property
    def reads(self) -> frozenset[str]:
        """The fields of the document that needs it, of which the value is made."""
        if self.expression is not None:
            return frozenset(self.expression.fields) | frozenset(self.expression.hops)
        return frozenset() if self.fieldname is None else frozenset((self.fieldname,))

    def value(self, document: Row) -> Any:
        """The value for this document (linked documents stand in it in the place of their names).

        Raises `ExpressionError`.
        """
        if self.fault:
            raise RowRefused(self.fault)
        if self.expression is not None:
            return self.expression.evaluate(document)
        return self.constant if self.fieldname is None else document.get(self.fieldname)


def read_filter(text: Scalar, remote_fields: Iterable[str]) -> Filter:
    """One value of `remote_value_filters`.

    A text that begins with `eval:` is an expression; one that is the name of a field there (`remote_fields`) stands
    for its value; everything else is a constant.
    """
    if not isinstance(text, str):
        return Filter(constant=text)
    if not text.startswith(EVAL):
        return Filter(fieldname=text) if text in remote_fields else Filter(constant=text)
    try:
        return Filter(expression=compile_expression(text.removeprefix(EVAL).strip()))
    except ExpressionError as error:
        return Filter(fault=str(error))


@dataclass(frozen=True)
class Lookup:
    """A field here that links to a document which is looked for at the producer by its values.

    `fieldname` is the field here; `remote_fieldname` the one there whose place it takes, if there is one: where that
    is empty, nothing is looked for. `doctype` is the type here of what is found, `remote_doctype` its type there.
    """

    fieldname: str
    doctype: str
    remote_doctype: str
    filters: Mapping[str, Filter]
    remote_fieldname: str | None = None

    @cached_property
    def reads(self) -> frozenset[str]:
        """The fields there on which it depends what is found."""
        own = () if self.remote_fieldname is None else (self.remote_fieldname,)
        return frozenset(own).union(*(each.reads for each in self.filters.values()))

    def touched_by(self, data: Row | Difference) -> bool:
        """Whether an event's data can change what is found: a whole document always, an update by what it changes.

        `data` is in the producer's words. A child row that was changed is judged by `reads` and its columns.
        """
        return not isinstance(data, Difference) or not self.reads.isdisjoint(data.changed)

    def needs(self) -> tuple[frozenset[str], Mapping[str, frozenset[str]]]:
        """The fields there that are read; and those of documents that it links to, by the link's field."""
        hops: dict[str, frozenset[str]] = {}
        for each in self.filters.values():
            for link, fields in each.expression.hops.items() if each.expression is not None else ():
                hops[link] = hops.get(link, frozenset()) | fields
        return self.reads, hops

    def values(self, remote_document: Row, hops: Mapping[str, Row | None]) -> dict[str, Scalar] | None:
        """What the fields of the document that is looked for have to hold.

        `hops` holds the linked documents that `needs` names, by the link's field; None for one that is not there.
        None where a value is missing: then no document is meant, and nothing is looked for. Raises `RowRefused`,
        and `ExpressionError`.
        """
        if self.remote_fieldname is not None and remote_document.get(self.remote_fieldname) in (None, ""):
            return None
        found: dict[str, Scalar] = {}
        for fieldname, each in self.filters.items():
            document = _with_hops(remote_document, each, hops)
            value = None if document is None else each.value(document)
            if value is None:
                return None
            found[fieldname] = _plain(self.fieldname, fieldname, value)
        return found


def _with_hops(document: Row, each: Filter, hops: Mapping[str, Row | None]) -> Row | None:
    """The document as a filter sees it: a linked document stands where the filter reads a field of it.

    None where such a document is missing: what is read of it is missing too.
    """
    if each.expression is None or not each.expression.hops:
        return document
    linked = {link: hops.get(link) for link in each.expression.hops}
    return None if None in linked.values() else document | linked


def lookup_of(given: FieldMapping, inner: MappingSettings, remote_fields: Iterable[str]) -> Lookup:
    """The lookup that a field of mapping type Document states; `inner` is its mapping."""
    return Lookup(
        fieldname=given.local_fieldname,
        doctype=inner.local_doctype,
        remote_doctype=inner.remote_doctype,
        filters={name: read_filter(text, remote_fields) for name, text in given.remote_value_filters.items()},
        remote_fieldname=given.remote_fieldname,
    )


def _plain(link: str, fieldname: str, value: Any) -> Scalar:
    """The value as a request carries it. Raises `RowRefused` for one by which nothing can be looked for."""
    if isinstance(value, Decimal):
        if value == value.to_integral_value():
            return int(value)
        # A number of more digits than a float holds goes as text: a decimal column is found by either.
        return float(value) if Decimal(repr(float(value))) == value else str(value)
    if isinstance(value, str | int | float):
        return value
    kind = "bytes" if isinstance(value, dict) and HEX in value else "a list or an object"
    raise RowRefused(f"{link}: no document can be looked for by {fieldname}, which would have to hold {kind}")
