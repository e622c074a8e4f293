"""What is allowed in a catalogue, but worth a look: foreign keys that are no links, links that bring nothing along."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from streamd.catalog.building import build
from streamd.catalog.frappe_metadata import Metadata
from streamd.catalog.links import Target, target_of
from streamd.catalog.naming import path
from streamd.errors import Problem
from streamd.model import Catalogue, ChildTable, DocumentType, Table
from streamd.settings import Settings


def warnings(settings: Settings, tables: Mapping[str, Table], metadata: Metadata | None = None) -> list[Problem]:
    """Foreign keys that stay plain constraints, links that nothing is fetched for, and settings without effect.

    None of them is fatal. Raises `ConfigurationError` where there is no catalogue to look at.
    """
    catalogue = build(settings, tables, metadata)
    found = list(_producers(settings, catalogue))
    targets = {name: Target(name, doctype.table, doctype.key) for name, doctype in catalogue.doctypes.items()}
    for name, doctype in catalogue.doctypes.items():
        if not doctype.single:
            found += _unlinked(("doctypes", name), doctype, doctype, tables, targets)
        for child in doctype.children:
            found += _unlinked(("doctypes", name, "children", child.field), child, doctype, tables, targets)
    return found


def _producers(settings: Settings, catalogue: Catalogue) -> Iterator[Problem]:
    for name, producer in settings.producers.items():
        if producer.subscriber is not None and settings.site.catalog != "frappe":
            yield Problem(
                path("producers", name, "subscriber"),
                "has no effect: only documents of a Frappe site have an owner",
                'remove it, or set catalog = "frappe" in [site]',
                fatal=False,
            )
        reached = set(producer.subscribed).union(*(catalogue.opened_by(each) for each in producer.subscribed))
        linked = frozenset().union(*(catalogue[each].linked_doctypes() for each in reached if each in catalogue))
        closed = sorted((linked & catalogue.guarded) - set(producer.subscribed))
        if closed:
            yield Problem(
                path("producers", name, "doctypes"),
                f"links to {', '.join(closed)} bring nothing along, because these types are guarded: a document that "
                "needs one which is not here is parked",
                "see to it that both sites have them, or subscribe to them by name",
                fatal=False,
            )


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
