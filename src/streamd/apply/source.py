"""A producer as the applier knows it: what it calls its types, and which of its documents get names of this site's own.

Between decoding and writing, events are in *remote form*: their types and fields are called as they are here, and
documents still have the producer's names. A `Ref` is a document in that form.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from streamd.apply.event.columns import MappedColumns
from streamd.apply.event.mapping import MappedType
from streamd.apply.localnames.naming import is_named_here
from streamd.model import Catalogue, Name
from streamd.settings import ProducerSettings
from streamd.wire import ChildDescriptor, DoctypeDescriptor

Ref = tuple[str, Name]
"""A document: its type as it is called here, and its name; until it is written, the one that it has at the producer."""

ColumnsThere = Mapping[tuple[str, str], frozenset[str]]
"""The columns here that hold what the producer says, by the type here and its child field (empty: the parent's row)."""


@dataclass(frozen=True, slots=True)
class Source:
    """A producer as the applier knows it: its name in the configuration, its UUID, and its bounds for fetching.

    `subscribed` are the types that we want of it, as they are called here; `subscriber` is who owns here what comes
    from it, if anybody does. `paused` are the types whose documents cannot be applied as long as both sites are what
    they are, with the reasons: their events are held without being tried. `mapped` has, by the producer's types, those
    that come through a Document Type Mapping. `renamed` are the types whose documents get names of this site's own.
    `on_leave` has the types that we want under a condition: whether a document that ceases to satisfy it is deleted
    here, or kept. `columns` are those that the producer has too: all others are this site's own. A source is made at
    each handshake, so that what was mended goes on. `here` is this site's UUID.
    """

    name: str
    site: str
    max_documents: int
    max_depth: int
    subscribed: frozenset[str] = frozenset()
    subscriber: str | None = None
    paused: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    mapped: Mapping[str, MappedType] = field(default_factory=dict)
    renamed: frozenset[str] = frozenset()
    on_leave: Mapping[str, str] = field(default_factory=dict)
    columns: ColumnsThere = field(default_factory=dict)
    here: str = ""

    def closed(self, catalogue: Catalogue) -> frozenset[str]:
        """The types of which no link makes us fetch a document."""
        return (catalogue.guarded - self.subscribed) | self.paused.keys()

    def local(self, doctype: str) -> str:
        """What a type of the producer is called here."""
        mapped = self.mapped.get(doctype)
        return doctype if mapped is None else mapped.local.name

    def remote(self, doctype: str) -> str:
        """What the producer calls a type of this site."""
        return next((there for there, mapped in self.mapped.items() if mapped.local.name == doctype), doctype)


def columns_there(descriptors: Iterable[DoctypeDescriptor], mapped: Mapping[str, MappedType]) -> ColumnsThere:
    """The columns here that a producer with these types says something of. What it computes itself never travels."""
    found: dict[tuple[str, str], frozenset[str]] = {}
    # Last those that are mapped: a type here may be called as another one there.
    for there in sorted(descriptors, key=lambda each: each.doctype in mapped):
        one = mapped.get(there.doctype)
        if one is None:
            found[there.doctype, ""] = _given(there)
            found |= {(there.doctype, child.field): _given(child) for child in there.children}
        else:
            found[one.local.name, ""] = _mapped(one.columns, there)
            for rows in one.children.values():
                found[one.local.name, rows.local.field] = _mapped(rows.columns, rows.remote)
    return found


def columns_left_out(there: ColumnsThere, catalogue: Catalogue) -> dict[str, set[str]]:
    """What a producer has and there is no column for here, by type: `column`, or `child field/column`.

    What is excluded here is not wanted.
    """
    found: dict[str, set[str]] = {}
    for (name, field_), columns in there.items():
        doctype = catalogue.get(name)
        here = doctype.child(field_) if doctype is not None and field_ else doctype
        if here is not None:
            missing = columns - {column.name for column in here.columns} - set(here.excluded)
            found.setdefault(name, set()).update(f"{field_}/{each}" if field_ else each for each in missing)
    return found


def _given(there: DoctypeDescriptor | ChildDescriptor) -> frozenset[str]:
    return frozenset(column.name for column in there.columns if not column.generated)


def _mapped(columns: MappedColumns, there: DoctypeDescriptor | ChildDescriptor) -> frozenset[str]:
    given = _given(there)
    filled = {name for name, source in columns.sources.items() if source in given}
    return frozenset(filled | {lookup.fieldname for lookup in columns.lookups})


def own_names(settings: ProducerSettings, catalogue: Catalogue) -> frozenset[str]:
    """The types whose documents get names of this site's own when they come from this producer.

    A document that several columns name says something with each of them: it keeps its name. So does a single, and
    what comes for a link alone, where nothing says how such a document would be named here.
    """
    said = {entry.doctype: settings.same_name(entry) for entry in settings.doctypes}
    return frozenset(
        name
        for name, doctype in catalogue.doctypes.items()
        if not doctype.single
        and len(doctype.key) == 1
        and (said[name] is False if name in said else settings.use_same_name is False and is_named_here(doctype))
    )
