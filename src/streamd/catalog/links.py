"""The links of a table: from the configuration, or else from its foreign keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from streamd.catalog.naming import Faults, missing_columns, path, same_name
from streamd.common.spelling import did_you_mean
from streamd.model import ForeignKey, Link, Table
from streamd.settings import ChildSettings, DoctypeSettings


@dataclass(frozen=True, slots=True)
class Target:
    """The table and key of a type that a link leads to."""

    doctype: str
    table: str
    key: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Owner:
    """A table with links, and its path in the file. A child table has a parent."""

    where: tuple[str, ...]
    table: Table
    settings: DoctypeSettings | ChildSettings
    parent: Target | None = None
    parent_key: tuple[str, ...] = ()

    def is_parent_reference(self, columns: tuple[str, ...], doctype: str) -> bool:
        """Whether these columns are only the reference of a child row to its parent."""
        return self.parent is not None and doctype == self.parent.doctype and set(columns) == set(self.parent_key)


def find_links(owner: Owner, targets: Mapping[str, Target], faults: Faults) -> tuple[Link, ...]:
    """The links of one table. `targets` contains every declared type."""
    if owner.settings.links is None:
        links = _links_from_foreign_keys(owner, targets, faults)
    else:
        links = _links_from_settings(owner, owner.settings.links, targets, faults)
    return (*links, *_dynamic_links(owner, faults))


def _links_from_settings(
    owner: Owner, declared: Mapping[str, str], targets: Mapping[str, Target], faults: Faults
) -> list[Link]:
    links = []
    for text, doctype in declared.items():
        columns = tuple(part.strip() for part in text.split(","))
        where = path(*owner.where, "links", text)
        found = Faults(missing_columns(where, columns, owner.table))
        target = targets.get(doctype)
        if target is None:
            hint = did_you_mean(doctype, list(targets), f"declare [doctypes.{path(doctype)}], or remove the link")
            found.add(where, f"links to {doctype}, which is not a document type of this site", hint)
        elif len(columns) != len(target.key):
            found.add(
                where,
                f"has {len(columns)} column(s), but the key of {doctype} has {len(target.key)}",
                f"name the columns that contain {', '.join(target.key)}, in this order, separated by commas",
            )
        elif owner.is_parent_reference(columns, doctype):
            found.add(where, "links child rows to their own parent", "remove it: parent_key already says this")
        if not found:
            links.append(Link(columns, doctype))
        faults += found
    return links


def _links_from_foreign_keys(owner: Owner, targets: Mapping[str, Target], faults: Faults) -> list[Link]:
    links: list[Link] = []
    for key in owner.table.foreign_keys:
        target = target_of(key, targets)
        if target is None or owner.is_parent_reference(key.columns, target.doctype):
            continue
        refers = dict(zip((same_name(name, target.key) for name in key.referred), key.columns, strict=False))
        if None in refers or set(refers) != set(target.key):
            faults.add(
                path(*owner.where, "links"),
                f"the foreign key on {', '.join(key.columns)} refers to {', '.join(key.referred)} of {key.table}, but "
                f"the key of {target.doctype} is {', '.join(target.key)}",
                f"set key in [doctypes.{path(target.doctype)}] to the columns that foreign keys refer to, "
                "or set links without this column",
            )
            continue
        link = Link(tuple(refers[name] for name in target.key), target.doctype)
        if link not in links:
            links.append(link)
    return links


def _dynamic_links(owner: Owner, faults: Faults) -> list[Link]:
    links = []
    for text, type_column in owner.settings.dynamic_links.items():
        columns = tuple(part.strip() for part in text.split(","))
        where = path(*owner.where, "dynamic_links", text)
        found = Faults(missing_columns(where, (*columns, type_column), owner.table))
        if type_column in columns:
            hint = "name the column that contains the document type"
            found.add(where, "names itself as the column with the document type", hint)
        if not found:
            links.append(Link(columns, None, type_column))
        faults += found
    return links


def target_of(key: ForeignKey, targets: Mapping[str, Target]) -> Target | None:
    """The declared type of the table that a foreign key refers to."""
    fold = key.table.casefold()
    return next((target for target in targets.values() if target.table.casefold() == fold), None)
