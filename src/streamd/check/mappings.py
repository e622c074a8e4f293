"""Judges Document Type Mappings against the types of both sites. Pure.

What the file alone says wrong is told when it is read (`settings/mappings.py`); whether the values fit, with all other
columns, is judged by `check.columns`. A *problem* says that documents cannot become what the mapping says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from streamd.check.judging import Finding, Severity, problem, warning
from streamd.check.lookups import NOT_HERE, Place, Types, judge_circles, judge_links, judge_lookup
from streamd.check.values import judge_default
from streamd.common.spelling import did_you_mean
from streamd.model import Catalogue, ChildTable, DocumentType
from streamd.settings import CHILD_TABLE, DOCUMENT, FieldMapping, MappingSettings, SubscribedDoctype, reachable_mappings
from streamd.wire import DoctypeDescriptor


def judge_mappings(
    entries: Iterable[SubscribedDoctype],
    mappings: Mapping[str, MappingSettings],
    catalogue: Catalogue,
    descriptors: Sequence[DoctypeDescriptor],
) -> list[Finding]:
    """The mappings of a producer's `entries`, each once, with those that they lead to.

    What can be told of the producer's types is told of those that it described.
    """
    types = _types(entries, mappings, catalogue, descriptors)
    found = [finding for name in types.used for finding in _mapping(name, types)]
    return [*dict.fromkeys(found), *_namesakes(types), *judge_circles(types.used, mappings)]


def unmappable(
    entries: Iterable[SubscribedDoctype],
    mappings: Mapping[str, MappingSettings],
    catalogue: Catalogue,
    descriptors: Sequence[DoctypeDescriptor],
) -> dict[str, str]:
    """The producer's types whose documents cannot be applied here as long as their mapping is what it is; and why."""
    types = _types(entries, mappings, catalogue, descriptors)
    found: dict[str, str] = {}
    for name in types.used:
        wrong = [each for each in _mapping(name, types) if each.severity is Severity.PROBLEM]
        if wrong:
            found[mappings[name].remote_doctype] = "; ".join(
                f"{each.area}: {each.what} ({each.hint})" for each in wrong
            )
    return found


def _types(
    entries: Iterable[SubscribedDoctype],
    mappings: Mapping[str, MappingSettings],
    catalogue: Catalogue,
    descriptors: Sequence[DoctypeDescriptor],
) -> Types:
    starts = [entry.mapping for entry in entries if entry.mapping is not None and not entry.unsubscribe]
    used = dict.fromkeys(name for start in starts for name in reachable_mappings(mappings, start))
    return Types(mappings, tuple(used), catalogue, {each.doctype: each for each in descriptors})


def _namesakes(types: Types) -> Iterator[Finding]:
    """Types there that are called as a mapped type is here, and are not mapped themselves."""
    mapped = {types.mappings[name].remote_doctype for name in types.used}
    for name in types.used:
        given = types.mappings[name]
        if given.local_doctype in types.there and given.local_doctype not in mapped:
            yield warning(
                f"mappings.{name}",
                f"the producer has a type {given.local_doctype} as well, which is not mapped",
                f"where its documents are fetched for a link, they become {given.local_doctype} here, as those of "
                f"{given.remote_doctype} do",
                f"declare {given.local_doctype} here under another name, or map what links to it",
            )


def _mapping(name: str, types: Types) -> Iterator[Finding]:
    given = types.mappings[name]
    here, there = types.here.get(given.local_doctype), types.there.get(given.remote_doctype)
    if here is None:
        yield problem(
            f"mappings.{name}.local_doctype",
            f"{given.local_doctype} is no document type here",
            NOT_HERE,
            did_you_mean(given.local_doctype, list(types.here.doctypes), "declare it, or name one of this site's"),
        )
        return
    if there is None and types.there:
        yield warning(
            f"mappings.{name}.remote_doctype",
            f"the producer has not opened {given.remote_doctype} to this site, or does not have it",
            "its documents do not arrive, and its fields cannot be compared",
            f"fix the name, or ask the operator of the producer to offer and approve {given.remote_doctype}",
        )
    if here.single:
        yield problem(
            f"mappings.{name}.local_doctype",
            f"{here.name} is a single: its values are no columns that a mapping could name",
            "its one document is named as its type is, at each site",
            "give the type the same name at both sites, and subscribe to it without a mapping",
        )
        return
    place = Place(name, given, here, there, here.name)
    yield from _fields(place, types)
    for field in given.fields:
        child = here.child(field.local_fieldname)
        if child is not None:
            yield from _child_table(place, field, child, types)
        elif field.mapping_type == CHILD_TABLE:
            yield problem(
                place.area(field.local_fieldname),
                f"{here.name} has no child table of this name here",
                "its rows cannot be stored",
                did_you_mean(field.local_fieldname, [each.field for each in here.children], "name its field"),
            )


def _child_table(place: Place, field: FieldMapping, child: ChildTable, types: Types) -> Iterator[Finding]:
    """A field that is a child table here: the one there, and the mapping of the rows, if there is one."""
    area = place.area(field.local_fieldname)
    there = None
    if isinstance(place.there, DoctypeDescriptor) and field.remote_fieldname is not None:
        tables = {each.field: each for each in place.there.children}
        there = tables.get(field.remote_fieldname)
        if there is None:
            yield problem(
                area,
                f"{place.there.doctype} has no child table {field.remote_fieldname} there",
                "no rows come",
                did_you_mean(field.remote_fieldname, list(tables), "name its field"),
            )
    if field.mapping_type == DOCUMENT or field.remote_fieldname is None:
        yield problem(
            area,
            "is a child table here, which one value cannot fill",
            "a child table is filled from child rows",
            f'set mapping_type = "{CHILD_TABLE}", a mapping of the rows, and remote_fieldname',
        )
        return
    if field.mapping is None:
        return  # by the columns' names, which are compared with all others
    inner = types.mappings[field.mapping]
    if inner.local_doctype.casefold() not in {each.casefold() for each in _called(child)}:
        yield problem(
            f"mappings.{field.mapping}.local_doctype",
            f"{inner.local_doctype} is not the child table {child.field} of {place.what}, which {place.mapping} fills",
            "its rows would be mapped by a mapping for other rows",
            f"write local_doctype = {' or '.join(repr(each) for each in _called(child))}, or name another mapping",
        )
    yield from _fields(Place(field.mapping, inner, child, there, f"{place.what}.{child.field}"), types)


def _called(child: ChildTable) -> tuple[str, ...]:
    """What a mapping may call a child table: its table, the DocType of that, or the field."""
    return tuple(dict.fromkeys((child.table.removeprefix("tab"), child.table, child.field)))


def _fields(place: Place, types: Types) -> Iterator[Finding]:
    for field in place.given.fields:
        if _is_child_table(place, field):
            continue
        fault = _local_field(place, field) or _remote_field(place, field)
        if fault is not None:
            yield fault
            continue
        column = next(column for column in place.here.columns if column.name == field.local_fieldname)
        if field.default_value is not None:
            yield from judge_default(place.area(column.name), column, field.default_value)
        if field.mapping_type == DOCUMENT:
            yield from judge_lookup(place, field, types)
    yield from judge_links(place, types)


def _is_child_table(place: Place, field: FieldMapping) -> bool:
    ours = isinstance(place.here, DocumentType) and place.here.child(field.local_fieldname) is not None
    return ours or field.mapping_type == CHILD_TABLE


def _local_field(place: Place, field: FieldMapping) -> Finding | None:
    """A field here that is not there, or that no mapping can write."""
    here, name = place.here, field.local_fieldname
    area = place.area(name)
    column = next((column for column in here.columns if column.name == name), None)
    if column is None:
        names = [each.name for each in here.columns]
        if isinstance(here, DocumentType):
            names += [child.field for child in here.children]
        what = "excluded in its configuration" if name in here.excluded else f"no field of {place.what} here"
        hint = did_you_mean(name, names, "name one of its fields")
        return problem(area, f"{name} is {what}", "the value cannot be stored", hint)
    if column.generated:
        return problem(
            area,
            f"{here.table}.{name} is generated, and cannot be written",
            "the database computes it",
            "remove this field",
        )
    if isinstance(here, ChildTable) and name in (*here.parent_key, *(each for each, _ in here.where)):
        return problem(
            area,
            f"{name} says which document a row of {place.what} belongs to",
            "it is set from the document",
            "remove this field",
        )
    if name in here.key and not _same_key(place, field):
        return problem(
            area,
            f"{place.what} is named by {', '.join(here.key)}, and a name is never mapped",
            "documents are identified by their names at the producer",
            f"remove this field; for names of this site's own set use_same_name = false, and naming for {place.what}",
        )
    return None


def _same_key(place: Place, field: FieldMapping) -> bool:
    """Whether a mapped key says what holds anyway: the name's part there, at the same position here."""
    if place.there is None:
        return field.remote_fieldname is not None and field.mapping_type is None
    pairs = zip(place.here.key, place.there.key, strict=False)
    return (field.local_fieldname, field.remote_fieldname) in set(pairs)


def _remote_field(place: Place, field: FieldMapping) -> Finding | None:
    """A field there that the producer does not have."""
    there, name = place.there, field.remote_fieldname
    if there is None or name is None or name in place.fields_there:
        return None
    area = place.area(field.local_fieldname)
    if isinstance(there, DoctypeDescriptor) and name in {child.field for child in there.children}:
        return problem(
            area,
            f"{name} is a child table there, and {field.local_fieldname} is none here",
            "rows cannot become one value",
            "name a column there, or a child table here",
        )
    what = there.doctype if isinstance(there, DoctypeDescriptor) else there.field
    return problem(
        area,
        f"{name} is no field of {what} there",
        "no value ever arrives",
        did_you_mean(name, place.fields_there, "name one of its fields"),
    )
