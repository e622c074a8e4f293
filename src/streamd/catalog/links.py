"""Which columns name other documents: as the configuration says, else as the foreign keys say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from streamd.catalog.naming import missing_columns, path, same_name
from streamd.common.spelling import did_you_mean
from streamd.errors import Problem
from streamd.model import ForeignKey, Link, Table
from streamd.settings import ChildSettings, DoctypeSettings


@dataclass(frozen=True, slots=True)
class Target:
    """What a link needs to know of a declared type: its table and its key."""

    doctype: str
    table: str
    key: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Owner:
    """The table whose links are looked for: its place in the file, and for a child table its way home."""

    where: tuple[str, ...]
    table: Table
    settings: DoctypeSettings | ChildSettings
    parent: Target | None = None
    parent_key: tuple[str, ...] = ()

    def leads_home(self, columns: tuple[str, ...], doctype: str) -> bool:
        """Whether these columns only say to which parent a child row belongs."""
        return self.parent is not None and doctype == self.parent.doctype and set(columns) == set(self.parent_key)


def links_of(owner: Owner, targets: Mapping[str, Target]) -> tuple[tuple[Link, ...], list[Problem]]:
    """The links of one table, and what is wrong with them. `targets` has every declared type."""
    if owner.settings.links is None:
        links, problems = _from_foreign_keys(owner, targets)
    else:
        links, problems = _from_settings(owner, owner.settings.links, targets)
    dynamic, more = _dynamic(owner)
    return (*links, *dynamic), [*problems, *more]


def _from_settings(
    owner: Owner, given: Mapping[str, str], targets: Mapping[str, Target]
) -> tuple[list[Link], list[Problem]]:
    links, problems = [], []
    for text, doctype in given.items():
        columns = tuple(part.strip() for part in text.split(","))
        where = path(*owner.where, "links", text)
        wrong = missing_columns(where, columns, owner.table)
        target = targets.get(doctype)
        if target is None:
            wrong.append(
                Problem(
                    where,
                    f"links to {doctype}, which is no document type of this site",
                    did_you_mean(doctype, list(targets), f"declare [doctypes.{path(doctype)}], or remove the link"),
                )
            )
        elif len(columns) != len(target.key):
            wrong.append(
                Problem(
                    where,
                    f"has {len(columns)} column(s), and the key of {doctype} has {len(target.key)}",
                    f"name the columns that hold {', '.join(target.key)}, in this order, joined by commas",
                )
            )
        elif owner.leads_home(columns, doctype):
            wrong.append(
                Problem(where, "links child rows to their own parent", "remove it: parent_key says this already")
            )
        problems += wrong
        if not wrong:
            links.append(Link(columns, doctype))
    return links, problems


def _from_foreign_keys(owner: Owner, targets: Mapping[str, Target]) -> tuple[list[Link], list[Problem]]:
    links: list[Link] = []
    problems = []
    for key in owner.table.foreign_keys:
        target = target_of(key, targets)
        if target is None or owner.leads_home(key.columns, target.doctype):
            continue
        refers = dict(zip((same_name(name, target.key) for name in key.referred), key.columns, strict=False))
        if None in refers or set(refers) != set(target.key):
            columns = ", ".join(key.columns)
            problems.append(
                Problem(
                    path(*owner.where, "links"),
                    f"the foreign key on {columns} refers to {', '.join(key.referred)} of {key.table}, and "
                    f"documents of {target.doctype} are named by {', '.join(target.key)}",
                    f"set key in [doctypes.{path(target.doctype)}] to what foreign keys refer to, "
                    "or write links without this column",
                )
            )
            continue
        link = Link(tuple(refers[name] for name in target.key), target.doctype)
        if link not in links:
            links.append(link)
    return links, problems


def _dynamic(owner: Owner) -> tuple[list[Link], list[Problem]]:
    links, problems = [], []
    for text, type_column in owner.settings.dynamic_links.items():
        columns = tuple(part.strip() for part in text.split(","))
        where = path(*owner.where, "dynamic_links", text)
        wrong = missing_columns(where, (*columns, type_column), owner.table)
        if type_column in columns:
            wrong.append(
                Problem(
                    where,
                    "names itself as the column with the document type",
                    "name the column that says which document type it links to",
                )
            )
        problems += wrong
        if not wrong:
            links.append(Link(columns, None, type_column))
    return links, problems


def target_of(key: ForeignKey, targets: Mapping[str, Target]) -> Target | None:
    """The declared type whose table a foreign key refers to."""
    fold = key.table.casefold()
    return next((target for target in targets.values() if target.table.casefold() == fold), None)
