"""Gives documents of a producer their names here, within the transaction that writes them, and follows their links.

Names are given level by level, many at once: first what the database counts, then series, fields and expressions, as
soon as all that they read is named. What is given back by a rollback is given again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from streamd.apply.batch import Kept, Unit, sync_entry
from streamd.apply.event.incoming import Incoming, ref_of
from streamd.apply.localnames.counterparts import Names
from streamd.apply.localnames.givenames import GivenNames
from streamd.apply.localnames.renaming import Renaming
from streamd.apply.localnames.rowkeys import RowKey, RowKeys, keys_added, keys_removed
from streamd.apply.source import Ref, Source
from streamd.apply.waiting import comes_later, waits_for_failed
from streamd.db.base import Reader, Transaction
from streamd.errors import RowRefused
from streamd.model import (
    Catalogue,
    ChildTable,
    Counterpart,
    Operation,
    QueueState,
    SyncEntry,
    SyncStatus,
    name_label,
)
from streamd.rows import links_in

NOT_HERE = "was not here: nothing to do"


@dataclass(slots=True)
class Localised:
    """Units as they are written here; entries and kept events of those that are not; what to remember.

    `counterparts` stand in the order of the events, each with the unit whose own document it is; with none, where
    it is of a document that comes for the sake of others.
    """

    units: list[Unit] = field(default_factory=list)
    entries: list[SyncEntry] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    counterparts: list[tuple[Unit | None, Counterpart]] = field(default_factory=list)


async def look_up(reader: Reader, names: Names, units: Iterable[Unit], catalogue: Catalogue) -> None:
    """Learn the names here of all documents that these units speak of."""
    every = [incoming for unit in units for incoming in unit.all]
    refs: dict[Ref, None] = {}
    for incoming in every:
        doctype = catalogue.get(incoming.event.doctype)
        if doctype is None or incoming.fault:
            continue
        refs |= dict.fromkeys(_refs(incoming))
        refs |= dict.fromkeys(ref for ref in links_in(doctype, incoming.data) if ref[0] in catalogue)
    for unit in units:
        refs |= dict.fromkeys((*unit.links, *unit.replaced))
    first: dict[Ref, Incoming] = {}
    for incoming in every:
        first.setdefault(ref_of(incoming), incoming)
    await names.load(
        reader,
        refs,
        [said for incoming in every for said in incoming.event.own],
        logs={incoming.log for incoming in every},
        made={ref for ref, each in first.items() if each.event.operation == Operation.CREATE and each.reading is None},
        born={ref: each.event.id for ref, each in first.items() if each.event.id is not None and each.event.id.site},
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
        _keep_names(run, names)
        giving = GivenNames(transaction, names, catalogue)
        named = await giving.give(_new(run, names))
        # What was made and renamed in this run.
        _keep_names(run, names)
        _all_named(run, names)
        every = [incoming for unit in run for incoming in unit.all]
        await keys.look_up(transaction, every)
        rows = await giving.give_rows(every, keys)
        renaming = Renaming(names, catalogue, rows, keys, url=source.url)
        unwritten = set(named)
        for unit in run:
            if unit.incoming.event.operation != Operation.GAP and renaming.place(unit.incoming) is None:
                _not_here(found, unit, source)
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
            found.counterparts += [
                (None if any(incoming is each for each in unit.before) else local, counterpart)
                for incoming, counterpart in renaming.remembered
            ]
            renaming.remembered.clear()
        for ref in renaming.gone:
            names.forget(ref)
    return found


def _runs(units: Iterable[Unit], names: Names, catalogue: Catalogue) -> Iterator[list[Unit]]:
    """The units in parts, so that within one no name means two documents: one that gave it up, and one that got it.

    Nor does a key mean two rows: one that was removed, and one that was added. Each part is named before the next one
    is asked for: what is said of a name may be true of the later document only. What comes whole after it was renamed
    has its name here from the part before.
    """
    run: list[Unit] = []
    moved: set[Ref] = set()
    spoken: set[Ref] = set()
    gone: set[Ref] = set()
    removed: set[RowKey] = set()
    for unit in units:
        ref, operation = ref_of(unit.incoming), unit.incoming.event.operation
        renamed = unit.incoming.event.renamed_from is not None
        stands = operation != Operation.CREATE and ref in gone and names.says_another(ref)
        again = any(ref_of(each) in moved for each in unit.all if each.event.operation == Operation.CREATE)
        added = removed and not removed.isdisjoint(_row_keys(unit, catalogue, keys_added))
        if stands or again or added or (renamed and ref in spoken):
            yield run
            run, moved, spoken, removed = [], set(), set(), set()
        if stands:
            # Though it was not made there again: it is a document that went there from here.
            names.believe(ref)
        if operation == Operation.CREATE:
            gone.discard(ref)
        elif operation == Operation.DELETE:
            gone.add(ref)
        run.append(unit)
        spoken |= set(unit.refs)
        removed.update(_row_keys(unit, catalogue, keys_removed))
        if renamed:
            moved |= set(unit.refs)
            gone.add(unit.refs[0])
            gone.discard(ref)
    yield run


def _row_keys(
    unit: Unit, catalogue: Catalogue, keys: Callable[[Incoming, ChildTable], Iterable[str]]
) -> Iterator[RowKey]:
    """The child rows of a unit's own document whose `keys` its event adds, or removes."""
    doctype = catalogue.get(unit.incoming.event.doctype)
    for child in () if doctype is None else doctype.children:
        for text in keys(unit.incoming, child):
            yield ref_of(unit.incoming), child.field, text


def _keep_names(run: Iterable[Unit], names: Names) -> None:
    """What is renamed there has the name here that it had before, to what links to it before that as well."""
    for event in (incoming.event for unit in run for incoming in unit.all):
        if event.renamed_from is None:
            continue
        old, new = (event.doctype, event.renamed_from), (event.doctype, event.name)
        name = names.local(old) if names.renames(old) else None
        if name is not None and not (names.renames(new) and names.local(new) is not None):
            names.give(new, name, names.rows(old))


def _all_named(run: Iterable[Unit], names: Names) -> None:
    """Raises `RowRefused` where a link leads to a document that has no name here yet: then they are written apart."""
    for unit in run:
        unnamed = next((ref for ref in unit.coming if names.local(ref) is None), None)
        if unnamed is not None:
            raise RowRefused(comes_later(unnamed))


def _not_here(found: Localised, unit: Unit, source: Source) -> None:
    """An event of a document that never came here, and does not come with it."""
    event = unit.incoming.event
    # Under a condition, what is not given now comes with a later event, should it satisfy the condition again.
    passes = (event.enters or unit.wants_whole) and event.doctype in source.on_leave
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


def _refs(incoming: Incoming) -> list[Ref]:
    event = incoming.event
    return [(event.doctype, name) for name in (event.name, event.renamed_from) if name is not None]


async def remember(
    transaction: Transaction, found: Localised, kept: Iterable[Kept], refused: Collection[Ref], renamed: Collection[str]
) -> None:
    """Write down what was written here under which name; not what events add that were kept back after all.

    `refused` are the documents that were kept back, and `renamed` the types that get names of this site's own. Raises
    `RowRefused` where a link was written to such a document.
    """
    why = {id(each.unit): each.error for each in kept}
    _lead_to_no_other(found.units, {ref for ref in refused if ref[0] in renamed}, why)
    last = {
        (each.doctype, each.name): each
        for unit, each in found.counterparts
        if (each.doctype, each.remote_name) not in refused and (unit is None or id(unit) not in why)
    }
    await transaction.put_counterparts(list(last.values()))


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
