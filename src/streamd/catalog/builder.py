"""Builds document types from `[doctypes]` and the database's tables, or reports every fault. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from streamd.catalog.links import Owner, Target, find_links
from streamd.catalog.naming import Faults, key_problems, missing_columns, path
from streamd.common.spelling import did_you_mean
from streamd.model import ChildTable, DocumentType, Table
from streamd.settings import ChildSettings, DoctypeSettings
from streamd.wire import NAME_LIMIT


def declare(
    declared: Mapping[str, DoctypeSettings],
    tables: Mapping[str, Table],
    others: Mapping[str, DocumentType],
    faults: Faults,
) -> dict[str, DocumentType]:
    """The document types of these `[doctypes]`. They may link to `others`."""
    _check_tables(declared, faults)
    targets = {}
    for name, declaration in declared.items():
        target = _find_target(name, declaration, tables, faults)
        if target is not None:
            targets[name] = target
    known = {name: Target(name, doctype.table, doctype.key) for name, doctype in others.items()}
    for name, declaration in declared.items():
        # A link to a type whose declaration is faulty is not reported as unknown as well.
        known[name] = targets.get(name) or Target(name, declaration.table or name, declaration.key or ("",))
    return {name: _build_doctype(target, declared[name], tables, known, faults) for name, target in targets.items()}


def _is_valid_name(name: str) -> bool:
    return bool(name) and len(name) <= NAME_LIMIT and name.isprintable()


def _find_target(name: str, declaration: DoctypeSettings, tables: Mapping[str, Table], faults: Faults) -> Target | None:
    where = path("doctypes", name)
    if not _is_valid_name(name):
        faults.add(where, "is not a valid name for a document type", f"use 1 to {NAME_LIMIT} printable characters")
        return None
    table_path = f"{where}.table" if declaration.table else where
    table = _find_table(table_path, declaration.table or name, tables, faults)
    if table is None:
        return None
    key = declaration.key or table.primary_key
    problems = _key_problems(f"{where}.key", key, table)
    faults += problems
    return None if problems else Target(name, table.name, key)


def _find_table(where: str, name: str, tables: Mapping[str, Table], faults: Faults) -> Table | None:
    table = tables.get(name)
    if table is None:
        hint = did_you_mean(name, list(tables), "name one of its tables")
        faults.add(where, f"the database has no table {name}", hint)
        return None
    if table.unreadable:
        what = f"the database cannot read {name}: {table.unreadable}"
        faults.add(where, what, "name a table that streamd can read")
        return None
    return table


def _key_problems(where: str, key: tuple[str, ...], table: Table) -> Faults:
    if key:
        return Faults(key_problems(where, key, table))
    faults = Faults()
    faults.add(where, f"{table.name} has no primary key", "set key to the unique columns that identify its rows")
    return faults


def _build_doctype(
    target: Target,
    declaration: DoctypeSettings,
    tables: Mapping[str, Table],
    known: Mapping[str, Target],
    faults: Faults,
) -> DocumentType:
    table = tables[target.table]
    where = ("doctypes", target.doctype)
    links = find_links(Owner(where, table, declaration), known, faults)
    children = []
    for field, child in declaration.children.items():
        place = (*where, "children", field)
        _check_field(path(*place), field, table, faults)
        child_table = _find_table(f"{path(*place)}.table", child.table, tables, faults)
        if child_table is not None:
            owner = Owner(place, child_table, child, target, child.parent_key)
            children.append(_build_child(owner, child, target, known, faults))
    return DocumentType(
        target.doctype,
        table.name,
        target.key,
        table.columns,
        links,
        tuple(children),
        naming=declaration.naming or "",
        accept_changes=declaration.accept_changes,
    )


def _build_child(
    owner: Owner, declaration: ChildSettings, parent: Target, known: Mapping[str, Target], faults: Faults
) -> ChildTable:
    prefix, table = path(*owner.where), owner.table
    key = declaration.key or table.primary_key
    faults += _key_problems(f"{prefix}.key", key, table)
    faults += missing_columns(f"{prefix}.parent_key", declaration.parent_key, table)
    if len(declaration.parent_key) != len(parent.key):
        faults.add(
            f"{prefix}.parent_key",
            f"has {len(declaration.parent_key)} column(s), but the key of {parent.doctype} has {len(parent.key)}",
            f"name the columns of {table.name} that contain {', '.join(parent.key)}, in this order",
        )
    for column in declaration.where:
        faults += missing_columns(path(*owner.where, "where", column), (column,), table)
    if declaration.order_by is not None:
        faults += missing_columns(f"{prefix}.order_by", (declaration.order_by,), table)
    return ChildTable(
        owner.where[-1],
        table.name,
        key,
        declaration.parent_key,
        table.columns,
        find_links(owner, known, faults),
        tuple(declaration.where.items()),
        declaration.order_by,
        naming=declaration.naming or "",
    )


def _check_field(where: str, field: str, parent: Table, faults: Faults) -> None:
    if parent.column(field) is not None:
        hint = "choose another field for the child table"
        faults.add(where, f"{parent.name} already has a column of this name", hint)
    elif not _is_valid_name(field) or '"' in field or "\\" in field:
        hint = f"use 1 to {NAME_LIMIT} printable characters, without quotes and backslashes"
        faults.add(where, "is not a valid name for a field", hint)


def _check_tables(declared: Mapping[str, DoctypeSettings], faults: Faults) -> None:
    """A row belongs to one document: a table is the parent of one type, or a child of one or several types."""
    parents: dict[str, str] = {}
    for name, declaration in declared.items():
        table = declaration.table or name
        other = parents.setdefault(table, name)
        if other != name:
            what = f"{table} is already the table of {path('doctypes', other)}"
            faults.add(path("doctypes", name, "table"), what, "keep one of the two")
    uses: dict[str, list[tuple[str, ChildSettings]]] = defaultdict(list)
    for name, declaration in declared.items():
        for field, child in declaration.children.items():
            uses[child.table].append((path("doctypes", name, "children", field), child))
    for table, users in uses.items():
        for where, _ in users if table in parents else ():
            what = f"{table} is already the table of {path('doctypes', parents[table])}"
            faults.add(f"{where}.table", what, "declare it as a document type or as a child table, not both")
        if len(users) > 1:
            _check_sharing(table, users, faults)


def _check_sharing(table: str, users: list[tuple[str, ChildSettings]], faults: Faults) -> None:
    """Types that share a child table must select different rows of it."""
    seen: dict[tuple[tuple[str, str | int], ...], str] = {}
    for where, child in users:
        condition = tuple(sorted(child.where.items()))
        if not condition:
            others = " and ".join(other for other, _ in users if other != where)
            what = f"{table} is shared with {others}, so each of them needs a where"
            faults.add(f"{where}.where", what, 'add where = { column = "value" } to each of them')
        elif seen.setdefault(condition, where) != where:
            faults.add(f"{where}.where", f"is the same as in {seen[condition]}", "select other rows")
