"""Document Type Mappings: a document of one type at the producer in the words of another type here. Pure.

    a mapped field      has the value of the field there; its default value where that is NULL or absent
    a constant          (a default value without a field there) is set in whole documents and rows, never by an update
    looked for          a field of mapping type Document is left out: `lookup.py` says what is looked for
    a child table       becomes that of another field, its rows by a mapping of their own, or by the columns' names
    all other fields    are carried over where this type has a field of that name which nothing else writes
                        (`unmapped = "carry"`); else they are dropped, and `unmapped` names them

Names are no part of it. A document's key columns, and the parent's key in child rows, are left out in both words:
whoever writes the document sets them from its name. Child rows keep their keys, position by position.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from json import JSONDecodeError, JSONDecoder
from typing import Any

from streamd.apply.event.columns import BY_NAME, MappedColumns, MappedRows, mapped_columns, mapped_rows
from streamd.apply.event.lookup import Lookup
from streamd.model import Catalogue, Difference, DocumentType, OldValues, Row
from streamd.settings import MappingSettings, SubscribedDoctype, reachable_mappings
from streamd.wire import DoctypeDescriptor


@dataclass(frozen=True)
class MappedType:
    """How documents of one remote type become documents of a local one.

    Made once from the settings, this site's type, and what the producer says of its own. `mapping` is the mapping's
    name. `children` are by the field there. A fault in the mapping is none here: what cannot be written is left out,
    and `check.mappings` says so.
    """

    mapping: str
    local: DocumentType
    remote: DoctypeDescriptor
    columns: MappedColumns
    children: Mapping[str, MappedRows] = field(default_factory=dict)

    @property
    def lookups(self) -> tuple[Lookup, ...]:
        """The document's fields that link to documents which have to be looked for. Child rows have theirs."""
        return self.columns.lookups

    @cached_property
    def unmapped(self) -> tuple[str, ...]:
        """The fields there that are dropped: `column`, `child field`, or `child field/column`."""
        found = list(self.columns.unmapped)
        for child in self.remote.children:
            rows = self.children.get(child.field)
            if rows is None:
                found.append(child.field)
            else:
                found += [f"{child.field}/{column}" for column in rows.columns.unmapped]
        return tuple(found)

    def is_document(self, data: Any) -> bool:
        """Whether data has the shape of a document of the producer's type, so that `document` can take it."""
        if not isinstance(data, dict):
            return False
        tables = [data.get(there) for there in self.children]
        return all(
            rows is None or (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)) for rows in tables
        )

    def document(self, data: Row) -> Row:
        """A whole document, as it travels: columns, and under each child table's field its rows."""
        result = self.columns.whole(data)
        for there, rows in self.children.items():
            if there in data:
                result[rows.local.field] = [rows.whole(row) for row in data[there] or ()]
        return result

    def difference(self, data: Difference) -> Difference:
        """An update, with what it replaced. It is empty where all that it changes is dropped."""
        return Difference(
            changed=self.columns.part(data.changed),
            added=self._whole_rows(data.added),
            removed={
                self.children[there].local.field: keys for there, keys in data.removed.items() if self._has(there)
            },
            row_changed=self._parts_of_rows(data.row_changed),
            old=OldValues(
                changed=self.columns.part(data.old.changed),
                row_changed=self._parts_of_rows(data.old.row_changed),
                removed=self._whole_rows(data.old.removed),
            ),
            whole=data.whole,
            made=data.made,
        )

    def deletion(self, data: Any) -> Any:
        """What a delete says of the deleted row: `{"old": row}`."""
        old = data.get("old") if isinstance(data, dict) else None
        return {"old": self.columns.whole(old)} if isinstance(old, dict) else data

    def clocks(self, clocks: Mapping[str, str]) -> dict[str, str]:
        """When fields were edited, by their names here (`model.Record.field_clocks`); the empty name stays."""
        found: dict[str, str] = {}
        for name, clock in clocks.items():
            for target in self._field_names(name):
                found[target] = max(clock, found.get(target, ""))
        return found

    def _field_names(self, name: str) -> list[str]:
        if not name:
            return [name]
        field_, slash, rest = name.partition("/")
        rows = self.children.get(field_) if slash else None
        if rows is None:
            return self.columns.targets(name)
        try:
            _, end = JSONDecoder().raw_decode(rest)
        except JSONDecodeError:
            # Not of one row: the column of all of them.
            return [f"{rows.local.field}/{target}" for target in rows.columns.targets(rest)]
        key, column = rest[:end], rest[end + 1 :]
        prefix = f"{rows.local.field}/{key}"
        return [f"{prefix}/{target}" for target in rows.columns.targets(column)] if column else [prefix]

    def _has(self, there: str) -> bool:
        return there in self.children

    def _whole_rows(self, rows: Mapping[str, Iterable[Row]]) -> dict[str, list[Row]]:
        return {
            self.children[there].local.field: [self.children[there].whole(row) for row in some]
            for there, some in rows.items()
            if self._has(there)
        }

    def _parts_of_rows(self, rows: Mapping[str, Iterable[Row]]) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {}
        for there, some in rows.items():
            child = self.children.get(there)
            parts = [part for row in some if (part := child.part(row)) is not None] if child is not None else []
            if child is not None and parts:
                found[child.local.field] = parts
        return found


def mapped_types(
    mappings: Mapping[str, MappingSettings],
    entries: Iterable[SubscribedDoctype],
    catalogue: Catalogue,
    descriptors: Iterable[DoctypeDescriptor],
) -> dict[str, MappedType]:
    """The mapped types of one producer, by the type there.

    They are those of its entries, and those of the documents that are looked for, as far as both sites have the type.
    """
    there = {each.doctype: each for each in descriptors}
    wanted = [entry.mapping for entry in entries if entry.mapping is not None and not entry.unsubscribe]
    found: dict[str, MappedType] = {}
    for name in dict.fromkeys(each for start in wanted for each in reachable_mappings(mappings, start)):
        local, remote = catalogue.get(mappings[name].local_doctype), there.get(mappings[name].remote_doctype)
        if local is not None and remote is not None:
            found.setdefault(remote.doctype, mapped_type(name, mappings, local, remote))
    return found


def mapped_type(
    name: str, mappings: Mapping[str, MappingSettings], local: DocumentType, remote: DoctypeDescriptor
) -> MappedType:
    """The mapping `name` for these two types."""
    given = mappings[name]
    theirs = {child.field: child for child in remote.children}
    children: dict[str, MappedRows] = {}
    for each in given.fields:
        here, there = local.child(each.local_fieldname), theirs.get(each.remote_fieldname or "")
        if here is not None and there is not None:
            children[there.field] = mapped_rows(
                BY_NAME if each.mapping is None else mappings[each.mapping], mappings, here, there
            )
    taken = {rows.local.field for rows in children.values()}
    mapped = {each.remote_fieldname for each in given.fields}
    for there in remote.children:
        here = local.child(there.field)
        if given.unmapped == "carry" and here is not None and here.field not in taken and there.field not in mapped:
            children[there.field] = mapped_rows(BY_NAME, mappings, here, there)
    columns = mapped_columns(given, mappings, local, remote, set(local.key), {*remote.key, *theirs})
    return MappedType(name, local, remote, columns, children)
