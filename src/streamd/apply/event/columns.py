"""How the rows of one table at the producer become rows of a table here, by a Document Type Mapping. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from streamd.apply.event.lookup import Lookup, lookup_of
from streamd.model import ChildTable, DocumentType, Row
from streamd.settings import CHILD_TABLE, DOCUMENT, FieldMapping, MappingSettings, is_lookup
from streamd.wire import ChildDescriptor, ColumnDescriptor, DoctypeDescriptor

Value = str | int | Decimal | bool

BY_NAME = MappingSettings(local_doctype="", remote_doctype="")
"""The mapping of child rows for which none is stated: by the columns' names."""


@dataclass(frozen=True)
class MappedColumns:
    """How the columns of a row there become columns of a row here.

    `written` names by column there the columns here that get its value, with what they get instead of NULL.
    `carried` are the columns that keep their name. `lookups` fill further columns. `unmapped` are those there whose
    values are dropped.
    """

    written: Mapping[str, tuple[tuple[str, Value | None], ...]]
    carried: frozenset[str]
    constants: dict[str, Value]
    lookups: tuple[Lookup, ...] = ()
    unmapped: tuple[str, ...] = ()

    def whole(self, row: Row) -> Row:
        """A whole row: with constants, and with default values where the producer has no value."""
        result = {column: value for column, value in row.items() if column in self.carried}
        for column, targets in self.written.items():
            for target, default in targets:
                value = row.get(column)
                value = default if value is None else value
                if value is not None or column in row:
                    result[target] = value
        return result | self.constants

    def part(self, row: Row) -> Row:
        """Some columns of a row, as an update holds them: nothing but what comes of these."""
        result: Row = {}
        for column, value in row.items():
            if column in self.carried:
                result[column] = value
            for target, default in self.written.get(column, ()):
                # A default value that stays what it was is kept all the same: somebody may have edited it here, and
                # both sites have to judge by the clocks which edit was later.
                result[target] = default if value is None else value
        return result

    def targets(self, column: str) -> list[str]:
        """The columns here that get the value of a column there."""
        found = [target for target, _ in self.written.get(column, ())]
        return [column, *found] if column in self.carried else found

    @cached_property
    def sources(self) -> dict[str, str]:
        """The column there of each column here that may get a value of one. Carried ones need not be there."""
        found = {column: column for column in self.carried}
        return found | {target: column for column, targets in self.written.items() for target, _ in targets}

    @cached_property
    def filled(self) -> frozenset[str]:
        """The columns here that are never NULL in a new row, whatever the producer has: they have a default value."""
        defaults = {target for targets in self.written.values() for target, default in targets if default is not None}
        return frozenset(defaults | self.constants.keys())


@dataclass(frozen=True)
class MappedRows:
    """How the rows of a child table there become rows of one here."""

    local: ChildTable
    remote: ChildDescriptor
    columns: MappedColumns

    def whole(self, row: Row) -> Row:
        return self.columns.whole(row) | self._key(row) | dict(self.local.where)

    def part(self, row: Row) -> Row | None:
        """The key columns with the columns that changed; None where none of those has a place here."""
        changed = self.columns.part({column: row[column] for column in row if column not in self.remote.key})
        return self._key(row) | changed if changed else None

    def _key(self, row: Row) -> Row:
        pairs = zip(self.local.key, self.remote.key, strict=False)
        return {here: row[there] for here, there in pairs if there in row}


def mapped_rows(
    given: MappingSettings, mappings: Mapping[str, MappingSettings], local: ChildTable, remote: ChildDescriptor
) -> MappedRows:
    condition = {column for column, _ in local.where}
    ours, theirs = {*local.key, *local.parent_key, *condition}, {*remote.key, *remote.parent_key, *condition}
    columns = mapped_columns(given, mappings, local, remote, ours, theirs)
    return MappedRows(local, remote, columns)


def mapped_columns(
    given: MappingSettings,
    mappings: Mapping[str, MappingSettings],
    local: DocumentType | ChildTable,
    remote: DoctypeDescriptor | ChildDescriptor,
    set_here: set[str],
    named_there: set[str],
) -> MappedColumns:
    """How rows become others.

    `set_here` are the columns here that no mapping writes: names, and what makes a row its parent's. `named_there`
    are the fields there that are none of the data by themselves: names, and child tables.
    """
    writable = local.written_names - set_here
    children = {child.field for child in remote.children} if isinstance(remote, DoctypeDescriptor) else set()
    written: dict[str, tuple[tuple[str, Value | None], ...]] = {}
    constants: dict[str, Value] = {}
    lookups = []
    for each in given.fields:
        if each.local_fieldname not in writable:
            continue
        if is_lookup(each):
            names = [column.name for column in remote.columns]
            if each.mapping is not None and each.mapping in mappings:
                lookups.append(lookup_of(each, mappings[each.mapping], names))
        elif each.remote_fieldname is None or each.mapping_type == DOCUMENT:
            constants |= _constant(each)
        elif each.mapping_type != CHILD_TABLE and each.remote_fieldname not in children:
            target = (each.local_fieldname, _value(each.default_value))
            written[each.remote_fieldname] = (*written.get(each.remote_fieldname, ()), target)
    mapped_there = {each.remote_fieldname for each in given.fields}
    carried: frozenset[str] = frozenset()
    if given.unmapped == "carry":
        carried = writable - {each.local_fieldname for each in given.fields} - mapped_there - named_there
    return MappedColumns(
        written,
        carried,
        constants,
        tuple(lookups),
        tuple(_dropped(remote.columns, {*carried, *mapped_there, *named_there})),
    )


def _dropped(columns: Iterable[ColumnDescriptor], kept: set[str | None]) -> list[str]:
    return [column.name for column in columns if column.name not in kept and not column.generated]


def _constant(given: FieldMapping) -> dict[str, Value]:
    value = _value(given.default_value)
    return {} if value is None else {given.local_fieldname: value}


def _value(given: str | int | float | bool | None) -> Value | None:
    """A value of the configuration as rows hold it: a number with a point is a decimal."""
    return Decimal(repr(given)) if isinstance(given, float) else given
