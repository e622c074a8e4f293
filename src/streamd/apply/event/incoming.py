"""An event on its way into this site, with what is known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any

import msgspec

from streamd.apply.decide.merging import NOTHING_KNOWN, Known
from streamd.identity import id_of
from streamd.model import DocumentId, Event, Name
from streamd.wire import FormerName

NAME = ""
"""What stands for the document's name among `field_clocks`."""


class Purpose(Enum):
    """For what a document is read from its producer, and so what becomes of the one that is here."""

    LINK = auto()
    """An event needs it: one that is here stays as it is."""
    REPAIR = auto()
    """It is merged with the one that is here: what is newer here stays."""
    RESYNC = auto()
    """A person wants it as the producer has it. Only edits that this site has yet to send there stay."""
    OVERWRITE = auto()
    """A person wants it as the producer has it, whatever was edited here."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A document that was read from its producer, in place of an event.

    `known` says what its producer remembers of it. `former` are the names that it had there before, the last one first;
    where it is here under one of them, the event is `renamed_from` the last of these. `new_there` are columns that the
    producer has not read yet from where the document comes from, and `new_here` those that this site has not read yet
    from there. `is_same` says that the document here is known to be the one that was read.
    """

    known: Known = NOTHING_KNOWN
    purpose: Purpose = Purpose.LINK
    former: Sequence[FormerName] = ()
    new_there: frozenset[str] = frozenset()
    new_here: frozenset[str] = frozenset()
    is_same: bool = False


@dataclass(slots=True)
class Incoming:
    """An event on its way into this site, decoded, with where it came from.

    `reading` is there for a document that was read from its producer: `log` and the event's sequence say what part of
    the producer's log it contains. `never_here` says that the event's document was made and deleted while it was
    queued, so that what has its name here is another one.
    `seen_gone` is set when a plan counted on the document, and it was not here.
    `fault` says why the event can be used in no case. `field_clocks` holds the clocks of single fields where several
    events were folded into one. `arrived` is the event as the producer sent it, where `event` is another one by now;
    `named_here` says that the document has got a name of this site's own just now, and `delete_on_leave` what becomes
    of it where it ceases to satisfy our condition. `by_id` is set where the event is under the name that its document
    has here, whatever it is called there; `gone` where it is deleted here and its name is another one's by now.
    `at_once` says that its old name is the one from before its transaction, whoever has taken that since: it is to be
    written together with the others of that transaction.
    `is_stranger` says that another document than its own has its name here, unless the two turn out to be equal.
    """

    event: Event
    data: Any
    producer_site: str
    log: str
    reading: Reading | None = None
    fault: str = ""
    never_here: bool = False
    seen_gone: bool = False
    field_clocks: Mapping[str, str] = field(default_factory=dict)
    arrived: Event | None = None
    named_here: bool = False
    delete_on_leave: bool = False
    by_id: bool = False
    gone: bool = False
    at_once: bool = False
    is_stranger: bool = False

    @property
    def remote(self) -> Event:
        """The event as the producer sent it."""
        return self.arrived or self.event

    @property
    def id(self) -> DocumentId:
        """The document that the event is of."""
        return id_of(self.event)

    @property
    def repairs(self) -> bool:
        """Whether it is merged with the document that is here."""
        return self.reading is not None and self.reading.purpose in (Purpose.REPAIR, Purpose.RESYNC)

    @property
    def overwrites(self) -> bool:
        """Whether it counts as the document that is here, because a person said so."""
        return self.reading is not None and self.reading.purpose in (Purpose.RESYNC, Purpose.OVERWRITE)

    @property
    def former(self) -> Sequence[FormerName]:
        """The names that a document which was read had there before, the last one first."""
        return () if self.reading is None else self.reading.former

    @property
    def source(self) -> str:
        return self.event.origin.site if self.event.origin else self.producer_site

    @property
    def birth(self) -> str:
        """The site where the document was made, as far as that is said; else where the event came from."""
        said = self.remote
        return ("" if said.id is None else said.id.site) or said.birth or self.source

    def clock_of(self, fieldname: str) -> str:
        return self.field_clocks.get(fieldname, self.event.clock)


def ref_of(incoming: Incoming) -> tuple[str, Name]:
    """The event's document."""
    return incoming.event.doctype, incoming.event.name


def without_former_name(incoming: Incoming) -> Incoming:
    """A document that was read, as one that has no former name here."""
    if incoming.event.renamed_from is None:
        return incoming
    event = msgspec.structs.replace(incoming.event, renamed_from=None, id=incoming.id)
    reading = None if incoming.reading is None else replace(incoming.reading, former=())
    return replace(incoming, event=event, reading=reading)


def read_for(incoming: Incoming, purpose: Purpose, **more: Any) -> Incoming:
    """A document that was read, for this purpose; `more` is what else its reading says."""
    return replace(incoming, reading=replace(incoming.reading or Reading(), purpose=purpose, **more))
