"""One document to which something is happening in a batch of changes, and what that is as an event's data. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from streamd.identity import natural
from streamd.model import (
    Change,
    ChildTable,
    DocumentId,
    DocumentType,
    Link,
    LogEntry,
    Mark,
    Name,
    Operation,
    name_text,
)
from streamd.rows import Binding, has_name_in_key, key_under

_ROW = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Happening:
    """A document to which something is happening. `whole` is that of `Difference`."""

    doctype: DocumentType
    name: Name
    origin: str
    operation: str = Operation.UPDATE
    before: bytes | None = None
    after: bytes | None = None
    parent_touched: bool = False
    renamed_from: Name | None = None
    children: dict[str, dict[Name, list[bytes | None]]] = field(default_factory=dict)
    last_change: int = 0
    clock: str = ""
    at: int = 0
    adds: bool = False
    whole: bool = False

    @property
    def had_rows(self) -> bool:
        """Whether a child row of it is older than what is happening to it now."""
        return any(before is not None for rows in self.children.values() for before, _ in rows.values())

    def is_early(self, change: Change) -> bool:
        """Whether the document was changed under its new name before `change` says that it has that.

        A row that refers to itself follows its own key by the foreign key, and SQLite tells of that first. Another
        document cannot have the name: nothing says that it gave it up.
        """
        untold = self.parent_touched and self.operation == Operation.UPDATE and self.renamed_from is None
        return untold and self.origin == change.origin


def named_now(happenings: Sequence[Happening], mark_of: Callable[[str], Mark]) -> list[tuple[Name, DocumentId | None]]:
    """For each of these, in order: the name under which its document is remembered now, and its id if a mark tells it.

    Apply has remembered what its own writes did to names. A row that a foreign key changed in the same transaction may
    have been told of under a name from before a rename.
    """
    found: list[tuple[Name, DocumentId | None]] = []
    later: dict[tuple[str, Name], tuple[Name, DocumentId | None]] = {}
    for each in reversed(happenings):
        ref, kind = (each.doctype.name, each.name), each.doctype.name
        if each.origin:
            id = mark_of(each.origin).id
            if each.operation == Operation.CREATE:
                later.pop(ref, None)
            elif each.operation == Operation.DELETE:
                later[ref] = each.name, id or natural(each.name)
            elif each.renamed_from is not None:
                now, _ = later.pop(ref, (each.name, None))
                later[kind, each.renamed_from] = now, id or natural(each.renamed_from)
            found.append((each.name, id))
        elif each.operation == Operation.UPDATE and each.renamed_from is None and ref in later:
            now, id = later[ref]
            found.append((now, None if id == natural(each.name) else id))
        else:
            found.append((each.name, None))
    return found[::-1]


def event_data(found: Happening) -> tuple[bytes | None, list[str]]:
    """The event's data as JSON (None where nothing changed), and the fields that it writes."""
    if found.operation == Operation.CREATE:
        assert found.after is not None  # noqa: S101  # an insert has it
        parts = [found.after[:-1]]
        for child in found.doctype.children:
            rows = found.children.get(child.field, {})
            kept = [after for _, after in rows.values() if after is not None]
            parts.append(b',"%s":[' % child.field.encode() + b",".join(kept) + b"]")
        return b"".join(parts) + b"}", _made_fields(found)
    if found.operation == Operation.DELETE:
        return _encode({"old": msgspec.Raw(_readable(found.before or b"null"))}), []
    return _difference(found)


def as_update(entry: LogEntry, doctype: DocumentType, *, made: str, whole: bool) -> None:
    """Make an update of the create of a document that was here already, or has rows that the create does not tell.

    Its old values were seen by nobody. `made` and `whole` are those of `Difference`.
    """
    row = _ROW.decode(entry.data)
    rows = {child.field: row.pop(child.field) for child in doctype.children}
    data: dict[str, Any] = {"changed": {column: value for column, value in row.items() if column not in doctype.key}}
    added = {field: some for field, some in rows.items() if bytes(some) != b"[]"}
    if added:
        data["added"] = added
    if made:
        data["made"] = made
    if whole:
        data["whole"] = True
    entry.operation, entry.data = Operation.UPDATE, _encode(data).decode()


def as_whole(entry: LogEntry) -> None:
    """Make of an update one by which consumers take the document whole, since it does not tell of all child rows."""
    entry.data = _encode(_ROW.decode(entry.data) | {"whole": True}).decode()


def _made_fields(found: Happening) -> list[str]:
    """The fields that a create writes: its row may be one that replaced another one."""
    assert found.after is not None  # noqa: S101  # an insert has it
    fields = [column for column in _ROW.decode(found.after) if column not in found.doctype.key]
    for fieldname, rows in found.children.items():
        fields += [f"{fieldname}/{name_text(key)}" for key, (_, after) in rows.items() if after is not None]
    return fields


def _difference(found: Happening) -> tuple[bytes | None, list[str]]:
    data: dict[str, Any] = {}
    old: dict[str, Any] = {}
    fields: list[str] = []
    if found.parent_touched and found.before is not None and found.after is not None:
        before, after = _ROW.decode(found.before), _ROW.decode(found.after)
        changed = _whole_links(_changed(before, after), found.doctype.links)
        if changed:
            data["changed"] = {column: after[column] for column in changed}
            old["changed"] = {column: _old(before, column) for column in changed}
            fields += changed
    for child in found.doctype.children:
        for key, (row_before, row_after) in found.children.get(child.field, {}).items():
            prefix = f"{child.field}/{name_text(key)}"
            if row_before is None and row_after is not None:
                data.setdefault("added", {}).setdefault(child.field, []).append(msgspec.Raw(row_after))
                fields.append(prefix)
            elif row_before is not None and row_after is None:
                data.setdefault("removed", {}).setdefault(child.field, []).append(key)
                old.setdefault("removed", {}).setdefault(child.field, []).append(msgspec.Raw(_readable(row_before)))
                fields.append(prefix)
            elif row_before is not None and row_after is not None:
                before, after = _ROW.decode(row_before), _ROW.decode(row_after)
                changed = [column for column in _changed(before, after) if column not in child.parent_key]
                changed = _whole_links(changed, child.links)
                if changed:
                    named = {column: after[column] for column in child.key}
                    data.setdefault("row_changed", {}).setdefault(child.field, []).append(
                        named | {column: after[column] for column in changed}
                    )
                    old.setdefault("row_changed", {}).setdefault(child.field, []).append(
                        named | {column: _old(before, column) for column in changed}
                    )
                    fields += [f"{prefix}/{column}" for column in changed]
    if found.whole:
        data["whole"] = True
    if not data and found.renamed_from is None:
        return None, []
    if old:
        data["old"] = old
    return _encode(data), fields


def _changed(before: Mapping[str, msgspec.Raw], after: Mapping[str, msgspec.Raw]) -> list[str]:
    nothing = msgspec.Raw(b"")
    return [column for column, value in after.items() if bytes(before.get(column, nothing)) != bytes(value)]


def _whole_links(changed: list[str], links: Iterable[Link]) -> list[str]:
    """The columns that changed, and those that say of which type a link is that did: they are one value."""
    types = (link.type_column for link in links if not set(link.columns).isdisjoint(changed))
    return list(dict.fromkeys([*changed, *(column for column in types if column is not None)]))


def _old(before: Mapping[str, msgspec.Raw], column: str) -> msgspec.Raw:
    return msgspec.Raw(_readable(bytes(before.get(column, b"null"))))


def _readable(row: bytes) -> bytes:
    """What a row or value was, for people and for comparing: text that is not valid is shown as far as it goes.

    So a user who mends such text is not stopped by what it was.
    """
    try:
        row.decode()
    except UnicodeDecodeError:
        return row.decode("utf-8", "replace").encode()
    return row


def under_name(child: ChildTable, row: bytes, name: Name) -> bytes:
    """A child row as it would be under this name of its document."""
    parts = dict(zip(child.parent_key, (msgspec.Raw(_encode(part)) for part in name), strict=True))
    return _encode(_ROW.decode(row) | parts)


def goes_along(binding: Binding, old: Name, new: Name, old_key: Name | None, new_key: Name | None) -> bool:
    """Whether a row's key holds its document's name, and is the same but for that, which is `new` and was `old`."""
    child = binding.child
    if child is None or old_key is None or new_key is None or not has_name_in_key(child):
        return False
    return key_under(child, old_key, {old: new}) == new_key
