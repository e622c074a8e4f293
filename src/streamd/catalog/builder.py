"""Builds document types from `[doctypes]` and the database's tables, or reports every fault."""

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

Columns = tuple[str, ...]


def build_declared(settings: Settings, tables: Mapping[str, Table]) -> Catalogue:
    """The document types that the configuration declares. Raises `ConfigurationError`."""
    doctypes, problems = declare(settings.doctypes, tables, {})
    doctypes, faults = without_excluded(doctypes, settings.doctypes, tables)
    problems = [*_offer_problems(settings), *problems, *faults]
    if problems:
        raise ConfigurationError(*problems)
    offers = settings.site.offers
    return Catalogue(doctypes, frozenset(doctypes if offers is None else offers))


def declare(
    declared: Mapping[str, DoctypeSettings], tables: Mapping[str, Table], others: Mapping[str, DocumentType]
) -> tuple[dict[str, DocumentType], list[Problem]]:
    """The document types of these `[doctypes]`, and their faults. They may link to `others`."""
    problems = list(_table_problems(declared))
    targets: dict[str, Target] = {}
    for name, declaration in declared.items():
        target, faults = _find_target(name, declaration, tables)
        problems += faults
        if target is not None:
            targets[name] = target
    # A link to a type whose declaration is faulty is not reported as unknown as well.
    known = {name: Target(name, doctype.table, doctype.key) for name, doctype in others.items()}
    known |= {name: targets.get(name) or _assume_target(name, declaration) for name, declaration in declared.items()}
    doctypes = {}
    for name, target in targets.items():
        doctypes[name], faults = _build_doctype(target, declared[name], tables, known)
        problems += faults
    return doctypes, problems


def _find_target(
    name: str, declaration: DoctypeSettings, tables: Mapping[str, Table]
) -> tuple[Target | None, list[Problem]]:
    where = path("doctypes", name)
    if not name or len(name) > NAME_LIMIT or not name.isprintable():
        return None, [
            Problem(where, "is not a valid name for a document type", f"use 1 to {NAME_LIMIT} printable characters")
        ]
    table_path = f"{where}.table" if declaration.table else where
    table, problems = _find_table(table_path, declaration.table or name, tables)
    if table is None:
        return None, problems
    key, problems = _find_key(f"{where}.key", declaration.key, table)
    return (None, problems) if problems else (Target(name, table.name, key), [])


def _find_table(where: str, name: str, tables: Mapping[str, Table]) -> tuple[Table | None, list[Problem]]:
    table = tables.get(name)
    if table is None:
        hint = did_you_mean(name, list(tables), "name one of its tables")
        return None, [Problem(where, f"the database has no table {name}", hint)]
    if table.unreadable:
        what = f"the database cannot read {name}: {table.unreadable}"
        return None, [Problem(where, what, "name a table that streamd can read")]
    return table, []


def _find_key(where: str, declared: Columns | None, table: Table) -> tuple[Columns, list[Problem]]:
    key = declared or table.primary_key
    if key:
        return key, key_problems(where, key, table)
    hint = "set key to the unique columns that identify its rows"
    return key, [Problem(where, f"{table.name} has no primary key", hint)]


def _assume_target(name: str, declaration: DoctypeSettings) -> Target:
    return Target(name, declaration.table or name, declaration.key or ("",))


def _build_doctype(
    target: Target, declaration: DoctypeSettings, tables: Mapping[str, Table], known: Mapping[str, Target]
) -> tuple[DocumentType, list[Problem]]:
    table = tables[target.table]
    where = ("doctypes", target.doctype)
    links, problems = links_of(Owner(where, table, declaration), known)
    children = []
    for field, child in declaration.children.items():
        child_table, faults = _build_child((*where, "children", field), field, child, target, tables, known)
        problems += faults
        if child_table is not None:
            children.append(child_table)
    doctype = DocumentType(
        target.doctype,
        table.name,
        target.key,
        table.columns,
        links,
        tuple(children),
        naming=declaration.naming or "",
        accept_changes=declaration.accept_changes,
    )
    return doctype, problems


def _build_child(
    where: tuple[str, ...],
    field: str,
    declaration: ChildSettings,
    parent: Target,
    tables: Mapping[str, Table],
    known: Mapping[str, Target],
) -> tuple[ChildTable | None, list[Problem]]:
    prefix = path(*where)
    problems = _field_problems(prefix, field, tables[parent.table])
    table, faults = _find_table(f"{prefix}.table", declaration.table, tables)
    problems += faults
    if table is None:
        return None, problems
    key, faults = _find_key(f"{prefix}.key", declaration.key, table)
    problems += faults
    problems += missing_columns(f"{prefix}.parent_key", declaration.parent_key, table)
    if len(declaration.parent_key) != len(parent.key):
        problems.append(
            Problem(
                f"{prefix}.parent_key",
                f"has {len(declaration.parent_key)} column(s), but the key of {parent.doctype} has {len(parent.key)}",
                f"name the columns of {table.name} that contain {', '.join(parent.key)}, in this order",
            )
        )
    for column in declaration.where:
        problems += missing_columns(path(*where, "where", column), (column,), table)
    if declaration.order_by is not None:
        problems += missing_columns(f"{prefix}.order_by", (declaration.order_by,), table)
    links, faults = links_of(Owner(where, table, declaration, parent, declaration.parent_key), known)
    child_table = ChildTable(
        field,
        table.name,
        key,
        declaration.parent_key,
        table.columns,
        links,
        tuple(declaration.where.items()),
        declaration.order_by,
        naming=declaration.naming or "",
    )
    return child_table, [*problems, *faults]


def _field_problems(where: str, field: str, parent: Table) -> list[Problem]:
    if parent.column(field) is not None:
        return [
            Problem(
                where,
                f"{parent.name} already has a column of this name",
                "choose another field for the child table",
            )
        ]
    if not field or len(field) > NAME_LIMIT or not field.isprintable() or '"' in field or "\\" in field:
        return [
            Problem(
                where,
                "is not a valid name for a field",
                f"use 1 to {NAME_LIMIT} printable characters, without quotes and backslashes",
            )
        ]
    return []


def _offer_problems(settings: Settings) -> list[Problem]:
    return [
        Problem(
            "site.offers",
            f"{name} is not a document type of this site",
            did_you_mean(name, list(settings.doctypes), f"declare [doctypes.{path(name)}], or remove it"),
        )
        for name in settings.site.offers or ()
        if name not in settings.doctypes
    ]


def _table_problems(declared: Mapping[str, DoctypeSettings]) -> Iterator[Problem]:
    """A row belongs to one document: a table is the parent of one type, or a child of one or several types."""
    parents: dict[str, str] = {}
    for name, declaration in declared.items():
        table = declaration.table or name
        other = parents.setdefault(table, name)
        if other != name:
            yield Problem(
                path("doctypes", name, "table"),
                f"{table} is already the table of {path('doctypes', other)}",
                "keep one of the two",
            )
    uses: dict[str, list[tuple[str, ChildSettings]]] = {}
    for name, declaration in declared.items():
        for field, child in declaration.children.items():
            uses.setdefault(child.table, []).append((path("doctypes", name, "children", field), child))
    for table, users in uses.items():
        if table in parents:
            for where, _ in users:
                yield Problem(
                    f"{where}.table",
                    f"{table} is already the table of {path('doctypes', parents[table])}",
                    "declare it as a document type or as a child table, not both",
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
                f"{table} is shared with {others}, so each of them needs a where",
                'add where = { column = "value" } to each of them',
            )
        elif seen.setdefault(condition, where) != where:
            yield Problem(f"{where}.where", f"is the same as in {seen[condition]}", "select other rows")
