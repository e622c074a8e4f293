"""Takes names and keys of this site's own for what comes from a producer, within the transaction that writes it."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime

from streamd.apply.event.incoming import Incoming
from streamd.apply.localnames.names import Names
from streamd.apply.localnames.naming import (
    Convention,
    Naming,
    Place,
    fields_in_series,
    naming_of,
    place_in,
    row_key_naming,
)
from streamd.apply.localnames.renaming import with_local_links
from streamd.apply.localnames.rowkeys import RowKey, RowKeys
from streamd.apply.source import Ref
from streamd.db.base import OUR_SERIES, SeriesBook, Transaction
from streamd.errors import ExpressionError, RowRefused
from streamd.expressions import compile_expression
from streamd.model import (
    Catalogue,
    ChildTable,
    Column,
    DocumentType,
    Name,
    Row,
    Scalar,
    name_label,
)
from streamd.rowids import keys_added
from streamd.rows import linked, split

HASH_BYTES = 5
"""As the ancestor's applications name documents that nothing else names."""


class GivenNames:
    """Gives names to new documents of one producer, and keys to their child rows."""

    def __init__(self, transaction: Transaction, names: Names, catalogue: Catalogue) -> None:
        self._transaction = transaction
        self._names = names
        self._catalogue = catalogue
        self._book = OUR_SERIES if catalogue.series is None else SeriesBook(*catalogue.series)

    # Documents

    async def give(self, new: Sequence[Incoming]) -> frozenset[Ref]:
        """Name these documents; what is needed by others stands before them. Raises `RowRefused`."""
        waiting = {(each.event.doctype, each.event.name): each for each in new}
        given = frozenset(waiting)
        by_type: dict[str, list[Ref]] = {}
        for ref in waiting:
            by_type.setdefault(ref[0], []).append(ref)
        rules = {doctype: self._rule(doctype) for doctype in by_type}
        for doctype, refs in by_type.items():
            if rules[doctype].convention in _BY_THEMSELVES:
                for ref, name in zip(refs, await self._unread(doctype, rules[doctype], refs), strict=True):
                    self._names.give(ref, name)
                    del waiting[ref]
        while waiting:
            ready = [ref for ref, each in waiting.items() if not self._waits(each, rules[ref[0]], waiting)]
            if not ready:
                labels = ", ".join(f"{doctype} {name_label(name)}" for doctype, name in waiting)
                raise RowRefused(f"cannot be named: {labels} are named by fields that name each other")
            await self._read([(ref, waiting.pop(ref)) for ref in ready], rules)
        return given

    def _rule(self, doctype: str) -> Naming:
        try:
            rule = naming_of(self._catalogue[doctype])
        except ValueError as error:
            raise RowRefused(f"{doctype} cannot be named: naming {error}") from None
        if rule is None:
            raise RowRefused(
                f"{doctype} cannot be named: nothing says how (set naming in its [doctypes] table, or use_same_name)"
            )
        return rule

    def _waits(self, incoming: Incoming, rule: Naming, waiting: Mapping[Ref, Incoming]) -> bool:
        """Whether the document's name depends on that of another one, which has none yet."""
        doctype = self._catalogue[incoming.event.doctype]
        fields, _ = split(doctype, incoming.data)
        read = _fields_read(rule, fields)
        links = [link for link in doctype.links if not read.isdisjoint(link.columns)]
        return any((target, name) in waiting for target, name, _ in linked(links, fields))

    async def _unread(self, doctype: str, rule: Naming, refs: Sequence[Ref]) -> list[Name]:
        """Names for which nothing of the document has to be read."""
        if rule.convention is Convention.SAME:
            return [name for _, name in refs]
        table = self._catalogue[doctype]
        return [(key,) for key in await self._keys(table.table, _key_column(table), rule, len(refs))]

    async def _keys(self, table: str, column: Column, rule: Naming, count: int) -> Sequence[Scalar]:
        if rule.convention is Convention.DATABASE:
            return await self._transaction.next_keys(table, column, count)
        return [_RANDOM[rule.convention]() for _ in range(count)]

    async def _read(self, ready: Sequence[tuple[Ref, Incoming]], rules: Mapping[str, Naming]) -> None:
        """Name documents by what stands in them; their links lead to documents that are named."""
        today = datetime.now().astimezone().date()
        places: dict[tuple[str, Place], list[Ref]] = {}
        for ref, incoming in ready:
            doctype = self._catalogue[ref[0]]
            fields, _ = split(doctype, incoming.data)
            fields = with_local_links(doctype.links, fields, self._names)
            rule = rules[ref[0]]
            if rule.convention is Convention.SERIES:
                places.setdefault((ref[0], _place(ref, rule, fields, today)), []).append(ref)
            else:
                self._names.give(ref, (_value(ref, rule, fields),))
        for (kind, place), refs in places.items():
            for ref, name in zip(refs, await self._numbered(kind, place, len(refs)), strict=True):
                self._names.give(ref, name)

    async def _numbered(self, doctype: str, place: Place, count: int) -> list[Name]:
        """The next names of a series. One that no new document can have is passed over: another has it, or its like."""
        found: list[Name] = []
        while len(found) < count:
            missing = count - len(found)
            first = await self._transaction.next_numbers(place.prefix, missing, self._book)
            names: list[Name] = [(place.name(number),) for number in range(first, first + missing)]
            taken = await self._transaction.taken(self._catalogue[doctype], names)
            found += [name for name in names if name not in taken]
        return found

    # Child rows

    async def give_rows(self, run: Iterable[Incoming], keys: RowKeys) -> None:
        """Keys for the child rows that are new here, of documents under another name."""
        wanted: dict[tuple[str, str], dict[RowKey, Name]] = {}
        for incoming in run:
            owner = keys.owner(incoming)
            if owner is None:
                continue
            for child in self._catalogue[owner[0]].children:
                for key in keys_added(incoming.data, child) if child.is_numbered else ():
                    if keys.is_new(incoming, child.field, key):
                        row = keys.id_of(incoming, child.field, key)
                        wanted.setdefault((owner[0], child.field), {})[owner, child.field, row] = key
        for (name, fieldname), rows in wanted.items():
            table = self._catalogue[name].child(fieldname)
            assert table is not None  # noqa: S101  # it was asked for above
            await self._give_keys(table, rows, keys)

    async def _give_keys(self, table: ChildTable, rows: Mapping[RowKey, Name], keys: RowKeys) -> None:
        """A key for each of these rows. One that another row of the same document had before is passed over."""
        rule = row_key_naming(table)
        if rule is None:
            for row, key in rows.items():
                keys.give(row, key)
            return
        waiting, asked = list(rows)[::-1], len(rows)
        while waiting:
            for part in await self._keys(table.table, _key_column(table), rule, asked):
                if waiting and not keys.was_used(waiting[-1][0], table.field, (part,)):
                    keys.give(waiting.pop(), (part,))
            # There may be many of them: then more and more are looked at together.
            asked *= 2


_BY_THEMSELVES = frozenset({Convention.DATABASE, Convention.UUID, Convention.HASH, Convention.SAME})

_RANDOM: Mapping[Convention, Callable[[], str]] = {
    Convention.UUID: lambda: str(uuid.uuid4()),
    Convention.HASH: lambda: secrets.token_hex(HASH_BYTES),
}


def _key_column(table: DocumentType | ChildTable) -> Column:
    return next(column for column in table.columns if column.name == table.key[0])


def _place(ref: Ref, rule: Naming, fields: Row, today: date) -> Place:
    try:
        return place_in(rule, fields, today)
    except RowRefused as error:
        raise RowRefused(f"{ref[0]} {name_label(ref[1])} {error.message}") from None


def _fields_read(rule: Naming, fields: Row) -> frozenset[str]:
    """The fields of a document that its name is made of."""
    if rule.convention is Convention.FIELD:
        return frozenset({rule.rest})
    if rule.convention is Convention.EXPRESSION:
        try:
            return compile_expression(rule.rest).fields
        except ExpressionError:
            return frozenset()  # it is refused when it is evaluated
    return fields_in_series(rule, fields)


def _value(ref: Ref, rule: Naming, fields: Row) -> Scalar:
    label = f"{ref[0]} {name_label(ref[1])}"
    if rule.convention is Convention.FIELD:
        value = fields.get(rule.rest)
    else:
        try:
            value = compile_expression(rule.rest).evaluate(fields)
        except ExpressionError as error:
            raise RowRefused(f"{label} cannot be named: {error.message}") from None
    if value is None or value == "" or isinstance(value, bool) or not isinstance(value, str | int):
        raise RowRefused(f"{label} cannot be named: {rule.rest} gives {value!r}, which is no name")
    return value
