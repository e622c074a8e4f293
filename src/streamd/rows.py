"""Names and links in rows, for every stage. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache

import msgspec

from streamd.common.values import read_json
from streamd.model import (
    Catalogue,
    Change,
    ChildTable,
    Difference,
    DocumentType,
    Link,
    Name,
    OldValues,
    Row,
    Scalar,
    name_text,
)


def name_in(row: Mapping[str, object], columns: Sequence[str]) -> Name | None:
    """The name in these columns of a row; None if a value is NULL, missing, or cannot be part of a name."""
    if len(columns) == 1:
        value = row.get(columns[0])
        if isinstance(value, str | int | float):  # nearly always
            return (value,)
    # In names, a number with a point is a float.
    values = [float(value) if isinstance(value := row.get(column), Decimal) else value for column in columns]
    if all(isinstance(value, str | int | float) for value in values):
        return tuple(values)  # type: ignore[arg-type]  # just checked
    return None


def linked(links: Iterable[Link], row: Mapping[str, object]) -> Iterator[tuple[str, Name, Link]]:
    """The documents (type, name) that these links of a row lead to, each with its link. NULL links lead nowhere."""
    for link in links:
        name = name_in(row, link.columns)
        if name is None or (link.blank_is_null and "" in name):
            continue
        if link.where and any(row.get(column) != value for column, value in link.where):
            continue
        doctype = link.doctype if link.type_column is None else row.get(link.type_column)
        if isinstance(doctype, str):
            yield doctype, name, link


def tables_of(doctype: DocumentType) -> list[str]:
    """The tables with a document's rows."""
    return [doctype.table, *(child.table for child in doctype.children)]


def split(doctype: DocumentType, data: Row) -> tuple[Row, dict[str, list[Row]]]:
    """A whole document as it is sent → its columns, and its child rows by field."""
    fields = dict(data)
    children = {child.field: fields.pop(child.field, None) or [] for child in doctype.children}
    return fields, children


def written_fields(doctype: DocumentType) -> frozenset[str]:
    """The columns of a type that are not generated: `column`, or `child field/column`."""
    children = (f"{child.field}/{column}" for child in doctype.children for column in child.written_names)
    return doctype.written_names.union(children)


def document_links(
    doctype: DocumentType, fields: Row, children: Mapping[str, Iterable[Row]]
) -> Iterator[tuple[str, Name]]:
    """Every document that a document's columns and child rows link to."""
    return _links(doctype, [fields], [children])


def _links(
    doctype: DocumentType, rows: Iterable[Row], tables: Sequence[Mapping[str, Iterable[Row]]]
) -> Iterator[tuple[str, Name]]:
    """The links of parent rows, and of child rows by field."""
    for row in rows:
        for target, name, _ in linked(doctype.links, row):
            yield target, name
    for child in doctype.children:
        for table in tables:
            for row in table.get(child.field, ()):
                for target, name, _ in linked(child.links, row):
                    yield target, name


def links_in(doctype: DocumentType, data: object, *, old: bool = True) -> Iterator[tuple[str, Name]]:
    """Every document that an event's data links to, and (`old`) linked to before."""
    if isinstance(data, Difference):
        before = data.old if old else OldValues()
        tables = (data.added, data.row_changed, before.row_changed, before.removed)
        return _links(doctype, (data.changed, before.changed), tables)
    if isinstance(data, dict):
        deleted = data.get("old") if data.keys() == {"old"} else None
        return document_links(doctype, *split(doctype, (deleted if old else {}) if isinstance(deleted, dict) else data))
    return iter(())


@dataclass(frozen=True, slots=True)
class Binding:
    """One way in which a table's rows belong to documents: as parent rows (`child` is None) or as child rows.

    `silent`: if such a parent row is deleted, no trigger may fire for its child rows. `follows_unseen`: if a document
    is renamed, the database updates such child rows, and no trigger fires.
    """

    doctype: DocumentType
    child: ChildTable | None
    name_of: Callable[[bytes], Name | None]
    row_key_of: Callable[[bytes], Name | None]
    matches: Callable[[bytes], bool]
    silent: bool = False
    follows_unseen: bool = False


def bindings(catalogue: Catalogue) -> dict[str, list[Binding]]:
    """For each table, the document types with rows in it. The readers decode key columns only.

    A single has no parent row, so only its child rows are bound. Each reader raises `msgspec.DecodeError` or
    `ValueError` if a row's JSON cannot be read.
    """
    found: dict[str, list[Binding]] = {}
    acting = [each for each in catalogue.references if each.key.silent and each.rows.field]
    silent = {(each.doctype, each.key.table) for each in acting}
    following = {
        (each.doctype, each.rows.field)
        for each in acting
        if each.key.on_update == "CASCADE"
        and each.key.table == catalogue[each.doctype].table
        and set(each.key.columns) == set(each.rows.parent_key)
    }
    for doctype in catalogue.doctypes.values():
        if not doctype.single:
            key_reader = name_reader(doctype.key)
            unseen = (doctype.name, doctype.table) in silent
            binding = Binding(doctype, None, key_reader, key_reader, _always, silent=unseen)
            found.setdefault(doctype.table, []).append(binding)
        for child in doctype.children:
            binding = Binding(
                doctype,
                child,
                name_reader(child.parent_key),
                name_reader(child.key),
                _condition(child.where),
                follows_unseen=(doctype.name, child.field) in following,
            )
            found.setdefault(child.table, []).append(binding)
    return found


def name_reader(columns: Sequence[str]) -> Callable[[bytes], Name | None]:
    """A function that reads the name in these columns from a row's JSON, and decodes nothing else."""
    return _reader(tuple(columns))


@cache  # creating one is slow, and hundreds of types may have the same key columns
def _reader(columns: tuple[str, ...]) -> Callable[[bytes], Name | None]:
    if any(character in '"\\' or character < " " for column in columns for character in column):
        return _slow_reader(columns)
    fields = [f"c{index}" for index in range(len(columns))]
    shape = msgspec.defstruct(
        "Key",
        [(field, Scalar | None, None) for field in fields],
        rename=dict(zip(fields, columns, strict=True)),
    )
    decode = msgspec.json.Decoder(shape).decode

    if len(fields) == 1:

        def read_one(row: bytes) -> Name | None:
            value = decode(row).c0  # type: ignore[attr-defined]  # the shape is made above
            return None if value is None else (value,)

        return read_one

    def read(row: bytes) -> Name | None:
        key = decode(row)
        values = tuple(getattr(key, field) for field in fields)
        return None if None in values else values

    return read


def _slow_reader(columns: tuple[str, ...]) -> Callable[[bytes], Name | None]:
    """The same for columns with names that a struct's fields cannot have in JSON: with quotes or backslashes."""
    decode, value_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode, msgspec.json.Decoder(Scalar | None).decode

    def read(row: bytes) -> Name | None:
        parts = decode(row)
        values = tuple(value_of(parts[column]) if column in parts else None for column in columns)
        return None if None in values else values  # type: ignore[return-value]  # just checked

    return read


def _condition(where: Sequence[tuple[str, Scalar]]) -> Callable[[bytes], bool]:
    if not where:
        return _always
    expected = tuple(value for _, value in where)
    read = name_reader([column for column, _ in where])
    return lambda row: read(row) == expected


def _always(_row: bytes) -> bool:
    return True


UNSEEN = "$unseen"
"""In the `after` of a `TRUNCATE`: what happened, if rows of the table came or went in another way."""

_UNSEEN = msgspec.json.Decoder(dict[str, str])


def unseen(change: Change) -> str:
    """In words, what happened to a table without a trigger firing for each row: for a change of the kind `TRUNCATE`."""
    if change.after is None:
        return f"{change.table} was emptied (TRUNCATE)"
    return f"{change.table}: {_UNSEEN.decode(change.after)[UNSEEN]}"


def read_name(reader: Callable[[bytes], Name | None], row: bytes | None) -> Name | None:
    """What `Binding.name_of` or `row_key_of` reads; None if the row is missing or cannot be read."""
    try:
        return None if row is None else reader(row)
    except msgspec.DecodeError:
        return None


def names_touched(changes: Iterable[Change], bound: Mapping[str, Sequence[Binding]]) -> set[tuple[str, Name]]:
    """The documents (type, name) that local changes touch, under their old and new names."""
    return set().union(*(documents_of(change, bound) for change in changes if not change.origin))


def namings(
    changes: Iterable[Change], bound: Mapping[str, Sequence[Binding]]
) -> Iterator[tuple[str, Name | None, Name | None]]:
    """The changes by which documents get or lose names: type, name before and name after, None for no name."""
    for change in changes:
        for binding in bound.get(change.table, ()):
            before, after = read_name(binding.name_of, change.before), read_name(binding.name_of, change.after)
            if binding.child is None and before != after:
                yield binding.doctype.name, before, after


def links_touched(changes: Iterable[Change], bound: Mapping[str, Sequence[Binding]]) -> set[tuple[str, Name]]:
    """The documents (type, name) that locally changed rows link to now, as far as the rows can be read."""
    found: set[tuple[str, Name]] = set()
    for change in changes:
        for binding in bound.get(change.table, ()) if not change.origin and change.after is not None else ():
            links = binding.doctype.links if binding.child is None else binding.child.links
            try:
                found |= {(target, name) for target, name, _ in linked(links, read_json(change.after or b"{}"))}
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue  # it becomes a gap
    return found


def documents_of(change: Change, bound: Mapping[str, Sequence[Binding]]) -> set[tuple[str, Name]]:
    """The documents (type, name) that one change touches, under their old and new names."""
    found = set()
    for binding in bound.get(change.table, ()):
        for row in (change.before, change.after):
            name = read_name(binding.name_of, row)
            if name is not None and row is not None and may_match(binding, row):
                found.add((binding.doctype.name, name))
    return found


def may_match(binding: Binding, row: bytes) -> bool:
    """Whether a row belongs to the binding, or cannot be read."""
    try:
        return binding.matches(row)
    except msgspec.DecodeError:
        return True


def has_name_in_key(child: ChildTable) -> bool:
    """Whether the key of a child row contains its document's name."""
    return set(child.parent_key) <= set(child.key)


def key_under(child: ChildTable, key: Name, moves: Mapping[Name, Name]) -> Name:
    """The key of a child row after its document was renamed, if the key contains the document's name."""
    if not has_name_in_key(child) or len(key) != len(child.key):
        return key
    parts = dict(zip(child.key, key, strict=True))
    name = tuple(parts[column] for column in child.parent_key)
    return tuple((parts | dict(zip(child.parent_key, moves.get(name, name), strict=True))).values())


def clocks_under(doctype: DocumentType, clocks: Mapping[str, str], moves: Mapping[Name, Name]) -> dict[str, str]:
    """The clocks of fields after a document was renamed: those of child rows are identified by their keys."""
    children = [child for child in doctype.children if has_name_in_key(child)]
    return {_field_under(children, field, moves): clock for field, clock in clocks.items()}


def _field_under(children: Iterable[ChildTable], field: str, moves: Mapping[Name, Name]) -> str:
    for child in children:
        if field.startswith(f"{child.field}/["):
            text = field.removeprefix(f"{child.field}/")
            key, end = json.JSONDecoder().raw_decode(text)
            return f"{child.field}/{name_text(key_under(child, tuple(key), moves))}{text[end:]}"
    return field
