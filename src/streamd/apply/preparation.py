"""What events need before they can be written: fetched before the transaction, which no network may hold up.

Everything here is in remote form; `localise` gives the names within the transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from streamd.apply.batch import Unit
from streamd.apply.event.incoming import Incoming, ref_of, without_former_name
from streamd.apply.fetch.dependency import afterwards, needed, replaced
from streamd.apply.fetch.fetching import CANNOT_READ, Fetched, Fetcher, Want, absent, fetch_missing
from streamd.apply.fetch.finding import Finder
from streamd.apply.localnames.localise import look_up
from streamd.apply.localnames.meaning import Meaning, meaning_of
from streamd.apply.localnames.names import Names
from streamd.apply.segment import Segment
from streamd.apply.source import Ref, Source
from streamd.db.base import SiteDatabase
from streamd.model import Catalogue, Document, Name, Operation, Record


class Preparation:
    """Prepares events of one producer."""

    def __init__(self, database: SiteDatabase, catalogue: Catalogue, source: Source, fetcher: Fetcher) -> None:
        self._database = database
        self._catalogue = catalogue
        self._source = source
        self._fetcher = fetcher

    async def units(self, chunk: Sequence[Incoming]) -> list[Unit]:
        """These events with what each needs, as far as the producer gives it. Raises `PeerError`."""
        units = [Unit(incoming, refused=incoming.fault) for incoming in chunk]
        busy = [unit for unit in units if not unit.waits_as_type(self._source.paused)]
        names = Names(self._source, self._catalogue)
        finder = Finder(self._source, self._catalogue, self._fetcher)
        await finder.complete(unit.incoming for unit in busy)
        for unit in busy:
            unit.refused = unit.refused or finder.failed.get(ref_of(unit.incoming), "")
        async with self._database.snapshot() as reader:
            await look_up(reader, names, units)
            meaning = await meaning_of(reader, busy, names, self._catalogue)
        documents, records = await self._here([unit.incoming for unit in busy], names, meaning)
        created = {ref_of(each) for each in chunk if each.event.operation == Operation.CREATE}
        made = created | {ref_of(each) for each in chunk if each.event.renamed_from is not None}
        for unit in busy:
            event = unit.incoming.event
            here = documents.pop((event.doctype, event.renamed_from or event.name), None)
            unit.links = needed(unit.incoming, self._catalogue, here)
            unit.replaced = replaced(unit.incoming, self._catalogue, here)
            stands = None if self._catalogue[event.doctype].single else here
            known = names.of(unit.incoming)
            is_gone = known is not None and known.gone
            unit.wants_whole = not is_gone and _wants_whole(unit.incoming, stands, records, created)
            # A later event of the batch changes the document that this one leaves.
            after = afterwards(unit.incoming, self._catalogue[event.doctype], here)
            if after is not None:
                documents[(event.doctype, event.name)] = after
        elsewhere = {id(unit): set(meaning.local(unit.incoming)) if meaning else set() for unit in busy}
        wants = [
            Want(ref, (ref_of(unit.incoming),)) for unit in busy for ref in unit.links if ref not in elsewhere[id(unit)]
        ]
        missing = await absent(self._database, names, wants, self._source.site)
        # What is here under a name may be another document than the one that a link means.
        others = [ref for unit in busy for ref in meaning.unknown(unit.incoming)] if meaning else []
        others_wanted = [want for want in wants if want.ref in others and want.ref not in made]
        missing_refs = {want.ref for want in (*missing.wants, *others_wanted)}
        fetched = await self._fetch(busy, [*missing.wants, *others_wanted], made, names, finder)
        coming = self._coming(fetched, made)
        for unit in busy:
            ref = ref_of(unit.incoming)
            wanted = [each for each in unit.links if each in missing_refs and each not in elsewhere[id(unit)]]
            if unit.wants_whole and ref in fetched.documents:
                unit.whole = without_former_name(fetched.documents[ref])
                wanted += fetched.links[ref]
            elif unit.wants_whole and ref in fetched.problems:
                unit.refused = unit.refused or CANNOT_READ.format(fetched.problems[ref])
            unit.before = [each for each in fetched.for_links(wanted) if ref_of(each) != ref]
            later = [each for each in wanted if each in made and each not in fetched.documents]
            later += [target for each in unit.before for target in coming.get(ref_of(each), ())]
            unit.coming = list(dict.fromkeys(each for each in later if each not in unit.refs))
            unit.missing = [
                each
                for each in unit.links
                if each in missing_refs.difference(made, fetched.documents, elsewhere[id(unit)])
            ]
            unit.missing += self._missing(unit, fetched)
            unit.why_missing = fetched.why_missing(unit.missing[0]) if unit.missing else ""
            linked = [*unit.links, *(target for each in unit.before for target in fetched.links[ref_of(each)])]
            unit.renamed = [each for each in linked if each in (missing.renamed | fetched.renamed) - made]
        return units

    async def _fetch(
        self, units: Sequence[Unit], missing: Sequence[Want], made: set[Ref], names: Names, finder: Finder
    ) -> Fetched:
        closed = self._source.closed(self._catalogue)
        whole = [Want(ref_of(unit.incoming), ()) for unit in units if unit.wants_whole]
        beside = [
            want
            for want in missing
            if want.ref not in made and want.ref[0] not in closed and want.ref not in finder.found
        ]
        # What a found document leads to in turn is no link of these events.
        lacking = await absent(self._database, names, [Want(ref, ()) for ref in finder.found], self._source.site)
        found = [finder.found[want.ref] for want in lacking.wants]
        if not (whole or beside or found):
            return Fetched()
        return await fetch_missing(
            [*whole, *beside],
            fetcher=self._fetcher,
            database=self._database,
            catalogue=self._catalogue,
            source=self._source,
            names=names,
            coming=frozenset(made),
            complete=finder.complete,
            found=found,
        )

    def _coming(self, fetched: Fetched, made: Collection[Ref]) -> dict[Ref, list[Ref]]:
        """For each fetched document, what it links to that events of the batch make, as far as it has to wait for that.

        A document that comes for a link waits only where documents get other names here: its link would lead to another
        document, that has that name here.
        """
        later = {ref for ref in made if ref[0] in self._source.renamed and ref not in fetched.documents}
        found = ((ref, [target for target in links if target in later]) for ref, links in fetched.links.items())
        return {ref: targets for ref, targets in found if targets}

    def _missing(self, unit: Unit, fetched: Fetched) -> Iterator[Ref]:
        """What the documents link to that were fetched for an event, and nobody gives.

        Of one that comes for a link it counts only where documents get other names here, as in `_coming`; and what was
        not asked for, because of a bound, counts always.
        """
        lacking = fetched.absent - fetched.documents.keys()
        for each in (*unit.before, *([] if unit.whole is None else [unit.whole])):
            for target in fetched.links[ref_of(each)] if lacking else ():
                counts = each is unit.whole or target[0] in self._source.renamed or target in fetched.beyond
                if target in lacking and counts:
                    yield target

    async def _here(
        self, chunk: Sequence[Incoming], names: Names, meaning: Meaning | None
    ) -> tuple[dict[Ref, Document], dict[Ref, Record]]:
        """The documents that events change, as far as they are here, and what is remembered of them: in remote form."""
        by_type: dict[str, dict[Name, Ref]] = {}
        for incoming in chunk:
            event = incoming.event
            if event.operation == Operation.UPDATE and not incoming.fault:
                ref = (event.doctype, event.renamed_from or event.name)
                known = names.of(incoming)
                row = None if meaning is None else meaning.identities.row(ref[0], incoming.id)
                name: Name | None = ref[1] if row is None else row.name
                name = known.name if known is not None and known.keeps else name
                if name is not None:
                    by_type.setdefault(event.doctype, {})[name] = ref
        documents: dict[Ref, Document] = {}
        records: dict[Ref, Record] = {}
        if by_type:
            async with self._database.snapshot() as reader:
                for doctype, refs in by_type.items():
                    found = await Segment.documents(reader, self._catalogue[doctype], refs)
                    documents |= {refs[name]: document for (_, name), document in found.items()}
                    for name, record in (await reader.records(doctype, refs)).items():
                        records[refs[name]] = record
        return documents, records


def _wants_whole(incoming: Incoming, here: Document | None, records: dict[Ref, Record], created: set[Ref]) -> bool:
    """Whether the event changes a document that was never here; a single's was not before its first record.

    What the batch creates is taken for here, unlike what it renames: that is, where it was here under its old name.
    """
    event = incoming.event
    ref = (event.doctype, event.renamed_from or event.name)
    if incoming.fault or event.operation != Operation.UPDATE:
        return False
    if event.enters or incoming.seen_gone:
        return True
    return here is None and ref not in records and ref not in created
