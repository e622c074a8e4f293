"""What changes were made into: values."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from streamd.model import LogEntry, Name, name_from_text


@dataclass(frozen=True, slots=True)
class Edit:
    """A change made at this site to a document that other sites may change too: what has to be remembered.

    `fields` are the fields that were written, as `Record.field_clocks` names them.
    """

    doctype: str
    name: Name
    operation: str
    clock: str
    at: int
    fields: tuple[str, ...]
    renamed_from: Name | None


@dataclass(slots=True)
class Formed:
    """What a batch of changes makes: log entries without sequence and nonce, local edits, the clock after it.

    `incomplete` are the documents that have more child rows than their creates say.
    """

    entries: list[LogEntry]
    edits: list[Edit]
    clock: str
    incomplete: frozenset[tuple[str, Name]] = frozenset()

    def but_for(self, orphaned: Collection[tuple[str, Name]], incomplete: frozenset[tuple[str, Name]]) -> Formed:
        """The same without documents that do not exist."""
        entries = [each for each in self.entries if (each.doctype, name_from_text(each.name)) not in orphaned]
        for index, entry in enumerate(entries, 1):
            entry.last_in_tx = index == len(entries) or entries[index].tx != entry.tx
        edits = [each for each in self.edits if (each.doctype, each.name) not in orphaned]
        return Formed(entries, edits, self.clock, incomplete)
