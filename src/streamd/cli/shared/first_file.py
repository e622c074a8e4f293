"""The first configuration file for a database: every table as a document type, with what speaks for child tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from streamd.catalog.links import Target, target_of
from streamd.catalog.naming import key_problems, same_name
from streamd.model import ForeignKey, Link, Table
from streamd.settings import toml_key
from streamd.wire import NAME_LIMIT

HEAD = """\
# streamd: the configuration of this site. Written by `streamd init` from the tables of the database.
#
# Each table became a document type. Now:
# 1. Remove the types that you do not want to sync.
# 2. If the rows of a table belong to documents of another type (the lines of an invoice), make it a child
#    table. A foreign key alone does not say that, so it is only suggested below.
# 3. Name the sites that you subscribe to, at the end.
# 4. Run `streamd install` (tables and triggers), `streamd check` (problems and hints), and `streamd run`.
#
# Relative paths are relative to this file.
"""

FRAPPE_HEAD = """\
# streamd: the configuration of this site. Written by `streamd init`: the database is that of a Frappe site.
#
# Its DocTypes are read from the site itself. Now:
# 1. Name the DocTypes that other sites may subscribe to, in `offers`.
# 2. Name the sites that you subscribe to, at the end.
# 3. Run `streamd install` (tables and triggers), `streamd check` (problems and hints), and `streamd run`.
#
# Relative paths are relative to this file.
"""

TAIL = """\
# Event Producers: sites that this site subscribes to. There, run `streamd keys create --for {name}`.
# [producers.hq]
# url = "https://hq.example.com"
# api_key = "…"
# api_secret = "…"
# use_same_name = true
# doctypes = [{some}]
"""


FRAPPE_TABLES = {"tabDocType", "tabDocField"}
"""Tables by which a Frappe site is told."""


def first_file(name: str, database: str, tables: Mapping[str, Table]) -> str:
    """The text of the file. `database` is a URL, as it is to stand there."""
    if tables.keys() >= FRAPPE_TABLES:
        tail = TAIL.format(name=name, some='"Sales Invoice"')
        return "\n".join([FRAPPE_HEAD, _site(name, database, frappe=True), tail])
    keys = {table.name: _key(table) for table in tables.values()}
    types = {
        table: Target(table, table, key) for table, key in keys.items() if key is not None and _may_be_a_type(table)
    }
    parts = [HEAD, _site(name, database)]
    for table in tables.values():
        parts.append(_doctype(table, types, tables) if table.name in types else _left_out(table))
    some = ", ".join(_text(table) for table in list(types)[:2]) or '"Customer"'
    parts.append(TAIL.format(name=name, some=some))
    return "\n".join(parts)


def _site(name: str, database: str, *, frappe: bool = False) -> str:
    offers = (
        'catalog = "frappe"\n# The DocTypes that others may subscribe to, such as "Sales Invoice".\noffers = []\n\n'
        if frappe
        else "# The types that others may subscribe to. Default: all below.\n# offers = []\n\n"
    )
    return (
        f"[site]\n# For people. The site is identified by a UUID in its database.\nname = {_text(name)}\n"
        f"database = {_text(database)}\n{offers}"
        "[state]\n# The daemon's own logs, keys and consumers: a file of its own.\n"
        'database = "sqlite:///streamd-state.db"\n\n'
        "[server]\n# 127.0.0.1 accepts this machine only.\n"
        'host = "127.0.0.1"\nport = 8100\n'
    )


def _doctype(table: Table, types: Mapping[str, Target], tables: Mapping[str, Table]) -> str:
    target = types[table.name]
    lines = [f"[doctypes.{toml_key(table.name)}]"]
    written = "" if target.key == table.primary_key else "  # the primary key cannot be used"
    lines.append(f"{'# ' if not written else ''}key = {_columns(target.key)}{written}")
    links, unfit = _links(table, types)
    if unfit:
        lines += [f"# Not a link, since it does not refer to the key there: {key}" for key in unfit]
        lines.append(f"links = {_written(links)}")
    elif links:
        lines.append(f"# links = {_written(links)}")
    for key in table.foreign_keys:
        if target_of(key, types) is None:
            lines.append(f"# {', '.join(key.columns)} refers to {key.table}, which is no document type here.")
    lines += _suggestions(table, types, tables)
    return "\n".join(lines) + "\n"


def _left_out(table: Table) -> str:
    return (
        f"# {table.name} is left out: it has no key that is unique, never NULL, and no bytes. Documents need one.\n"
        f"# [doctypes.{toml_key(table.name)}]\n"
    )


def _suggestions(parent: Table, types: Mapping[str, Target], tables: Mapping[str, Table]) -> Iterator[str]:
    """Which tables could be child tables of this one, and why one might think so."""
    for child in tables.values():
        if child.name not in types or child.name == parent.name:
            continue
        for key in child.foreign_keys:
            target = target_of(key, types)
            reasons = _reasons(child, parent, key, tables) if target is not None and target.table == parent.name else []
            if reasons:
                field = _field(child.name, parent)
                yield f"# Do the rows of {child.name} belong to {parent.name}? {'; '.join(reasons)}."
                yield f"# Then remove [doctypes.{toml_key(child.name)}], and take this:"
                yield f"# [doctypes.{toml_key(parent.name)}.children.{toml_key(field)}]"
                yield f"# table = {_text(child.name)}"
                yield f"# parent_key = {_columns(key.columns)}"


def _reasons(child: Table, parent: Table, key: ForeignKey, tables: Mapping[str, Table]) -> list[str]:
    columns = [child.column(name) for name in key.columns]
    if any(column is None or column.nullable for column in columns):
        return []
    reasons = []
    if child.name.casefold().startswith(parent.name.casefold()):
        reasons.append(f"its name begins with {parent.name}")
    count = len(key.columns)
    if count < len(child.primary_key) and set(key.columns) == set(child.primary_key[:count]):
        reasons.append(f"its primary key begins with {', '.join(key.columns)}")
    if reasons and not any(other.table == child.name for table in tables.values() for other in table.foreign_keys):
        reasons.append("nothing refers to it")
    return reasons


def _links(table: Table, types: Mapping[str, Target]) -> tuple[list[Link], list[str]]:
    """The links that follow from the foreign keys, and those keys that refer to something else than a type's key."""
    links, unfit = [], []
    for key in table.foreign_keys:
        target = target_of(key, types)
        if target is None:
            continue
        refers = dict(zip((same_name(name, target.key) for name in key.referred), key.columns, strict=False))
        if None in refers or set(refers) != set(target.key):
            unfit.append(f"{', '.join(key.columns)} → {key.table} ({', '.join(key.referred)})")
        else:
            links.append(Link(tuple(refers[name] for name in target.key), target.doctype))
    return links, unfit


def _key(table: Table) -> tuple[str, ...] | None:
    """The primary key, or else the first unique columns that can name documents."""
    candidates = [table.primary_key, *table.uniques]
    return next((key for key in candidates if key and not key_problems("", key, table)), None)


def _may_be_a_type(table: str) -> bool:
    """Whether a type can go by the table's name."""
    return len(table) <= NAME_LIMIT and table.isprintable()


def _field(child: str, parent: Table) -> str:
    """A name for the child table's field that the parent has not used up."""
    short = child[len(parent.name) :] if child.casefold().startswith(parent.name.casefold()) else child
    field = short.strip("_- ").casefold() or "rows"
    field = field if field.endswith("s") else f"{field}s"
    return field if parent.column(field) is None else f"{field}_rows"


def _columns(columns: tuple[str, ...]) -> str:
    return _text(columns[0]) if len(columns) == 1 else json.dumps(list(columns), ensure_ascii=False)


def _written(links: list[Link]) -> str:
    pairs = [f"{toml_key(','.join(link.columns))} = {_text(link.doctype or '')}" for link in links]
    return f"{{ {', '.join(pairs)} }}" if pairs else "{}"


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
