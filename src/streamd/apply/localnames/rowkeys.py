"""Which keys of child rows still mean the rows that they meant: databases, and users, give numbers again.

If a row is removed there, that comes as an event, and is remembered in place of its key. What is removed here comes
back as no event, and another row may have the number by now. But when a row was added last is remembered
(`Record.field_clocks`), and where: that tells which of the two sites had to give it another key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial

from streamd.apply.decide.conflict import child_field
from streamd.apply.decide.plan import contained
from streamd.apply.event.incoming import Incoming
from streamd.apply.localnames.counterparts import Names, row_keys
from streamd.apply.localnames.naming import row_key_naming
from streamd.apply.source import Ref
from streamd.common import clock as hlc
from streamd.db.base import Reader
from streamd.model import Catalogue, ChildTable, Difference, Name, Operation, Record, Row, name_text

Keys = Mapping[str, Name]
"""The keys of the rows of one table: as text there, and as they are here."""

GONE: Name = ()
"""What is remembered of the key of a row that was removed there: it means no row, until it is given again."""

RowKey = tuple[Ref, str, str]
"""A child row: its document, the field, and its key at the producer as text."""


class Maker(Enum):
    """Who added a row, and so did not have to give it a key of its own."""

    WE = auto()
    THEY = auto()
    OTHERS = auto()
    """A third site; or our users, with the document itself."""


def keys_added(incoming: Incoming, child: ChildTable) -> list[str]:
    """The keys, as text, of the rows that an event brings: those of a whole document are all new to it."""
    rows: Iterable[Row] = ()
    if isinstance(incoming.data, Difference):
        rows = incoming.data.added.get(child.field, ())
    elif isinstance(incoming.data, dict):
        rows = incoming.data.get(child.field) or ()
    return [name_text(tuple(row.get(column, "") for column in child.key)) for row in rows]


def keys_removed(incoming: Incoming, child: ChildTable) -> set[str]:
    """The keys, as text, of the rows that are there no more after an event. One that it adds again is there."""
    if not isinstance(incoming.data, Difference) or child.field not in incoming.data.removed:
        return set()
    return {name_text(tuple(key)) for key in incoming.data.removed[child.field]}.difference(keys_added(incoming, child))


def _speaks_of_rows(incoming: Incoming) -> bool:
    data = incoming.data
    return isinstance(data, Difference) and bool(data.added or data.removed or data.row_changed)


def meant(known: Keys, said: Keys, clock: str, made: Callable[[Name], tuple[str, Maker]]) -> dict[str, Name]:
    """Of the keys that are remembered and those that the producer says, the ones that an event of `clock` means.

    `made` tells when and where the row was added that has a key here. What came from the producer was given its key
    here: that is remembered. Of what our users added, the producer gave the key there: it says so each time, and not
    before it had that row. All others are as they are remembered, if the producer does not say otherwise.
    """
    calls = {key: text for text, key in said.items()}

    def is_remembered(text: str, key: Name) -> bool:
        maker = made(key)[1]
        return maker is Maker.THEY or (maker is Maker.OTHERS and calls.get(key, text) == text)

    def is_said(key: Name) -> bool:
        at, maker = made(key)
        return maker is not Maker.WE or at < clock

    found = {text: key for text, key in known.items() if key != GONE and is_remembered(text, key)}
    taken = set(found.values())
    return found | {text: key for text, key in said.items() if text not in found and key not in taken and is_said(key)}


@dataclass(frozen=True, slots=True)
class _Here:
    """A document as it is here: what is remembered of it, and the keys of its rows, by field, as text."""

    record: Record | None = None
    rows: Mapping[str, Keys] = field(default_factory=dict)
    stands: bool = False


_NOTHING = _Here()


class RowKeys:
    """Knows which remembered keys still hold, of the documents of one batch that it was shown (`look_up`)."""

    def __init__(self, names: Names, catalogue: Catalogue, site: str) -> None:
        self._names = names
        self._catalogue = catalogue
        self._site = site
        self._here: dict[Ref, _Here] = {}
        self._past: set[int] = set()
        self._read: dict[tuple[Ref, str], int] = {}
        self._given: set[tuple[str, str, Name]] = set()

    async def look_up(self, reader: Reader, run: Sequence[Incoming]) -> None:
        """Read what is remembered of the documents whose rows these events speak of, and where they get rows anew."""
        here = {id(incoming): ref for incoming in run if (ref := self._local(incoming)) is not None}
        judged: dict[str, set[Name]] = {}
        bringing: dict[str, set[Name]] = {}
        for incoming in run:
            ref = here.get(id(incoming))
            if ref is not None and _speaks_of_rows(incoming):
                judged.setdefault(ref[0], set()).add(ref[1])
            if ref is not None and self._brings_known(incoming):
                judged.setdefault(ref[0], set()).add(ref[1])
                bringing.setdefault(ref[0], set()).add(ref[1])
        for kind, names in judged.items():
            doctype = self._catalogue[kind]
            records = await reader.records(kind, names)
            again = bringing.get(kind)
            documents = await reader.read_documents(doctype, again) if again else {}
            for name in names:
                document = documents.get(name)
                self._here[(kind, name)] = _Here(records.get(name), row_keys(doctype, document), document is not None)
        for incoming in run:
            ref = here.get(id(incoming))
            if ref is not None:
                self._see(ref, incoming)

    def _local(self, incoming: Incoming) -> Ref | None:
        """The event's document as it is called here, where it has, or gets, a name of its own."""
        ref = self._names.known_as(incoming.event)
        name = None if ref is None or incoming.event.operation == Operation.GAP else self._names.local(ref)
        return None if name is None else (incoming.event.doctype, name)

    def _known(self, incoming: Incoming) -> Mapping[str, Keys]:
        ref = self._names.known_as(incoming.event)
        return {} if ref is None else self._names.rows(ref)

    def _brings_known(self, incoming: Incoming) -> bool:
        """Whether an event adds a row under a key that is known: of that row, or of another one."""
        known = self._known(incoming)
        return bool(known) and any(
            text in known.get(child.field, {})
            for child in self._catalogue[incoming.event.doctype].children
            if row_key_naming(child) is not None
            for text in keys_added(incoming, child)
        )

    def _see(self, here: Ref, incoming: Incoming) -> None:
        """What was read whole in this batch contains what comes after it, up to where the log was read."""
        read = self._read.get((here, incoming.log), 0)
        if incoming.reading is not None:
            self._read[(here, incoming.log)] = max(read, incoming.event.sequence)
        elif contained(incoming, self._here.get(here, _NOTHING).record) or read >= incoming.event.sequence:
            self._past.add(id(incoming))

    def of(self, incoming: Incoming, ref: Ref) -> Mapping[str, Keys]:
        """By field, the keys that an event means. `ref` is its document, as it is known."""
        if incoming.reading is not None or id(incoming) in self._past:
            # What was edited here meanwhile is told by the keys that it had.
            rows = self._names.rows(ref)
            return {table: {text: key for text, key in keys.items() if key != GONE} for table, keys in rows.items()}
        known, said = self._names.known_rows(ref), self._names.said_rows(ref)
        made = partial(self._made, incoming, ref)
        return {
            table: meant(known.get(table, {}), said.get(table, {}), incoming.event.clock, partial(made, table))
            for table in dict.fromkeys([*known, *said])
        }

    def is_new(self, incoming: Incoming, ref: Ref, fieldname: str, text: str) -> bool:
        """Whether a row that an event brings is none that is here. One that was replaced there comes as if it were."""
        known = self._names.known_rows(ref).get(fieldname, {}).get(text)
        said = self._names.said_rows(ref).get(fieldname, {}).get(text)
        key = said if known is None else known
        if key is None or key == GONE:
            return True
        if id(incoming) in self._past or self._names.are_alike(ref) or (ref[0], fieldname, key) in self._given:
            return False
        here = self._find(ref)
        stands = name_text(key) in here.rows.get(fieldname, {})
        at, maker = self._made(incoming, ref, fieldname, key)
        if incoming.reading is not None:
            # What our users removed stays removed where the producer does not know of it yet.
            return not stands and not (here.stands and maker is Maker.WE)
        if not stands:
            return True
        if maker is Maker.THEY:
            return known is None
        return bool(at) and (said != key or (maker is Maker.WE and at >= incoming.event.clock))

    def was_used(self, ref: Ref, fieldname: str, key: Name) -> bool:
        """Whether a row of this document has had this key: what is said of it may be of that one."""
        record = self._find(ref).record
        return record is not None and child_field(fieldname, name_text(key)) in record.field_clocks

    def give(self, ref: Ref, fieldname: str, key: Name) -> None:
        """A row that has not been written yet has got this key."""
        self._given.add((ref[0], fieldname, key))

    def after(self, incoming: Incoming, ref: Ref, keys: Mapping[str, Keys]) -> dict[str, dict[str, Name]]:
        """What is to be remembered after an event that means these keys: also of rows that it does not speak of."""
        found: dict[str, dict[str, Name]] = {}
        passed = incoming.reading is not None or id(incoming) in self._past or self._names.are_alike(ref)
        for child in self._catalogue[ref[0]].children:
            now = dict(keys.get(child.field, {}))
            taken = set(now.values())
            known = self._names.known_rows(ref).get(child.field, {})
            rows = {text: key for text, key in known.items() if text not in now and key not in taken} | now
            gone = () if passed else keys_removed(incoming, child)
            found[child.field] = rows | {text: GONE for text in gone if text in rows}
        return found

    def _made(self, incoming: Incoming, ref: Ref, fieldname: str, key: Name) -> tuple[str, Maker]:
        """When and where the row was added (or removed) last that has this key here; no time where it came with a
        document of our own."""
        record = self._find(ref).record
        # The clock of a document that was deleted here, and made again, is that of its deletion.
        field = child_field(fieldname, name_text(key))
        at = "" if record is None else record.clock_of(field)
        if record is not None and record.source == self._site and record.id is None and record.deleted_at is None:
            at = record.field_clocks.get(field, "")
        if hlc.made_at(at, self._site):
            return at, Maker.WE
        return at, Maker.THEY if hlc.made_at(at, incoming.producer_site) else Maker.OTHERS

    def _find(self, ref: Ref) -> _Here:
        name = self._names.local(ref)
        return _NOTHING if name is None else self._here.get((ref[0], name), _NOTHING)
