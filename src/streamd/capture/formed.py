"""What changes were made into: values."""

from __future__ import annotations

from dataclasses import dataclass

from streamd.model import LogEntry, Name


@dataclass(frozen=True, slots=True)
class Edit:
    """A change made at this site to a document that other sites may change too: what has to be remembered.

    `fields` are the fields that were written, as `Record.field_clocks` names them, and `data` is that of the event.
    """

    doctype: str
    name: Name
    operation: str
    clock: str
    at: int
    fields: tuple[str, ...]
    renamed_from: Name | None
    data: str = "null"


@dataclass(slots=True)
class Formed:
    """What a batch of changes makes: log entries without sequence and nonce, local edits, the clock after it.

    `incomplete` are the documents that have other child rows than their creates and renames say.
    """

    entries: list[LogEntry]
    edits: list[Edit]
    clock: str
    incomplete: frozenset[tuple[str, Name]] = frozenset()
