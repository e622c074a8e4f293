"""Document Type Mappings as the file states them: what can be judged without a database, and where they lead. Pure.

A mapping *leads to* the mappings of its fields: through a Child Table to that of the rows, through a Document to that
of the document that is looked for. A Document with a default value looks for nothing, so it leads nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from streamd.common.spelling import near
from streamd.errors import Problem
from streamd.settings.models import FieldMapping, MappingSettings, ProducerSettings, Settings, SubscribedDoctype

CHILD_TABLE = "Child Table"
DOCUMENT = "Document"

Mappings = Mapping[str, MappingSettings]


def remote_doctype(entry: SubscribedDoctype, mappings: Mappings) -> str:
    """What the producer calls the type of this entry."""
    return entry.doctype if entry.mapping is None else mappings[entry.mapping].remote_doctype


def looks_for(field: FieldMapping) -> bool:
    """Whether a document is looked for at the producer to fill this field."""
    return field.mapping_type == DOCUMENT and field.default_value is None


def reached(mappings: Mappings, name: str) -> list[str]:
    """The mapping `name`, and those of all documents that are looked for from there, however far; each once."""
    found: dict[str, None] = {}
    waiting = [name]
    while waiting:
        current = waiting.pop(0)
        if current in mappings and current not in found:
            found[current] = None
            waiting += looked_for(mappings, current)
    return list(found)


def looked_for(mappings: Mappings, name: str) -> list[str]:
    """The mappings of the documents that are looked for, for a document or for its child rows; each once."""
    return list(dict.fromkeys(each.mapping for each in _looking(mappings, name, ()) if each.mapping is not None))


def lookups(entry: SubscribedDoctype, mappings: Mappings) -> list[str]:
    """The further types of the producer's of which documents are looked for, for documents of this entry; sorted."""
    if entry.mapping is None:
        return []
    others = {mappings[each].remote_doctype for each in reached(mappings, entry.mapping)}
    return sorted(others - {remote_doctype(entry, mappings)})


def _looking(mappings: Mappings, name: str, within: tuple[str, ...]) -> Iterator[FieldMapping]:
    """The fields that look for a document: those of the mapping, and those of its child rows."""
    if name not in mappings or name in within:
        return
    for field in mappings[name].fields:
        if looks_for(field):
            yield field
        elif field.mapping_type == CHILD_TABLE and field.mapping is not None:
            yield from _looking(mappings, field.mapping, (*within, name))


def mapping_problems(settings: Settings) -> list[Problem]:
    """What is wrong with `[mappings]`, and with the entries of producers that name one."""
    problems: list[Problem] = []
    mappings = settings.mappings
    for name, mapping in mappings.items():
        problems += _twice(name, mapping)
        for field in mapping.fields:
            problems += _field(f"mappings.{name}.{field.local_fieldname}", field, mappings)
        problems += _child_tables(name, mappings)
    for name, producer in settings.producers.items():
        for entry in producer.doctypes:
            problems += _entry(f"producers.{name}.doctypes.{entry.doctype}", entry, settings)
    if problems:
        return problems
    # Where mappings lead can be told only once every name in them is right.
    for name, producer in settings.producers.items():
        problems += _one_to_one(f"producers.{name}.doctypes", producer, mappings)
    return problems


def _twice(name: str, mapping: MappingSettings) -> list[Problem]:
    fields = [field.local_fieldname for field in mapping.fields]
    return [
        Problem(f"mappings.{name}.{field}", "is mapped twice", "keep one of the two: a field has one value")
        for field in dict.fromkeys(fields)
        if fields.count(field) > 1
    ]


def _field(where: str, field: FieldMapping, mappings: Mappings) -> Iterator[Problem]:
    kind = field.mapping_type
    if kind is not None and field.mapping is None:
        yield Problem(where, f'mapping_type = "{kind}" needs a mapping', "name it: mapping = …")
    if kind is None and field.mapping is not None:
        yield Problem(
            where, "has a mapping, and no mapping_type", 'say which it is: mapping_type = "Child Table", or "Document"'
        )
    if field.mapping is not None and field.mapping not in mappings:
        yield _unknown(where, field.mapping, mappings)
    if kind == CHILD_TABLE:
        yield from _child_table_field(where, field)
    elif kind is None and field.remote_fieldname is None and field.default_value is None:
        yield Problem(where, "gets no value", "set remote_fieldname, or default_value, or both")
    if field.remote_value_filters and kind != DOCUMENT:
        yield Problem(
            where, 'has remote_value_filters, and is no mapping_type = "Document"', "set mapping_type, or remove them"
        )
    if looks_for(field) and not field.remote_value_filters:
        yield Problem(
            where,
            "does not say which document is meant",
            'set remote_value_filters = { "field of that document" = "field of this one" }, or default_value',
        )


def _child_table_field(where: str, field: FieldMapping) -> Iterator[Problem]:
    if field.remote_fieldname is None:
        yield Problem(where, "does not say which child table it gets its rows from", "set remote_fieldname")
    if field.default_value is not None:
        yield Problem(
            where,
            "is a child table, which has no default value",
            "remove default_value; the mapping of its rows may have default values",
        )


def _child_tables(name: str, mappings: Mappings) -> Iterator[Problem]:
    """Child rows have no child tables of their own; and a mapping that leads back to itself would never end."""
    for field in mappings[name].fields:
        inner = field.mapping
        if field.mapping_type != CHILD_TABLE or inner is None or inner not in mappings:
            continue
        where = f"mappings.{name}.{field.local_fieldname}"
        if circle := _circle(name, inner, mappings):
            yield Problem(
                where,
                f"leads round in a circle: {' → '.join(circle)}",
                "name the mapping of the child rows, not that of the document",
            )
        elif any(each.mapping_type == CHILD_TABLE for each in mappings[inner].fields):
            yield Problem(
                where,
                f"{inner} maps a child table itself, and child rows have none",
                f'remove the mapping_type = "{CHILD_TABLE}" from mappings.{inner}, or name another mapping',
            )


def _circle(start: str, inner: str, mappings: Mappings) -> list[str]:
    """The way from `start` through `inner` back to `start`, through Child Tables; empty where none leads back."""
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


def _entry(where: str, entry: SubscribedDoctype, settings: Settings) -> Iterator[Problem]:
    if entry.mapping is None:
        return
    mapping = settings.mappings.get(entry.mapping)
    if mapping is None:
        yield _unknown(where, entry.mapping, settings.mappings)
        return
    if mapping.local_doctype != entry.doctype:
        yield Problem(
            where,
            f"its mapping {entry.mapping} makes documents of {mapping.local_doctype}",
            f'write doctype = "{mapping.local_doctype}" (the local type), or name another mapping',
        )
    if settings.site.catalog != "tables" or entry.unsubscribe:
        return
    for name in reached(settings.mappings, entry.mapping):
        local = settings.mappings[name].local_doctype
        if local not in settings.doctypes and local != entry.doctype:  # the entry's own is judged with the producer
            yield Problem(
                f"mappings.{name}.local_doctype",
                f"{local} is no document type of this site",
                f"declare [doctypes.{local}], or fix the name",
            )


def _one_to_one(where: str, producer: ProducerSettings, mappings: Mappings) -> Iterator[Problem]:
    """A type of the producer's becomes one type here, by one mapping; and two of them never become one."""
    ways: dict[tuple[str, str, str | None], None] = {}
    for entry in producer.doctypes:
        if entry.unsubscribe:
            continue
        if entry.mapping is None:
            ways[entry.doctype, entry.doctype, None] = None
        for name in reached(mappings, entry.mapping) if entry.mapping is not None else ():
            ways[mappings[name].remote_doctype, mappings[name].local_doctype, name] = None
    by_remote: dict[str, tuple[str, str | None]] = {}
    by_local: dict[str, tuple[str, str | None]] = {}
    for remote, local, mapping in ways:
        first, by = by_remote.setdefault(remote, (local, mapping))
        if (first, by) != (local, mapping):
            what = f"{remote} there becomes {first} here {_by(by)}, and {local} {_by(mapping)}"
            yield Problem(where, what, f"let one mapping say what becomes of {remote}, wherever it is needed")
        other, by = by_local.setdefault(local, (remote, mapping))
        if other != remote:
            what = f"both {other} ({_by(by)}) and {remote} ({_by(mapping)}) there become {local} here"
            yield Problem(where, what, f"documents of equal names would be one: keep one way to {local}")


def _by(mapping: str | None) -> str:
    return "without a mapping" if mapping is None else f"by {mapping}"


def _unknown(where: str, name: str, mappings: Iterable[str]) -> Problem:
    close = near(name, mappings)
    hint = f"did you mean {' or '.join(close)}?" if close else f'write [mappings."{name}"], or fix the name'
    return Problem(where, f"there is no mapping {name}", hint)
