"""Compares a document type at a producer with ours: will its documents fit? Pure.

A *problem* says that some values of the producer's cannot be here what they are there, and would be changed without a
word; or that documents cannot be applied at all. For a *warning* the database may refuse single values: their
documents are parked, with its words.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from streamd.apply.event.columns import MappedColumns
from streamd.apply.event.mapping import MappedType
from streamd.check.judging import Finding, Severity, ok, problem, warning
from streamd.check.sizes import declared
from streamd.check.values import judge_values, kind_of
from streamd.model import Catalogue, ChildTable, DocumentType, Kind
from streamd.wire import ChildDescriptor, DoctypeDescriptor

NO_MAPPINGS: Mapping[str, MappedType] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class _Pairing:
    """Which columns of the producer's fill which of ours.

    `sources` is by the column here. `left_out` are those there that fill none. `given` are those here that need no
    value of the producer's, and `filled` those that get a default value where it has none. `mapping` is the name of
    the mapping that says so, where one does.
    """

    sources: Mapping[str, str]
    left_out: Sequence[str]
    given: frozenset[str]
    filled: frozenset[str] = frozenset()
    mapping: str = ""


def judge_descriptors(
    name: str,
    subscribed: Sequence[str],
    catalogue: Catalogue,
    descriptors: Sequence[DoctypeDescriptor],
    *,
    enforced: bool = True,
    mapped: Mapping[str, MappedType] = NO_MAPPINGS,
    renamed: Collection[str] = (),
) -> list[Finding]:
    """Our types against those of the producer `name`: what will be left out, refused, or changed.

    `enforced`: our database holds columns to the types that they are declared with; SQLite does not. `mapped` are the
    mapped types, by the type there, and `renamed` the types there whose documents get names of this site's own.
    """
    found = []
    for there in descriptors:
        area = f"producers.{name}.{there.doctype}"
        found += _descriptor(area, catalogue, there, mapped, renamed, enforced=enforced)
    missing = set(subscribed) - catalogue.doctypes.keys()
    return found + [problem(f"producers.{name}", f"{each} is no document type here") for each in sorted(missing)]


def unfit(
    catalogue: Catalogue,
    descriptors: Sequence[DoctypeDescriptor],
    *,
    enforced: bool = True,
    mapped: Mapping[str, MappedType] = NO_MAPPINGS,
    renamed: Collection[str] = (),
) -> dict[str, str]:
    """The types there whose documents cannot be applied here as long as both sites are what they are; with reasons."""
    found = {}
    for there in descriptors:
        problems = [
            f"{each.what}: {each.why} ({each.hint})"
            for each in _descriptor("", catalogue, there, mapped, renamed, enforced=enforced)
            if each.severity is Severity.PROBLEM
        ]
        if problems:
            found[there.doctype] = "; ".join(problems)
    return found


def _descriptor(
    area: str,
    catalogue: Catalogue,
    there: DoctypeDescriptor,
    mapped: Mapping[str, MappedType],
    renamed: Collection[str],
    *,
    enforced: bool,
) -> list[Finding]:
    same_names = there.doctype not in renamed
    ours = frozenset(mapped[each].local.name if each in mapped else each for each in renamed)
    if there.doctype in mapped:
        return _mapped(area, mapped[there.doctype], ours, same_names=same_names, enforced=enforced)
    here = catalogue.get(there.doctype)
    return [] if here is None else _doctype(area, here, there, ours, same_names=same_names, enforced=enforced)


def _doctype(
    area: str,
    here: DocumentType,
    there: DoctypeDescriptor,
    renamed: Collection[str],
    *,
    same_names: bool,
    enforced: bool,
) -> list[Finding]:
    found = _keys(area, here, there, by_name=same_names)
    pairing = _by_name(here, there, here.key, (*_links_to(here, renamed), *(() if same_names else here.key)))
    found += _columns(area, here, there, pairing, enforced=enforced)
    for field in there.children:
        child = here.child(field.field)
        if child is None:
            found.append(
                warning(
                    area,
                    f"the child table {field.field} is not declared here",
                    "its rows are left out",
                    f"declare [doctypes.{here.name}.children.{field.field}]",
                )
            )
            continue
        inner = f"{area}.{field.field}"
        found += _keys(inner, child, field, by_name=same_names)
        ours = (*_links_to(child, renamed), *(() if same_names else (*child.key, *child.parent_key)))
        pairing = _by_name(child, field, (*_given(child), *ours), ours)
        found += _columns(inner, child, field, pairing, enforced=enforced)
    return found


def _links_to(table: DocumentType | ChildTable, renamed: Collection[str]) -> tuple[str, ...]:
    """The columns that hold names of documents which get names of this site's own: ours, whatever is there."""
    return tuple(column for link in table.links if link.doctype in renamed for column in link.columns)


def _mapped(
    area: str, mapped: MappedType, renamed: Collection[str], *, same_names: bool, enforced: bool
) -> list[Finding]:
    here, there = mapped.local, mapped.remote
    found = _keys(area, here, there, by_name=False, alike=same_names)
    own = _links_to(here, renamed)
    pairing = _by_mapping(mapped.mapping, here, there, mapped.columns, (*here.key, *own), own, same_names=same_names)
    found += _columns(area, here, there, pairing, enforced=enforced)
    for rows in mapped.children.values():
        child, field = rows.local, rows.remote
        inner = f"{area}.{field.field}"
        found += _keys(inner, child, field, by_name=False, alike=same_names)
        own = _links_to(child, renamed)
        given = (*_given(child), *child.key, *own)
        pairing = _by_mapping(mapped.mapping, child, field, rows.columns, given, own, same_names=same_names)
        found += _columns(inner, child, field, pairing, enforced=enforced)
    if mapped.unmapped:
        found.append(ok(area, f"{mapped.mapping} leaves out what it does not map: {', '.join(mapped.unmapped)}"))
    return found


def _by_name(
    here: DocumentType | ChildTable,
    there: DoctypeDescriptor | ChildDescriptor,
    given: Iterable[str],
    own: Collection[str],
) -> _Pairing:
    """Columns of equal names; but for those that hold names of this site's `own`."""
    mine = {column.name for column in here.columns}
    theirs = {column.name for column in there.columns}
    left_out = [column.name for column in there.columns if column.name not in mine and not column.generated]
    sources = {name: name for name in mine & theirs if name not in own}
    return _Pairing(sources, left_out, frozenset(given) | (theirs & set(own)))


def _by_mapping(
    mapping: str,
    here: DocumentType | ChildTable,
    there: DoctypeDescriptor | ChildDescriptor,
    columns: MappedColumns,
    given: Iterable[str],
    own: Collection[str],
    *,
    same_names: bool,
) -> _Pairing:
    """As a mapping says; but for columns that hold names of this site's `own`."""
    keys = dict(zip(here.key, there.key, strict=False)) if same_names else {}
    looked_for = {lookup.fieldname for lookup in columns.lookups}
    sources = {name: source for name, source in (columns.sources | keys).items() if name not in own}
    return _Pairing(sources, (), columns.filled.union(given, looked_for), columns.filled, mapping)


def _given(child: ChildTable) -> tuple[str, ...]:
    """Columns of a child row that need no value of the producer's: the way to the parent, and the condition."""
    return (*child.parent_key, *(column for column, _ in child.where))


def _keys(
    area: str,
    here: DocumentType | ChildTable,
    there: DoctypeDescriptor | ChildDescriptor,
    *,
    by_name: bool,
    alike: bool = True,
) -> list[Finding]:
    """Whether names of documents, or of child rows, can be the same here.

    `by_name`: the key columns are called alike. Else there have to be as many, or, where they are not `alike` because
    this site gives names of its own, any.
    """
    differ = tuple(here.key) != tuple(there.key) if by_name else alike and len(here.key) != len(there.key)
    if differ:
        return [
            problem(
                area,
                f"rows are named by {', '.join(there.key)} there, and by {', '.join(here.key)} in {here.table} here",
                "documents of the two sites cannot be matched",
                "set key to the same columns at both sites",
            )
        ]
    columns = [declared(column.kind, column.declared) for column in here.columns if column.name in here.key]
    columns += [declared(kind_of(column.kind), column.declared) for column in there.columns if column.name in there.key]
    if not any(column.kind == Kind.FLOAT or (column.kind == Kind.DECIMAL and column.scale) for column in columns):
        return []
    return [
        problem(
            area,
            f"rows of {here.table} are named by numbers with a point ({', '.join(here.key)})",
            "names compare exactly, and databases store such numbers differently",
            "set key to columns of integers or text",
        )
    ]


def _columns(
    area: str,
    here: DocumentType | ChildTable,
    there: DoctypeDescriptor | ChildDescriptor,
    pairing: _Pairing,
    *,
    enforced: bool,
) -> list[Finding]:
    table = here.table
    theirs = {column.name: column for column in there.columns}
    found = []
    if pairing.left_out:
        found.append(
            warning(
                area,
                f"{table} has no column {', '.join(pairing.left_out)}",
                "their values are left out here",
                "add the columns here, if you want the values",
            )
        )
    for column in here.columns:
        other = theirs.get(pairing.sources.get(column.name, ""))
        if column.generated:
            continue
        if other is None:
            if not column.nullable and not column.has_default and column.name not in pairing.given:
                found.append(_never_given(area, f"{table}.{column.name}", pairing.mapping))
            continue
        found += judge_values(area, table, column, other, filled=column.name in pairing.filled, enforced=enforced)
    return found


def _never_given(area: str, column: str, mapping: str) -> Finding:
    what = f"is given no value by {mapping}" if mapping else "is missing at the producer"
    hint = f"map it in mappings.{mapping}, or set its default_value there" if mapping else ""
    return problem(
        area,
        f"{column} must not be NULL, has no default, and {what}",
        "every new document is refused by this database, and parked",
        hint or "give the column a default here, or add it there",
    )
