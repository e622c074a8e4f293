"""Judges how a mapping links documents: what is looked for, by what values, and what its links lead to. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from streamd.apply.event.lookup import Filter, lookup_of
from streamd.check.judging import Finding, problem, warning
from streamd.common.spelling import did_you_mean, similar_names
from streamd.model import Catalogue, ChildTable, DocumentType, Link
from streamd.settings import DOCUMENT, FieldMapping, MappingSettings, is_lookup, lookup_mappings
from streamd.wire import ChildDescriptor, DoctypeDescriptor, LinkDescriptor

NOT_HERE = "its documents cannot be stored here, so documents that link to them are parked"


@dataclass(frozen=True, slots=True)
class Types:
    """What is known of both sites: all mappings, those in use, our types, and the producer's as far as it told."""

    mappings: Mapping[str, MappingSettings]
    used: Sequence[str]
    here: Catalogue
    there: Mapping[str, DoctypeDescriptor]

    def becomes(self, remote: str) -> str | None:
        """The type here that documents of a type there become; None where they cannot be put here."""
        by_mapping = [self.mappings[name] for name in self.used if self.mappings[name].remote_doctype == remote]
        local = by_mapping[0].local_doctype if by_mapping else remote
        return local if local in self.here else None


@dataclass(frozen=True, slots=True)
class Place:
    """The two tables that a mapping stands between: parents, or child tables. `there` is None before it is told."""

    mapping: str
    given: MappingSettings
    here: DocumentType | ChildTable
    there: DoctypeDescriptor | ChildDescriptor | None
    what: str
    """What the rows are called: the type's name, or the child table's field."""

    def area(self, field: str) -> str:
        return f"mappings.{self.mapping}.{field}"

    @property
    def carries(self) -> bool:
        """Whether fields that are not mapped keep their names."""
        return self.given.unmapped == "carry"

    @property
    def fields_there(self) -> list[str]:
        return [] if self.there is None else [column.name for column in self.there.columns]


def judge_lookup(place: Place, field: FieldMapping, types: Types) -> Iterator[Finding]:
    """A field of mapping type Document: what it links to here, and what is looked for there."""
    area = place.area(field.local_fieldname)
    inner = types.mappings[field.mapping or ""]
    if not is_lookup(field):
        yield warning(
            area,
            f"default_value is set, so no {inner.remote_doctype} is searched for",
            "the field always gets the default value",
            "remove default_value, or the mapping",
        )
        return
    links = [link for link in place.here.links if link.columns == (field.local_fieldname,)]
    if not any(link.doctype in (None, inner.local_doctype) for link in links):
        leads = f"links to {links[0].doctype}" if links else "is no link"
        yield problem(
            area,
            f"{field.local_fieldname} {leads} here, and {field.mapping} makes documents of {inner.local_doctype}",
            "the document that is found could not be linked to",
            f'declare links = {{ {field.local_fieldname} = "{inner.local_doctype}" }}, or name another mapping',
        )
    for link in links:
        yield from _dynamic(area, place, link, inner.local_doctype)
    target = types.there.get(inner.remote_doctype)
    lookup = lookup_of(field, inner, place.fields_there)
    for name, each in lookup.filters.items():
        if target is not None and name not in {column.name for column in target.columns}:
            yield problem(
                area,
                f"{name} is no field of {target.doctype} there",
                "it cannot be searched by",
                did_you_mean(name, [column.name for column in target.columns], "name one of its fields"),
            )
        yield from _filter(area, name, each, place, types)


def _dynamic(area: str, place: Place, link: Link, doctype: str) -> Iterator[Finding]:
    """A dynamic link whose other column has to say the type of what is found."""
    column = link.type_column
    given = {field.local_fieldname: field for field in place.given.fields}
    if column is not None and (column not in given or given[column].remote_fieldname is not None):
        yield warning(
            area,
            f"{column} must say that {link.columns[0]} leads to {doctype}",
            "otherwise the document that is found counts as one of another type",
            f'map it: {{ local_fieldname = "{column}", default_value = "{doctype}" }}',
        )


def _filter(area: str, name: str, each: Filter, place: Place, types: Types) -> Iterator[Finding]:
    """The value of one filter: an expression, a field, or a constant."""
    if each.fault:
        yield problem(area, f"{name}: {each.fault}", "nothing can be searched for", "fix the expression")
        return
    if place.there is None:
        return
    if each.expression is None:
        close = similar_names(each.constant, place.fields_there) if isinstance(each.constant, str) else []
        if close:
            yield warning(
                area,
                f"{name} must be the text {each.constant!r}, since no field there has this name",
                "every document finds the same one",
                f"did you mean {' or '.join(close)}?",
            )
        return
    for field in sorted(each.reads - {*place.fields_there}):
        yield problem(
            area,
            f"{name}: {field} is no field of the document there",
            "the expression has no value",
            did_you_mean(field, place.fields_there, "name one of its fields"),
        )
    for hop in sorted(each.expression.hops.keys() & {*place.fields_there}):
        yield from _hop(area, f"{name}: doc.{hop}", _link_of(place, (hop,)), each.expression.hops[hop], types)


def _hop(area: str, what: str, link: LinkDescriptor | None, fields: Iterable[str], types: Types) -> Iterator[Finding]:
    """Fields of a document that the document there links to."""
    if link is None or link.doctype is None:
        yield problem(
            area,
            f"{what} is no link to one type there",
            "there is no linked document to read a field of",
            "use a field of the document itself, or one that is a link",
        )
        return
    target = types.there.get(link.doctype)
    for field in sorted(fields) if target is not None else ():
        names = [column.name for column in target.columns] if target is not None else []
        if field not in names:
            yield problem(
                area,
                f"{what}.{field}: {link.doctype} has no such field there",
                "the expression has no value",
                did_you_mean(field, names, "name one of its fields"),
            )


def judge_links(place: Place, types: Types) -> Iterator[Finding]:
    """Links here that get values from there: they have to name documents that become what the link leads to."""
    if place.there is None:
        return
    mapped = {field.local_fieldname: field for field in place.given.fields}
    for link in place.here.links:
        given = [mapped[column] for column in link.columns if column in mapped]
        if link.doctype is None or len(given) not in (0, len(link.columns)):
            continue
        sources = tuple(field.remote_fieldname or "" for field in given) or link.columns
        if any(field.mapping_type is not None for field in given) or "" in sources:
            continue
        area, said = place.area(link.columns[0]), ", ".join(sources)
        theirs = _link_of(place, sources)
        if theirs is None or theirs.doctype is None:
            if given:
                yield _no_link(area, link.doctype, said)
            continue
        becomes = types.becomes(theirs.doctype)
        # A column that is carried over is judged as it is without a mapping: what is not here is said elsewhere.
        if becomes != link.doctype and (given or (becomes is not None and place.carries)):
            comes = f"becomes {becomes} here" if becomes is not None else "is not here"
            yield problem(
                area,
                f"links to {link.doctype} here, and {said} to {theirs.doctype} there, which {comes}",
                NOT_HERE if becomes is None else "it would link to a document of another type",
                f"subscribe to {theirs.doctype} by a mapping to {link.doctype}, or look for it "
                f'(mapping_type = "{DOCUMENT}")',
            )


def _no_link(area: str, doctype: str, said: str) -> Finding:
    return warning(
        area,
        f"links to {doctype} here, and {said} is no link to one type there",
        f"its values are taken for names of {doctype}, and documents that are not here cannot be fetched",
        f'set mapping_type = "{DOCUMENT}" with remote_value_filters, or a default_value alone',
    )


def _link_of(place: Place, columns: tuple[str, ...]) -> LinkDescriptor | None:
    links = () if place.there is None else place.there.links
    return next((link for link in links if tuple(link.columns) == columns), None)


def judge_circles(used: Sequence[str], mappings: Mapping[str, MappingSettings]) -> Iterator[Finding]:
    """Documents that are looked for, for which others are looked for, and so on round in a circle.

    One that leads to another of its own type, as an employee does to a manager, is none.
    """
    said: set[frozenset[str]] = set()
    for name in used:
        way = _way_back(name, mappings)
        if len(way) > 2 and frozenset(way) not in said:
            said.add(frozenset(way))
            yield warning(
                f"mappings.{name}",
                f"searches form a circle: {' → '.join(way)}",
                "each document that is found starts another search, until max_dependencies ends it",
                "give one of the fields a default_value, or leave it out",
            )


def _way_back(start: str, mappings: Mapping[str, MappingSettings]) -> list[str]:
    """The shortest way from a mapping over those that it looks for back to itself; empty where there is none."""
    ways = [[start]]
    seen = {start}
    while ways:
        way = ways.pop(0)
        for inner in lookup_mappings(mappings, way[-1]):
            if inner == start and len(way) > 1:
                return [*way, start]
            if inner not in seen:
                seen.add(inner)
                ways.append([*way, inner])
    return []
