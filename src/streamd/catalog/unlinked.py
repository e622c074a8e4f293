"""What is allowed in a catalogue, but worth a look: foreign keys that are no links."""

from __future__ import annotations

from collections.abc import Mapping

from streamd.catalog.builder import build
from streamd.catalog.links import Target, target_of
from streamd.catalog.naming import path
from streamd.errors import Problem
from streamd.model import ChildTable, DocumentType, Table
from streamd.settings import Settings


def warnings(settings: Settings, tables: Mapping[str, Table]) -> list[Problem]:
    """Foreign keys that stay plain constraints: what they refer to is not fetched before its documents.

    None of them is fatal. Raises `ConfigurationError` where there is no catalogue to look at.
    """
    catalogue = build(settings, tables)
    targets = {name: Target(name, doctype.table, doctype.key) for name, doctype in catalogue.doctypes.items()}
    found = []
    for name, doctype in catalogue.doctypes.items():
        found += _unlinked(("doctypes", name), doctype, doctype, tables, targets)
        for child in doctype.children:
            found += _unlinked(("doctypes", name, "children", child.field), child, doctype, tables, targets)
    return found


def _unlinked(
    where: tuple[str, ...],
    owner: DocumentType | ChildTable,
    parent: DocumentType,
    tables: Mapping[str, Table],
    targets: Mapping[str, Target],
) -> list[Problem]:
    found = []
    linked = {frozenset(link.columns) for link in owner.links}
    for key in tables[owner.table].foreign_keys:
        columns = frozenset(key.columns)
        home = isinstance(owner, ChildTable) and columns == frozenset(owner.parent_key)
        if columns in linked or (home and key.table.casefold() == parent.table.casefold()):
            continue
        target = target_of(key, targets)
        mend = (
            f'add "{",".join(key.columns)}" = "{target.doctype}" to links'
            if target
            else f"declare a document type for {key.table}, or see to it that both sites have its rows"
        )
        why = "links leaves it out" if target else f"{key.table} is no declared document type"
        found.append(
            Problem(
                path(*where),
                f"the foreign key from {', '.join(key.columns)} to {key.table} is no link ({why}): "
                "what it refers to is not fetched, and a document that needs a missing row is parked",
                mend,
                fatal=False,
            )
        )
    return found
