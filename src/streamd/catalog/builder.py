"""Joins `[doctypes]` with the database's tables into document types, or says everything that is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from streamd.catalog.excluding import without_excluded
from streamd.catalog.links import Owner, Target, links_of
from streamd.catalog.naming import key_problems, missing_columns, path
from streamd.common.spelling import did_you_mean
from streamd.errors import ConfigurationError, Problem
from streamd.model import Catalogue, ChildTable, DocumentType, Table
from streamd.settings import ChildSettings, DoctypeSettings, Settings
from streamd.wire import NAME_LIMIT


def build_declared(settings: Settings, tables: Mapping[str, Table]) -> Catalogue:
    """The document types that the configuration declares, and no others. Raises `ConfigurationError`."""
    doctypes, problems = declare(settings.doctypes, tables, {})
    doctypes, wrong = without_excluded(doctypes, settings.doctypes, tables)
    problems = [*_offer_problems(settings), *problems, *wrong]
    if problems:
        raise ConfigurationError(*problems)
    offers = settings.site.offers
    return Catalogue(doctypes, frozenset(doctypes if offers is None else offers))


def declare(
    declared: Mapping[str, DoctypeSettings], tables: Mapping[str, Table], others: Mapping[str, DocumentType]
) -> tuple[dict[str, DocumentType], list[Problem]]:
    """The document types of these `[doctypes]`, and what is wrong with them. They may link to `others`."""
    problems = list(_table_problems(declared))
    targets: dict[str, Target] = {}
    for name, given in declared.items():
        target, wrong = _target(name, given, tables)
        problems += wrong
        if target is not None:
            targets[name] = target
    # A link to a type that is declared, but wrong, is not called unknown as well.
    known = {name: Target(name, doctype.table, doctype.key) for name, doctype in others.items()}
    known |= {name: targets.get(name) or _assumed(name, given) for name, given in declared.items()}
    doctypes = {}
    for name, target in targets.items():
        doctypes[name], wrong = _doctype(target, declared[name], tables, known)
        problems += wrong
    return doctypes, problems


def _target(name: str, given: DoctypeSettings, tables: Mapping[str, Table]) -> tuple[Target | None, list[Problem]]:
    where = path("doctypes", name)
    if not name or len(name) > NAME_LIMIT or not name.isprintable():
        return None, [Problem(where, "is no name for a document type", f"use 1 to {NAME_LIMIT} printable characters")]
    table_name = given.table or name
    table = tables.get(table_name)
    if table is None:
        where = f"{where}.table" if given.table else where
        return None, [_missing_table(where, table_name, tables)]
    if table.unreadable:
        return None, [_unreadable_table(where, table)]
    key = given.key or table.primary_key
    if not key:
        return None, [
            Problem(
                f"{where}.key",
                f"{table_name} has no primary key",
                "name the unique columns that name its rows",
            )
        ]
    problems = key_problems(f"{where}.key", key, table)
    return (None, problems) if problems else (Target(name, table_name, key), [])


def _assumed(name: str, given: DoctypeSettings) -> Target:
    return Target(name, given.table or name, given.key or ("",))


def _doctype(
    target: Target, given: DoctypeSettings, tables: Mapping[str, Table], known: Mapping[str, Target]
) -> tuple[DocumentType, list[Problem]]:
    table = tables[target.table]
    where = ("doctypes", target.doctype)
    links, problems = links_of(Owner(where, table, given), known)
    children = []
    for field, child in given.children.items():
        made, wrong = _child((*where, "children", field), field, child, target, tables, known)
        problems += wrong
        if made is not None:
            children.append(made)
    doctype = DocumentType(
        target.doctype,
        table.name,
        target.key,
        table.columns,
        links,
        tuple(children),
        naming=given.naming or "",
        accept_changes=given.accept_changes,
    )
    return doctype, problems


def _child(
    where: tuple[str, ...],
    field: str,
    given: ChildSettings,
    parent: Target,
    tables: Mapping[str, Table],
    known: Mapping[str, Target],
) -> tuple[ChildTable | None, list[Problem]]:
    here = path(*where)
    problems = _field_problems(here, field, tables[parent.table])
    table = tables.get(given.table)
    if table is None:
        return None, [*problems, _missing_table(f"{here}.table", given.table, tables)]
    if table.unreadable:
        return None, [*problems, _unreadable_table(f"{here}.table", table)]
    key = given.key or table.primary_key
    if not key:
        problems.append(
            Problem(
                f"{here}.key",
                f"{table.name} has no primary key",
                "name the unique columns that tell its rows apart",
            )
        )
    else:
        problems += key_problems(f"{here}.key", key, table)
    problems += missing_columns(f"{here}.parent_key", given.parent_key, table)
    if len(given.parent_key) != len(parent.key):
        problems.append(
            Problem(
                f"{here}.parent_key",
                f"has {len(given.parent_key)} column(s), and {parent.doctype}'s key has {len(parent.key)}",
                f"name the columns of {table.name} that hold {', '.join(parent.key)}, in this order",
            )
        )
    for column in given.where:
        problems += missing_columns(path(*where, "where", column), (column,), table)
    if given.order_by is not None:
        problems += missing_columns(f"{here}.order_by", (given.order_by,), table)
    links, wrong = links_of(Owner(where, table, given, parent, given.parent_key), known)
    made = ChildTable(
        field,
        table.name,
        key,
        given.parent_key,
        table.columns,
        links,
        tuple(given.where.items()),
        given.order_by,
        naming=given.naming or "",
    )
    return made, [*problems, *wrong]


def _field_problems(where: str, field: str, parent: Table) -> list[Problem]:
    if parent.column(field) is not None:
        return [
            Problem(
                where,
                f"{parent.name} has a column of this name already",
                "give the child table another field",
            )
        ]
    if not field or len(field) > NAME_LIMIT or not field.isprintable() or '"' in field or "\\" in field:
        return [
            Problem(
                where,
                "is no name for a field",
                f"use 1 to {NAME_LIMIT} printable characters, without quotes and backslashes",
            )
        ]
    return []


def _missing_table(where: str, name: str, tables: Mapping[str, Table]) -> Problem:
    return Problem(
        where, f"the database has no table {name}", did_you_mean(name, list(tables), "name one of its tables")
    )


def _unreadable_table(where: str, table: Table) -> Problem:
    return Problem(
        where,
        f"the database cannot read {table.name}: {table.unreadable}",
        "name a table that can be read without that",
    )


def _offer_problems(settings: Settings) -> list[Problem]:
    return [
        Problem(
            "site.offers",
            f"{name} is no document type of this site",
            did_you_mean(name, list(settings.doctypes), f"declare [doctypes.{path(name)}], or remove it"),
        )
        for name in settings.site.offers or ()
        if name not in settings.doctypes
    ]


def _table_problems(declared: Mapping[str, DoctypeSettings]) -> Iterator[Problem]:
    """A row belongs to one document: a table is one type's parent, or a child of several types by `where`."""
    parents: dict[str, str] = {}
    for name, given in declared.items():
        table = given.table or name
        other = parents.setdefault(table, name)
        if other != name:
            yield Problem(
                path("doctypes", name, "table"),
                f"{table} is that of {path('doctypes', other)} already",
                "keep one of the two",
            )
    uses: dict[str, list[tuple[str, ChildSettings]]] = {}
    for name, given in declared.items():
        for field, child in given.children.items():
            uses.setdefault(child.table, []).append((path("doctypes", name, "children", field), child))
    for table, users in uses.items():
        if table in parents:
            for where, _ in users:
                yield Problem(
                    f"{where}.table",
                    f"{table} is the table of {path('doctypes', parents[table])} already",
                    "make it a document type, or a child table: not both",
                )
        if len(users) > 1:
            yield from _sharing_problems(table, users)


def _sharing_problems(table: str, users: list[tuple[str, ChildSettings]]) -> Iterator[Problem]:
    seen: dict[tuple[tuple[str, str | int], ...], str] = {}
    for where, child in users:
        condition = tuple(sorted(child.where.items()))
        if not condition:
            others = " and ".join(other for other, _ in users if other != where)
            yield Problem(
                f"{where}.where",
                f"{table} is shared with {others}, and nothing says which rows are whose",
                'add where = { column = "value" } to each of them',
            )
        elif seen.setdefault(condition, where) != where:
            yield Problem(f"{where}.where", f"is the same as that of {seen[condition]}", "give each its own rows")
