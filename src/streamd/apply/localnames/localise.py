"""Gives documents of a producer their names here, within the transaction that writes them, and follows their links.

Names are given level by level, many at once: first what the database counts, then series, fields and expressions, as
soon as all that they read is named. What is given back by a rollback is given again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from streamd.apply.batch import Kept, Unit, sync_entry
from streamd.apply.event.incoming import Incoming, ref_of
from streamd.apply.localnames.givenames import GivenNames
from streamd.apply.localnames.names import Names
from streamd.apply.localnames.renaming import Renaming
from streamd.apply.localnames.rowkeys import Owner, RowKeys
from streamd.apply.source import Ref, Source
from streamd.apply.waiting import comes_later, waits_for_failed
from streamd.db.base import Reader, Transaction
from streamd.errors import RowRefused
from streamd.model import (
    Catalogue,
    ChildTable,
    DocumentId,
    Name,
    Operation,
    QueueState,
    SyncEntry,
    SyncStatus,
    name_label,
)
from streamd.rowids import RowIds, keys_added, keys_removed

NOT_HERE = "was not here: nothing to do"
GONE_HERE = "was deleted here; stays deleted"


@dataclass(slots=True)
class Localised:
    """Units as they are written here; entries and kept events of those that are not; what to remember.

    `rows` stand in the order of the events, each with the unit whose own document it is of; with none, where
    it is of a document that comes for the sake of others.
    """

    units: list[Unit] = field(default_factory=list)
    entries: list[SyncEntry] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    named: dict[Owner, Ref] = field(default_factory=dict)
    rows: list[tuple[Unit | None, Ref, tuple[str, DocumentId, RowIds]]] = field(default_factory=list)


async def look_up(reader: Reader, names: Names, units: Iterable[Unit]) -> None:
    """Learn the names here of all documents that these units speak of."""
    every = list(units)
    await names.load(
        reader,
        [incoming for unit in every for incoming in (unit.incoming, *unit.all)],
        [ref for unit in every for ref in (*unit.links, *unit.replaced)],
    )


async def localise(
    transaction: Transaction, units: Sequence[Unit], names: Names, source: Source, catalogue: Catalogue, *, site: str
) -> Localised:
    """These units under the names that their documents have, or get, here. `site` is who we are.

    Every link of theirs leads to a document that is here or among them. Raises `RowRefused` where a document cannot be
    named, and where a link leads to one that is not named before it.
    """
    found = Localised()
    if names.idle:
        found.units = list(units)
        return found
    keys = RowKeys(names, catalogue, site)
    for run in _runs(units, names, catalogue):
        giving = GivenNames(transaction, names, catalogue)
        named = await giving.give(_new(run, names))
        found.named |= {(ref[0], known.id): ref for ref in named if (known := names.known(ref)) is not None}
        _all_named(run, names)
        every = [incoming for unit in run for incoming in unit.all]
        await keys.look_up(transaction, every)
        await giving.give_rows(every, keys)
        renaming = Renaming(names, catalogue, keys, url=source.url)
        unwritten = set(named)
        for unit in run:
            ref = ref_of(unit.incoming)
            known = names.of(unit.incoming)
            if unit.incoming.event.operation != Operation.GAP and names.local(ref) is None:
                _not_here(found, unit, source, is_gone=known is not None and known.gone)
                continue
            # To the events that follow, also within this batch, its documents are documents that are here.
            new = {ref_of(each) for each in unit.all if each.event.operation == Operation.CREATE} & unwritten
            unwritten -= new
            links = [*unit.links, *unit.replaced]
            before = [renaming.of(each, links, named=new) for each in unit.before]
            taken = None if unit.whole is None else renaming.of(unit.whole, links, named=new)
            written = renaming.of(unit.incoming, links, named=new)
            local = replace(unit, incoming=written, before=before, whole=taken, planned=unit.incoming)
            found.units.append(local)
            found.rows += [
                (None if any(incoming is each for each in unit.before) else local, ref_of(incoming), rows)
                for incoming, rows in renaming.remembered
            ]
            renaming.remembered.clear()
    return found


def _runs(units: Iterable[Unit], names: Names, catalogue: Catalogue) -> Iterator[list[Unit]]:
    """The units in parts, so that within one no name means two documents, nor a key two rows: one that was removed, and
    one that was added."""
    run: list[Unit] = []
    meant: dict[Ref, DocumentId | None] = {}
    removed: set[tuple[Ref, str, Name]] = set()
    for unit in units:
        new: dict[Ref, DocumentId | None] = {}
        for incoming in (unit.incoming, *unit.all):
            for ref, id in names.meant(incoming).items():
                new.setdefault(ref, id)
        added = set(_row_keys(unit, catalogue, keys_added)) if removed else set()
        if run and (not removed.isdisjoint(added) or any(meant.get(ref, id) != id for ref, id in new.items())):
            yield run
            run, meant, removed = [], {}, set()
        run.append(unit)
        meant |= new
        names.mean(new)
        removed.update(_row_keys(unit, catalogue, keys_removed))
    yield run


def _row_keys(
    unit: Unit, catalogue: Catalogue, keys: Callable[[object, ChildTable], Iterable[Name]]
) -> Iterator[tuple[Ref, str, Name]]:
    """The child rows of a unit's own document whose `keys` its event adds, or removes."""
    doctype = catalogue.get(unit.incoming.event.doctype)
    for child in () if doctype is None else doctype.children:
        for key in keys(unit.incoming.data, child):
            yield ref_of(unit.incoming), child.field, key


def _all_named(run: Iterable[Unit], names: Names) -> None:
    """Raises `RowRefused` where a link leads to a document that has no name here yet: then they are written apart."""
    for unit in run:
        unnamed = next((ref for ref in unit.coming if names.local(ref) is None), None)
        if unnamed is not None:
            raise RowRefused(comes_later(unnamed))


def _not_here(found: Localised, unit: Unit, source: Source, *, is_gone: bool) -> None:
    """An event of a document that never came here, and does not come with it."""
    event = unit.incoming.event
    # Under a condition, what is not given now comes with a later event, should it satisfy the condition again.
    passes = (event.enters or unit.wants_whole) and event.doctype in source.on_leave
    if is_gone:
        found.entries.append(sync_entry(unit.incoming, source.name, SyncStatus.SYNCED, note=GONE_HERE))
        return
    if passes or event.operation in (Operation.DELETE, Operation.LEAVE):
        found.entries.append(sync_entry(unit.incoming, source.name, SyncStatus.SYNCED, note=NOT_HERE))
        return
    error = f"{event.doctype} {name_label(event.name)} was never here, and the producer does not give it"
    found.kept.append(Kept(unit, QueueState.PARKED, error))


def _new(units: Iterable[Unit], names: Names) -> list[Incoming]:
    """The documents that need a name, each once, what is needed first."""
    found: dict[Ref, Incoming] = {}
    for unit in units:
        for incoming in unit.all:
            event = incoming.event
            ref = (event.doctype, event.name)
            if event.operation == Operation.CREATE and names.local(ref) is None and isinstance(incoming.data, dict):
                found.setdefault(ref, incoming)
    return list(found.values())


async def remember(
    transaction: Transaction, found: Localised, kept: Iterable[Kept], refused: Collection[Ref], renamed: Collection[str]
) -> None:
    """Write down what was written here under which name; not what events add that were kept back after all.

    `refused` are the documents that were kept back, and `renamed` the types that get names of this site's own. Raises
    `RowRefused` where a link was written to such a document.
    """
    why = {id(each.unit): each.error for each in kept}
    _lead_to_no_other(found.units, {ref for ref in refused if ref[0] in renamed}, why)
    # That there is a row says that documents are named here, and have to be looked for.
    last = {key: (*key, RowIds()) for key, ref in found.named.items() if ref not in refused}
    last |= {
        rows[:2]: rows for unit, ref, rows in found.rows if ref not in refused and (unit is None or id(unit) not in why)
    }
    await transaction.put_row_ids(list(last.values()))


def _lead_to_no_other(units: Iterable[Unit], lost: Collection[Ref], why: Mapping[int, str]) -> None:
    """Raises `RowRefused` where what was written may link to a `lost` document: another one has its name here.

    Then they are written apart. `why` units were kept back is known by their ids: of those, only what was fetched for
    them may have been written.
    """
    for unit in units if lost else ():
        fetched = [(each.event.doctype, each.remote.name) for each in unit.before]
        first = next((ref for ref in (*unit.coming, *fetched) if ref in lost), None)
        written = id(unit) not in why or any(ref not in lost for ref in fetched)
        if first is not None and written:
            raise RowRefused(why.get(id(unit)) or waits_for_failed(first))
