"""What must stand in the rows of documents after they were written, and how what stands there differs. Pure.

A database may take a write and keep something else, or nothing: a trigger or rule, a conflict clause, the type of a
column. So every row that was written is read again, and compared with what was meant: what the event brought, and in
all other columns that the producer has as well, what stood there before. The rest of the columns are the site's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from types import NoneType
from typing import Any

import msgspec

from streamd.apply.decide.values import shown
from streamd.apply.event.moving import document_under
from streamd.apply.source import ColumnsThere, Ref
from streamd.apply.write.ordering import Planned, child_of
from streamd.apply.write.rowwrite import DELETE, INSERT, UPDATE, RowWrite, links_to
from streamd.apply.write.stored import has_fewer_digits, is_stored, is_written_out
from streamd.common.values import Scalar
from streamd.model import Catalogue, ChildTable, Column, DocumentType, Kind, Name, Row, name_label

Columns = Mapping[str, Mapping[str, Column]]

UNREADABLE = "$unreadable"
"""The one key of a row that is too large to be read."""

_NO_TEXT = "\ufffd"
"""What stands for bytes that are no text."""

_NUMBERS = (int, float, Decimal)
_HASHABLE = (str, int, float, Decimal, NoneType)


class Meant(msgspec.Struct, gc=False):
    """One row as it must be: these columns hold these values. `values` is None for a row that must be gone.

    `owner` is the document that it belongs to; `identity` are the columns that tell the row from all others, of which
    `place` has the values. `before` is a row that keeps its place as it was before it was written.
    """

    owner: Ref
    table: str
    key: tuple[str, ...]
    identity: tuple[str, ...]
    place: Row
    values: Row | None
    before: Row | None = None

    @property
    def inserted(self) -> bool:
        """Whether the row was inserted, and nothing else was written to it: its place is taken from what it holds."""
        return self.place is self.values

    @property
    def where(self) -> Row:
        """Which row it is."""
        return {column: self.place[column] for column in self.identity}


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that is not as it was meant. `column` is empty where the row is missing, or still there."""

    meant: Meant
    cause: str
    column: str = ""
    value: Any = None
    found: Any = None

    def __str__(self) -> str:
        row = ", ".join(f"{column} {shown(value)}" for column, value in self.meant.where.items())
        where = f"{self.meant.owner[0]} {name_label(self.meant.owner[1])}: the row of {self.meant.table} with {row}"
        if self.column:
            return f"{where} holds {shown(self.found)} in {self.column}, and not {shown(self.value)}: {self.cause}"
        state = "is still there" if self.meant.values is None else "is not there"
        return f"{where} {state} after it was written: {self.cause}"


@dataclass(frozen=True, slots=True)
class Read:
    """One read: the rows of a table whose `key` columns hold one of `keys`, with these columns."""

    table: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    rows: list[Meant] = field(default_factory=list)

    @property
    def keys(self) -> list[Name]:
        """What the rows are found by, each once."""
        names = [tuple([each.place[column] for column in self.key]) for each in self.rows]
        return list({tuple(map(_hashable, name)): name for name in names}.values())


def rows_meant(planned: Iterable[Planned], there: ColumnsThere) -> list[Meant]:
    """Every row that these documents' writes touch, as it must be after all of them.

    `there` are the columns that the producer has. Of a type that is not in it, only what the event brought must be
    there: a column that this site's own trigger sets could not be told from others.
    """
    found: list[Meant] = []
    for each in planned:
        found += _rows_of(each, there)
    if all(each.values is not None for each in found):
        return found
    # What one document gave up, its name or a child row, another one may have taken.
    standing = {_key_of(each) for each in found if each.values is not None}
    return [each for each in found if each.values is not None or _key_of(each) not in standing]


def _key_of(meant: Meant) -> object:
    return meant.table, meant.key, tuple(_hashable(meant.place[column]) for column in meant.key)


def reads(meant: Iterable[Meant]) -> list[Read]:
    """One read per table, of the columns that are compared; where some rows hold text that is none, two."""
    rows: dict[tuple[str, tuple[str, ...], bool], list[Meant]] = {}
    for each in meant:
        rows.setdefault((each.table, each.key, each.before is not None), []).append(each)
    found = []
    for (table, key, _), those in rows.items():
        columns = set(key).union(*{each.identity for each in those}, *{tuple(each.values or ()) for each in those})
        found.append(Read(table, key, tuple(sorted(columns)), those))
    return found


def differences(
    read: Read, found: Sequence[Row], columns: Mapping[str, Column], renames: Mapping[str, Mapping[Any, Any]]
) -> list[Difference]:
    """How the rows that a read gave differ from what was meant.

    `renames` maps, by column, what documents of the same group were called to what they are called now: whether a
    link follows depends on which was written first.
    """
    known = _Rows(read, found, columns)
    result: list[Difference] = []
    for meant in read.rows:
        if known.holds(meant):
            continue
        rows = known.of(meant.where)
        if meant.values is None:
            if rows:
                result.append(Difference(meant, "a trigger or rule of this database kept or restored it"))
        elif not rows:
            if not known.unreadable:
                result.append(Difference(meant, "a trigger, a rule or a conflict clause of this database swallowed it"))
        else:
            result += _closest(meant, meant.values, rows, columns, renames)
    return result


def renames_of(planned: Iterable[Planned], catalogue: Catalogue) -> dict[str, dict[str, dict[Any, Any]]]:
    """By table and column: the names that links to renamed documents had, and those that they have now."""
    found: dict[str, dict[str, dict[Any, Any]]] = {}
    for each in planned:
        if each.renamed_from is None:
            continue
        own = [(child.table, child.parent_key) for child in each.doctype.children]
        links = links_to(each.doctype.name, catalogue)
        for table, columns in (*own, *(((child or owner).table, link.columns) for owner, child, link in links)):
            for column, new, old in zip(columns, each.name, each.renamed_from, strict=True):
                found.setdefault(table, {}).setdefault(column, {})[old] = new
    return found


def _rows_of(planned: Planned, there: ColumnsThere) -> Iterable[Meant]:
    """The rows of one document."""
    owner = (planned.doctype.name, planned.name)
    if planned.renamed_from is None and all(write.kind == INSERT for write in planned.writes):
        return _rows_made(planned, owner)
    return _rows_changed(planned, owner, there).values()


def _rows_made(planned: Planned, owner: Ref) -> Iterator[Meant]:
    """The rows of a document that is made: nearly all of a first catch-up."""
    for write in planned.writes:
        row = dict(zip(write.columns, write.values, strict=True))
        table = _table_of(planned.doctype, write.table, row)
        identity = table.identity
        if row.keys() >= set(identity):
            yield Meant(owner, write.table, table.key, identity, row, row)


def _rows_changed(planned: Planned, owner: Ref, there: ColumnsThere) -> dict[object, Meant]:
    """The rows of any other document. Its writes build on each other, so they are gone through in order."""
    rows: dict[object, Meant] = {}
    stood = _rows_before(planned, there)

    def put(table: DocumentType | ChildTable, place: Row, values: Row | None, was: Row | None = None) -> None:
        identity = table.identity
        if place.keys() >= set(identity):
            meant = Meant(owner, table.table, table.key, identity, place, values, was)
            rows[_place(table, place)] = meant

    for child, row in _following(planned):
        put(child, row, _shared(planned.doctype, child, row, there))
    for write in planned.writes:
        if _follows(write):
            continue
        row = dict(zip(write.columns, write.values, strict=False))
        if write.kind == INSERT:
            put(_table_of(planned.doctype, write.table, row), row, row)
            continue
        place = dict(zip(write.where, write.values[len(write.columns) :], strict=True))
        table = _table_of(planned.doctype, write.table, place | row)
        if write.kind == DELETE:
            put(table, place, None)
            continue
        before, was = rows.get(_place(table, place)), stood.get(_place(table, place))
        after = {column: row.get(column, value) for column, value in place.items()}
        if after != place:
            put(table, place, None)
            was = None if was is None else was | after
        values = (was if before is None else before.values) or {}
        put(table, after, values | row, was)
    return rows


def _rows_before(planned: Planned, there: ColumnsThere) -> dict[object, Row]:
    """What stood in the rows that are updated, of the columns that the producer has; by their places."""
    here, doctype = planned.here, planned.doctype
    if here is None:
        return {}
    updated = {write.table for write in planned.writes if write.kind == UPDATE and not _follows(write)}
    tables: list[tuple[DocumentType | ChildTable, Sequence[Row]]] = [(doctype, (here.fields,))]
    tables += [(child, here.children.get(child.field, ())) for child in doctype.children]
    found = {}
    for table, rows in tables:
        for row in rows if table.table in updated else ():
            if shared := _shared(doctype, table, row, there):
                found[_place(table, row)] = shared
    return found


def _shared(doctype: DocumentType, table: DocumentType | ChildTable, row: Row, there: ColumnsThere) -> Row:
    """The part of a row that the producer has as well. Nothing, where some text of it is none: that cannot be read."""
    names = there.get((doctype.name, table.field if isinstance(table, ChildTable) else ""), frozenset())
    if any(isinstance(value, str) and _NO_TEXT in value for value in row.values()):
        return {}
    return {name: value for name, value in row.items() if name in names}


def _place(table: DocumentType | ChildTable, place: Row) -> object:
    return table.table, tuple(_hashable(place.get(column)) for column in table.identity)


def _hashable(value: Any) -> Any:
    return value if isinstance(value, _HASHABLE) else shown(value)


def _table_of(doctype: DocumentType, table: str, row: Row) -> DocumentType | ChildTable:
    return doctype if table == doctype.table else child_of(doctype, table, row)


def _following(planned: Planned) -> Iterator[tuple[ChildTable, Row]]:
    """The child rows of a document that gets another name: they go with it."""
    if planned.renamed_from is None or planned.here is None:
        return
    here = document_under(planned.doctype, planned.here, {planned.renamed_from: planned.name})
    for child in planned.doctype.children:
        for row in here.children.get(child.field, ()):
            yield child, row


def _follows(write: RowWrite) -> bool:
    """Whether a write gives another name to whatever links to the old one (`RowWrite.follow`)."""
    return not write.exactly and bool(write.columns) and write.where[: len(write.columns)] == write.columns


class _Rows:
    """The rows that were read, by their keys."""

    def __init__(self, read: Read, rows: Iterable[Row], columns: Mapping[str, Column]) -> None:
        self._key = read.key
        self._columns = columns
        self._rows: dict[object, list[Row]] = {}
        self.unreadable = False
        for row in rows:
            if UNREADABLE in row:
                self.unreadable = True
            else:
                self._rows.setdefault(self._key_of(row), []).append(row)
        # A column may keep a key in a way of its own.
        wanted = {self._key_of(each.place) for each in read.rows}
        self._otherwise = [row for key, rows in self._rows.items() if key not in wanted for row in rows]

    def holds(self, meant: Meant) -> bool:
        """Whether the row is there, and holds exactly what was meant in all columns that were read, as most do."""
        found = self._rows.get(self._key_of(meant.place))
        return found is not None and len(found) == 1 and found[0] == meant.values

    def of(self, where: Row) -> list[Row]:
        """The rows that are meant by these values."""
        found = self._rows.get(self._key_of(where), self._otherwise)
        return [row for row in found if all(self._same(column, value, row) for column, value in where.items())]

    def _key_of(self, row: Row) -> object:
        if len(self._key) == 1:
            return _hashable(row.get(self._key[0]))
        return tuple([_hashable(row.get(column)) for column in self._key])

    def _same(self, column: str, value: Any, row: Row) -> bool:
        there = row.get(column)
        return bool(there == value) or is_stored(self._columns[column], value, there)


def _closest(
    meant: Meant,
    values: Row,
    rows: Sequence[Row],
    columns: Mapping[str, Column],
    renames: Mapping[str, Mapping[Any, Any]],
) -> list[Difference]:
    """How the row differs; of several with one key, the one that differs least."""
    return min((_compared(meant, values, row, columns, renames) for row in rows), key=len)


def _compared(
    meant: Meant, values: Row, row: Row, columns: Mapping[str, Column], renames: Mapping[str, Mapping[Any, Any]]
) -> list[Difference]:
    result = []
    for name, value in values.items():
        if name not in row:
            continue  # a column that cannot be read as a value
        found = row[name]
        if found == value or is_stored(columns[name], value, found):
            continue
        if name in renames and isinstance(value, Scalar) and renames[name].get(value, value) == found:
            continue
        result.append(Difference(meant, cause_of(columns[name], value, found), name, value, found))
    return result


def cause_of(column: Column, meant: Any, found: Any) -> str:
    """What probably made another value of one."""
    declared = f"the column (declared {column.declared})" if column.declared else "the column (without a declared type)"
    if isinstance(meant, str) and isinstance(found, _NUMBERS):
        return f"{declared} makes numbers of text that looks like one; declare it TEXT"
    if has_fewer_digits(column, meant, found):
        return f"{declared} keeps fewer digits"
    if isinstance(meant, str) and isinstance(found, str) and column.kind in _CUT and found and meant.startswith(found):
        return f"{declared} keeps less of it"
    if isinstance(meant, str) and isinstance(found, str) and not is_written_out(column.kind, meant):
        return f"{declared} reads something else in it; write it in full at the producer, or declare it TEXT here"
    return (
        "a trigger, a rule, or the column's own way to set itself changed it. Where this site's triggers have the last "
        "word, set accept_changes = true for the type"
    )


_CUT = (Kind.TEXT, Kind.ANY, Kind.DATE, Kind.TIME, Kind.DATETIME, Kind.DATETIME_ZONED)
