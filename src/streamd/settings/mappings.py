"""Validates Document Type Mappings without a database, and follows the references between them. Pure.

A mapping refers to the mappings of its fields. A *Child Table* field refers to the mapping of its rows. A *lookup*, a
Document field without a default value, refers to the mapping of the document that it finds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from streamd.common.spelling import similar_names
from streamd.errors import Problem
from streamd.settings.expectations import toml_key
from streamd.settings.models import FieldMapping, MappingSettings, ProducerSettings, Settings, SubscribedDoctype

CHILD_TABLE = "Child Table"
DOCUMENT = "Document"

Mappings = Mapping[str, MappingSettings]


def remote_doctype(entry: SubscribedDoctype, mappings: Mappings) -> str:
    """The producer's name for the type of this entry."""
    return entry.doctype if entry.mapping is None else mappings[entry.mapping].remote_doctype


def is_lookup(field: FieldMapping) -> bool:
    """Whether the value of this field is a document that is found at the producer by its values."""
    return field.mapping_type == DOCUMENT and field.default_value is None


def reachable_mappings(mappings: Mappings, name: str) -> list[str]:
    """The mapping `name`, and all mappings that lookups lead to from there, directly or not; each once."""
    found: dict[str, None] = {}
    waiting = [name]
    while waiting:
        current = waiting.pop(0)
        if current in mappings and current not in found:
            found[current] = None
            waiting += lookup_mappings(mappings, current)
    return list(found)


def lookup_mappings(mappings: Mappings, name: str) -> list[str]:
    """The mappings that lookups of a document and of its child rows refer to; each once."""
    return list(dict.fromkeys(each.mapping for each in _find_lookups(mappings, name, ()) if each.mapping is not None))


def lookup_doctypes(entry: SubscribedDoctype, mappings: Mappings) -> list[str]:
    """The producer's types that lookups for this entry search, besides the entry's own; sorted."""
    if entry.mapping is None:
        return []
    others = {mappings[each].remote_doctype for each in reachable_mappings(mappings, entry.mapping)}
    return sorted(others - {remote_doctype(entry, mappings)})


def _find_lookups(mappings: Mappings, name: str, within: tuple[str, ...]) -> Iterator[FieldMapping]:
    """The lookups of a mapping, and those of its child rows."""
    if name not in mappings or name in within:
        return
    for field in mappings[name].fields:
        if is_lookup(field):
            yield field
        elif field.mapping_type == CHILD_TABLE and field.mapping is not None:
            yield from _find_lookups(mappings, field.mapping, (*within, name))


def mapping_problems(settings: Settings) -> list[Problem]:
    """The faults of `[mappings]`, and of the producers' entries that name a mapping."""
    problems: list[Problem] = []
    mappings = settings.mappings
    for name, mapping in mappings.items():
        problems += _duplicate_fields(name, mapping)
        for field in mapping.fields:
            problems += _field_problems(f"mappings.{name}.{field.local_fieldname}", field, mappings)
        problems += _nesting_problems(name, mappings)
    for name, producer in settings.producers.items():
        for entry in producer.doctypes:
            problems += _entry_problems(f"producers.{name}.doctypes.{entry.doctype}", entry, settings)
    if problems:
        return problems
    # References can be followed only if every name in them is right.
    for name, producer in settings.producers.items():
        problems += _pairing_problems(f"producers.{name}.doctypes", producer, mappings)
    return problems


def _duplicate_fields(name: str, mapping: MappingSettings) -> list[Problem]:
    fields = [field.local_fieldname for field in mapping.fields]
    return [
        Problem(f"mappings.{name}.{field}", "is mapped twice", "keep one of the two entries")
        for field in dict.fromkeys(fields)
        if fields.count(field) > 1
    ]


def _field_problems(where: str, field: FieldMapping, mappings: Mappings) -> Iterator[Problem]:
    kind = field.mapping_type
    if kind is not None and field.mapping is None:
        yield Problem(where, f'mapping_type = "{kind}" needs a mapping', "name the mapping: mapping = …")
    if kind is None and field.mapping is not None:
        yield Problem(where, "has a mapping but no mapping_type", 'set mapping_type = "Child Table" or "Document"')
    if field.mapping is not None and field.mapping not in mappings:
        yield _unknown_mapping(where, field.mapping, mappings)
    if kind == CHILD_TABLE:
        yield from _child_table_problems(where, field)
    elif kind is None and field.remote_fieldname is None and field.default_value is None:
        yield Problem(where, "has no source for its value", "set remote_fieldname, default_value, or both")
    if field.remote_value_filters and kind != DOCUMENT:
        yield Problem(
            where, 'has remote_value_filters without mapping_type = "Document"', "set mapping_type, or remove them"
        )
    if is_lookup(field) and not field.remote_value_filters:
        yield Problem(
            where,
            "does not say which document to find",
            'set remote_value_filters = { "field of that document" = "field of this one" }, or default_value',
        )


def _child_table_problems(where: str, field: FieldMapping) -> Iterator[Problem]:
    if field.remote_fieldname is None:
        yield Problem(where, "does not name the producer's child table", "set remote_fieldname")
    if field.default_value is not None:
        yield Problem(
            where,
            "is a child table, and child tables have no default value",
            "remove default_value; set default values in the mapping of its rows",
        )


def _nesting_problems(name: str, mappings: Mappings) -> Iterator[Problem]:
    """Rejects child tables of child rows, and mappings that refer to themselves through child tables."""
    for field in mappings[name].fields:
        inner = field.mapping
        if field.mapping_type != CHILD_TABLE or inner is None or inner not in mappings:
            continue
        where = f"mappings.{name}.{field.local_fieldname}"
        if cycle := _find_cycle(name, inner, mappings):
            yield Problem(
                where,
                f"refers to itself: {' → '.join(cycle)}",
                "name the mapping of the child rows, not the mapping of the document",
            )
        elif any(each.mapping_type == CHILD_TABLE for each in mappings[inner].fields):
            yield Problem(
                where,
                f"{inner} maps a child table, and child rows have no child tables",
                f'remove the mapping_type = "{CHILD_TABLE}" from mappings.{inner}, or name another mapping',
            )


def _find_cycle(start: str, inner: str, mappings: Mappings) -> list[str]:
    """The path from `start` through `inner` back to `start` along child tables; empty if there is none."""
    waiting = [[start, inner]]
    seen = set()
    while waiting:
        way = waiting.pop()
        if way[-1] == start:
            return way
        if way[-1] not in seen and way[-1] in mappings:
            seen.add(way[-1])
            waiting += [
                [*way, field.mapping]
                for field in mappings[way[-1]].fields
                if field.mapping_type == CHILD_TABLE and field.mapping is not None
            ]
    return []


def _entry_problems(where: str, entry: SubscribedDoctype, settings: Settings) -> Iterator[Problem]:
    if entry.mapping is None:
        return
    mapping = settings.mappings.get(entry.mapping)
    if mapping is None:
        yield _unknown_mapping(where, entry.mapping, settings.mappings)
        return
    if mapping.local_doctype != entry.doctype:
        yield Problem(
            where,
            f"has the mapping {entry.mapping}, whose local type is {mapping.local_doctype}",
            f'write doctype = "{mapping.local_doctype}" (the local type), or name another mapping',
        )
    if settings.site.catalog != "tables" or entry.unsubscribe:
        return
    for name in reachable_mappings(settings.mappings, entry.mapping):
        local = settings.mappings[name].local_doctype
        if local not in settings.doctypes and local != entry.doctype:  # `loading` checks the entry's own type
            yield Problem(
                f"mappings.{name}.local_doctype",
                f"{local} is not a document type of this site",
                f"declare [doctypes.{local}], or fix the name",
            )


def _pairing_problems(where: str, producer: ProducerSettings, mappings: Mappings) -> Iterator[Problem]:
    """Requires that each type of the producer has one local type and one mapping, and no other type shares them."""
    ways: dict[tuple[str, str, str | None], None] = {}
    for entry in producer.doctypes:
        if entry.unsubscribe:
            continue
        if entry.mapping is None:
            ways[entry.doctype, entry.doctype, None] = None
        for name in reachable_mappings(mappings, entry.mapping) if entry.mapping is not None else ():
            ways[mappings[name].remote_doctype, mappings[name].local_doctype, name] = None
    by_remote: dict[str, tuple[str, str | None]] = {}
    by_local: dict[str, tuple[str, str | None]] = {}
    for remote, local, mapping in ways:
        first, by = by_remote.setdefault(remote, (local, mapping))
        if (first, by) != (local, mapping):
            targets = f"{first} ({_describe_mapping(by)}) and {local} ({_describe_mapping(mapping)})"
            yield Problem(where, f"{remote} has two targets: {targets}", f"use one mapping for {remote} everywhere")
        other, by = by_local.setdefault(local, (remote, mapping))
        if other != remote:
            sources = f"{other} ({_describe_mapping(by)}) and {remote} ({_describe_mapping(mapping)})"
            hint = f"documents with equal names would collide: map one type to {local} only"
            yield Problem(where, f"{local} has two sources: {sources}", hint)


def _describe_mapping(mapping: str | None) -> str:
    return "without a mapping" if mapping is None else f"by {mapping}"


def _unknown_mapping(where: str, name: str, mappings: Iterable[str]) -> Problem:
    close = similar_names(name, mappings)
    hint = f"did you mean {' or '.join(close)}?" if close else f"add [mappings.{toml_key(name)}], or fix the name"
    return Problem(where, f"the mapping {name} does not exist", hint)
