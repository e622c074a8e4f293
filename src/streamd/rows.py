"""Names and links in rows: pure functions that every stage shares."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache

import msgspec

from streamd.common.json_values import read_json
from streamd.model import Catalogue, Change, ChildTable, Difference, DocumentType, Link, Name, Row, Scalar, name_text


def name_in(row: Mapping[str, object], columns: Sequence[str]) -> Name | None:
    """The name that these columns of a row hold; None where one is NULL, missing, or can be no name."""
    if len(columns) == 1:
        value = row.get(columns[0])
        return (value,) if isinstance(value, str | int | float) else _rarer((value,))
    values = tuple(row.get(column) for column in columns)
    if all(isinstance(value, str | int | float) for value in values):
        return values  # type: ignore[return-value]  # just checked
    return _rarer(values)


def _rarer(values: tuple[object, ...]) -> Name | None:
    """A name with a number with a point in it, which is a float in names; None for what can be no name."""
    found = tuple(float(value) if isinstance(value, Decimal) else value for value in values)
    if all(isinstance(value, str | int | float) for value in found):
        return found  # type: ignore[return-value]  # just checked
    return None


def linked(links: Iterable[Link], row: Mapping[str, object]) -> Iterator[tuple[str, Name, Link]]:
    """The documents (type, name) that the links of a row name, with the link. NULL links name nothing."""
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
    """The tables that a document's rows are in."""
    return [doctype.table, *(child.table for child in doctype.children)]


def split(doctype: DocumentType, data: Row) -> tuple[Row, dict[str, list[Row]]]:
    """A whole document as it travels, as (columns, child rows by field)."""
    fields = dict(data)
    children = {child.field: fields.pop(child.field, None) or [] for child in doctype.children}
    return fields, children


def written_fields(doctype: DocumentType) -> frozenset[str]:
    """The columns of a type that hold data of their own: `column`, or `child field/column`."""
    children = (f"{child.field}/{column}" for child in doctype.children for column in child.written_names)
    return doctype.written_names.union(children)


def document_links(
    doctype: DocumentType, fields: Row, children: Mapping[str, Iterable[Row]]
) -> Iterator[tuple[str, Name]]:
    """Every document that a document's columns and child rows link to."""
    for target, name, _ in linked(doctype.links, fields):
        yield target, name
    for child in doctype.children:
        for row in children.get(child.field, ()):
            for target, name, _ in linked(child.links, row):
                yield target, name


def links_in(doctype: DocumentType, data: object, *, old: bool = True) -> Iterator[tuple[str, Name]]:
    """Every document that an event's data links to, and (`old`) linked to before."""
    if isinstance(data, Difference):
        rows: Iterable[Row] = (data.changed, data.old.changed) if old else (data.changed,)
        children = [data.added, data.row_changed]
        children += [data.old.row_changed, data.old.removed] if old else []
    elif isinstance(data, dict):
        before = data.get("old") if data.keys() == {"old"} else None
        fields, tables = split(doctype, (before if old else {}) if isinstance(before, dict) else data)
        rows, children = (fields,), [tables]
    else:
        return
    for row in rows:
        for target, name, _ in linked(doctype.links, row):
            yield target, name
    for child in doctype.children:
        for table in children:
            for row in table.get(child.field, ()):
                for target, name, _ in linked(child.links, row):
                    yield target, name


@dataclass(frozen=True, slots=True)
class Binding:
    """One way in which a table's rows belong to documents: as the parent (`child` is None) or as child rows.

    `silent`: when such a parent row is deleted, what becomes of its child rows may go unseen. `follows_unseen`: such
    child rows get the new name of a renamed document from the database, unseen.
    """

    doctype: DocumentType
    child: ChildTable | None
    name_of: Callable[[bytes], Name | None]
    row_key_of: Callable[[bytes], Name | None]
    matches: Callable[[bytes], bool]
    silent: bool = False
    follows_unseen: bool = False


def bindings(catalogue: Catalogue) -> dict[str, list[Binding]]:
    """For each table, the document types whose rows it holds. The readers decode key columns only.

    A single has no row of its own, so its table is bound by its child rows alone. Each reader raises
    `msgspec.DecodeError` or `ValueError` where a row's JSON cannot be read.
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
    """What reads the name that these columns hold out of a row's JSON, and decodes nothing else."""
    return _reader(tuple(columns))


@cache  # making one is slow, and hundreds of types may be named by the same columns
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
    """The same for columns whose names cannot be those of a struct's fields in JSON: with quotes or backslashes."""
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
"""In the `after` of a `TRUNCATE`: what happened instead, where rows of the table came or went in another way."""


_UNSEEN = msgspec.json.Decoder(dict[str, str])


def unseen(change: Change) -> str:
    """What happened to a table that no trigger saw row by row, in words: to a change of the kind `TRUNCATE`."""
    if change.after is None:
        return f"{change.table} was emptied (TRUNCATE)"
    return f"{change.table}: {_UNSEEN.decode(change.after)[UNSEEN]}"


def read_name(reader: Callable[[bytes], Name | None], row: bytes | None) -> Name | None:
    """What `Binding.name_of` or `row_key_of` reads; None where the row is missing or cannot be read."""
    try:
        return None if row is None else reader(row)
    except msgspec.DecodeError:
        return None


def names_touched(changes: Iterable[Change], bound: Mapping[str, Sequence[Binding]]) -> set[tuple[str, Name]]:
    """The documents (type, name) that local changes touch, under their old and new names."""
    found: set[tuple[str, Name]] = set()
    for change in changes:
        if not change.origin:
            found |= documents_of(change, bound)
    return found


def namings(
    changes: Iterable[Change], bound: Mapping[str, Sequence[Binding]]
) -> Iterator[tuple[str, Name | None, Name | None]]:
    """The changes by which documents get names or lose them: type, name before and name after, None for none."""
    for change in changes:
        for binding in bound.get(change.table, ()):
            before, after = read_name(binding.name_of, change.before), read_name(binding.name_of, change.after)
            if binding.child is None and before != after:
                yield binding.doctype.name, before, after


def links_touched(changes: Iterable[Change], bound: Mapping[str, Sequence[Binding]]) -> set[tuple[str, Name]]:
    """The documents (type, name) to which rows that were changed here link by now, as far as they can be read."""
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
    """Whether a row is one of the binding's, or cannot be read."""
    try:
        return binding.matches(row)
    except msgspec.DecodeError:
        return True


def has_name_in_key(child: ChildTable) -> bool:
    """Whether the key of a child row holds its document's name."""
    return set(child.parent_key) <= set(child.key)


def key_under(child: ChildTable, key: Name, moves: Mapping[Name, Name]) -> Name:
    """The key of a child row, where that holds the name of its document, once the document has its new name."""
    if not has_name_in_key(child) or len(key) != len(child.key):
        return key
    parts = dict(zip(child.key, key, strict=True))
    name = tuple(parts[column] for column in child.parent_key)
    return tuple((parts | dict(zip(child.parent_key, moves.get(name, name), strict=True))).values())


def clocks_under(doctype: DocumentType, clocks: Mapping[str, str], moves: Mapping[Name, Name]) -> dict[str, str]:
    """The clocks of single fields, once the document has its new name: those of child rows are told by their keys."""
    children = [child for child in doctype.children if has_name_in_key(child)]
    return (
        {_field_under(children, field, moves): clock for field, clock in clocks.items()} if children else dict(clocks)
    )


def _field_under(children: Iterable[ChildTable], field: str, moves: Mapping[Name, Name]) -> str:
    for child in children:
        if field.startswith(f"{child.field}/["):
            text = field.removeprefix(f"{child.field}/")
            key, end = json.JSONDecoder().raw_decode(text)
            return f"{child.field}/{name_text(key_under(child, tuple(key), moves))}{text[end:]}"
    return field
