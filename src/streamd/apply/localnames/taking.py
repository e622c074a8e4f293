"""Names that pass from one document to another: what links to the first one must not come to mean the second.

A foreign key does not let a document go that others link to. Where there is none, the links stay, and lead nowhere;
until somebody has changed those that were set here, no other document gets the name here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from streamd.apply.batch import Kept, Unit
from streamd.apply.following import linking
from streamd.apply.localnames.meaning import Meaning
from streamd.apply.source import Ref
from streamd.apply.write.rowwrite import links_to
from streamd.common.clock import made_at
from streamd.db.base import Transaction
from streamd.errors import RowRefused
from streamd.identity import natural
from streamd.model import Name, Operation, QueueState, name_label


async def meant(
    transaction: Transaction, meaning: Meaning, units: Sequence[Unit], waiting: Collection[Ref], site: str
) -> tuple[list[Unit], list[Kept]]:
    """The units with links to the documents that they mean; what links to one whose name another has is kept.

    `site` is who we are. Raises `RowRefused` where others come with it: what follows from that is seen where each is
    written alone.
    """
    renamed = {(unit.incoming.event.doctype, unit.incoming.event.renamed_from) for unit in units}
    todo: list[Unit] = []
    kept: list[Kept] = []
    for unit in units:
        found = meaning.of(unit, waiting)
        if isinstance(found, Unit) and _gives_a_name(unit, meaning):
            event = unit.incoming.event
            owner = (
                None if (event.doctype, event.name) in renamed else await _set_here(transaction, meaning, unit, site)
            )
            if owner is not None:
                why = f"{event.doctype} {name_label(event.name)} is another document than the one that "
                why += f"{owner[0]} {name_label(owner[1])} links to here: change that link, or this name"
                found = Kept(unit, QueueState.PARKED, why)
        if isinstance(found, Kept):
            kept.append(found)
        else:
            todo.append(found)
    if kept and todo:
        raise RowRefused(kept[0].error)
    return todo, kept


def _gives_a_name(unit: Unit, meaning: Meaning) -> bool:
    """Whether a document gets a name that another one had."""
    event, id = unit.incoming.event, unit.incoming.id
    ref = (event.doctype, event.name)
    if id == natural(event.name) or meaning.names.renames(ref) or event.doctype not in meaning.catalogue:
        return False
    if event.operation != Operation.CREATE and event.renamed_from is None:
        return False
    return meaning.identities.name_of(event.doctype, id) != event.name


async def _set_here(transaction: Transaction, meaning: Meaning, unit: Unit, site: str) -> tuple[str, Name] | None:
    """A document whose link to the name was set by users of this site."""
    event = unit.incoming.event
    for owner, child, link in links_to(event.doctype, meaning.catalogue):
        names = {ref[1] for ref, _ in await linking(transaction, event.name, owner, child, link)}
        records = await transaction.records(owner.name, names) if names else {}
        for name in sorted(names, key=repr):
            record = records.get(name)
            clocks = [record.clock_of(column) for column in link.columns] if record is not None else []
            if record is None or (child is None and any(made_at(clock, site) for clock in clocks)):
                return owner.name, name
            if child is not None and record.source == site:
                return owner.name, name
    return None
