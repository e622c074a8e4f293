"""What an event does to this site, as a value."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamd.apply.decide.values import shown
from streamd.apply.write.rowwrite import RowWrite
from streamd.model import Document, Event, Name, Record, name_label


class NeedsWhole(Exception):  # a signal to the caller, not an error
    """The event changes a document that is not here: it has to be fetched whole."""


@dataclass(slots=True)
class Decision:
    """What to write, what to remember, and what to say. `local` means: as a change of this site's own.

    `unknown` names columns whose values are left out, because they do not exist here. `forgotten` are documents of
    which nothing is remembered any more, and `freed` names that documents gave up.
    """

    writes: list[RowWrite] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    local: bool = False
    unknown: set[str] = field(default_factory=set)
    forgotten: list[Name] = field(default_factory=list)
    freed: list[Name] = field(default_factory=list)

    @property
    def note(self) -> str:
        return "; ".join(self.notes)


def another_document(event: Event, here: Document, there: object) -> str:
    """What is said where a document stands here under the name of another one."""
    return (
        f"same name, another document: {event.doctype} {name_label(event.name)} stands here as "
        f"{shown(here.fields | dict(here.children))}, and at the producer as {shown(there)}. Rename or remove the "
        "one that is wrong, here or there; or take the producer's (resync --whole), or ours (discard)"
    )
