"""Tables as a database describes them, and document types as a site declares them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from streamd.common.values import Name, Scalar


class Kind(StrEnum):
    """What a column contains, whatever an engine calls it."""

    INTEGER = "integer"
    DECIMAL = "decimal"
    FLOAT = "float"
    BOOLEAN = "boolean"
    TEXT = "text"
    BYTES = "bytes"
    DATE = "date"
    TIME = "time"
    DATETIME = "datetime"
    DATETIME_ZONED = "datetime with zone"
    UUID = "uuid"
    JSON = "json"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Column:
    """One column, as the database describes it. `unique`: it is part of a unique index, not of the primary key.

    `automatic`: the database sets a new value in each row (identity, auto-increment, a sequence, or an expression such
    as a new UUID). `renews`: the database sets it again at each update that does not name it. `as_text`: it travels as
    the database's text, because the database cannot read its own JSON of it. `default`: the default in SQL, only if the
    table has `enforced` keys (see `Table`).
    """

    name: str
    declared: str
    kind: Kind
    nullable: bool = True
    generated: bool = False
    has_default: bool = False
    unique: bool = False
    automatic: bool = False
    renews: bool = False
    as_text: bool = False
    default: str = ""


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key, as the database describes it.

    `on_delete` and `on_update` are its actions in SQL (`CASCADE`, `SET NULL`, …); empty if unknown. `silent`: no
    trigger fires for rows that its actions change.
    """

    columns: tuple[str, ...]
    table: str
    referred: tuple[str, ...]
    on_delete: str = ""
    on_update: str = ""
    silent: bool = False


@dataclass(frozen=True, slots=True)
class UniqueKey:
    """A primary key, unique constraint or unique index, as the database writes it.

    `terms` are columns (quoted) or expressions, each with its collation in `collations`. `where` is the condition of a
    partial index. `exact` are the columns that are exactly equal in rows that are equal under this key.
    """

    terms: tuple[str, ...]
    collations: tuple[str, ...]
    where: str = ""
    exact: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Table:
    """A table, as the database describes it. `triggers` are the user's, not streamd's.

    `unreadable` is the reason if streamd cannot read the table. Its rows are also in `heirs` (children by inheritance)
    and in `partitions`; these names are quoted, with their schemas. `enforced` are all unique keys, if a write may
    silently remove the rows that violate them (SQLite's `ON CONFLICT REPLACE`).
    """

    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    uniques: tuple[tuple[str, ...], ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    triggers: tuple[str, ...] = ()
    unreadable: str = ""
    heirs: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()
    enforced: tuple[UniqueKey, ...] = ()

    def column(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name == name), None)


@dataclass(frozen=True, slots=True)
class Link:
    """Columns whose values name a document of another type.

    `doctype` is None for a dynamic link: then `type_column` names the column with the type. Only rows with the values
    of `where` have the link. `blank_is_null`: empty text links to nothing, like NULL.
    """

    columns: tuple[str, ...]
    doctype: str | None = None
    type_column: str | None = None
    where: tuple[tuple[str, Scalar], ...] = ()
    blank_is_null: bool = False


class Rows:
    """Rows of one table: what child tables and parent tables have in common."""

    columns: tuple[Column, ...]

    @property
    def written_columns(self) -> tuple[Column, ...]:
        """The columns that contain data of their own (not generated ones)."""
        return tuple(column for column in self.columns if not column.generated)

    @cached_property
    def written_names(self) -> frozenset[str]:
        """The names of those columns."""
        return frozenset(column.name for column in self.written_columns)


@dataclass(frozen=True)
class ChildTable(Rows):
    """A table whose rows belong to documents: the field `field` of the document.

    `keeps_unique` is False if the database does not enforce that the key is unique, so that a write may hit several
    rows. `naming` is how rows get local keys; empty if undeclared. `excluded` columns are not among `columns`: they are
    never captured and never served.
    """

    field: str
    table: str
    key: tuple[str, ...]
    parent_key: tuple[str, ...]
    columns: tuple[Column, ...]
    links: tuple[Link, ...] = ()
    where: tuple[tuple[str, Scalar], ...] = ()
    order_by: str | None = None
    keeps_unique: bool = True
    naming: str = ""
    excluded: tuple[str, ...] = ()

    @property
    def is_numbered(self) -> bool:
        """Whether its rows have keys that say nothing of their documents: a site may give them keys of its own."""
        return len(self.key) == 1 and self.key[0] not in self.parent_key

    @cached_property
    def identity(self) -> tuple[str, ...]:
        """The columns that identify a row: its key, and its parent's."""
        return tuple(dict.fromkeys((*self.key, *self.parent_key)))


@dataclass(frozen=True, slots=True)
class Reference:
    """Rows that the database itself changes, when a row that they refer to is deleted or its key changes.

    `rows` are these rows as a child table, with the columns of their keys and of the foreign key only. Its field is
    empty for parent rows of documents. `key` is the foreign key with the action. `doctype` is empty for rows that
    belong to no document, but that documents refer to in turn.
    """

    doctype: str
    rows: ChildTable
    key: ForeignKey


@dataclass(frozen=True)
class DocumentType(Rows):
    """The tables of a document, the columns that name it, and the columns that link it to others.

    `single`: there is always exactly one such document, named like its type (`only_name`). It has no parent row: its
    one column is `name`, which is in no table (`table` is empty), and all its values are in child rows. So it is never
    created, renamed or deleted.
    `naming` is how documents from other sites are named here, if they get local names; empty if undeclared. `excluded`
    columns are not among `columns`: they are never captured and never served.
    `accept_changes`: values that the user's triggers change on writing are accepted.
    """

    name: str
    table: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    links: tuple[Link, ...] = ()
    children: tuple[ChildTable, ...] = ()
    single: bool = False
    naming: str = ""
    excluded: tuple[str, ...] = ()
    accept_changes: bool = False

    @property
    def identity(self) -> tuple[str, ...]:
        """The columns that identify a row."""
        return self.key

    @property
    def only_name(self) -> Name:
        """The name of a single's one document."""
        return (self.name,)

    def child(self, fieldname: str) -> ChildTable | None:
        return next((child for child in self.children if child.field == fieldname), None)

    @property
    def all_links(self) -> tuple[Link, ...]:
        """The links of its own columns and of its child tables."""
        return (*self.links, *(link for child in self.children for link in child.links))

    def linked_doctypes(self) -> frozenset[str]:
        """The types that this one links to, without those of dynamic links, which can be any."""
        return frozenset(link.doctype for link in self.all_links if link.doctype is not None)

    def has_dynamic_links(self) -> bool:
        return any(link.doctype is None for link in self.all_links)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All document types of a site, and which of them it offers to others.

    `guarded` types are not opened by links. Their documents travel only if the type itself is offered and approved at
    the producer, and subscribed to at the consumer. `dynamic` are the types that a dynamic link may lead to; None means
    all. `series` is the application's table of naming series, with its columns for names and last numbers; None if it
    has none. `references` are the foreign keys by which the database itself changes documents. If applied events cause
    such a change of a type in `open_to_effects`, it is a local edit; of other types, it is refused. `triggered` are the
    tables with triggers of the user.
    """

    doctypes: dict[str, DocumentType]
    offers: frozenset[str]
    guarded: frozenset[str] = frozenset()
    dynamic: frozenset[str] | None = None
    series: tuple[str, str, str] | None = None
    references: tuple[Reference, ...] = ()
    open_to_effects: frozenset[str] = frozenset()
    triggered: frozenset[str] = frozenset()

    def __getitem__(self, name: str) -> DocumentType:
        return self.doctypes[name]

    def __contains__(self, name: object) -> bool:
        return name in self.doctypes

    def get(self, name: str) -> DocumentType | None:
        return self.doctypes.get(name)

    def stored_in(self, tables: Collection[str]) -> frozenset[str]:
        """The types with rows in one of these tables."""
        return frozenset(
            name
            for name, doctype in self.doctypes.items()
            if doctype.table in tables or any(child.table in tables for child in doctype.children)
        )

    def opened_by(self, doctype: str) -> tuple[str, ...]:
        """The further types that an approval of `doctype` opens through links, directly or indirectly; sorted.

        A dynamic link opens all types, or those of `dynamic`. Guarded types stay closed.
        """
        dynamic = frozenset(self.doctypes) if self.dynamic is None else self.dynamic
        seen: set[str] = set()
        waiting = [doctype]
        while waiting:
            current = self.doctypes.get(waiting.pop())
            if current is not None:
                linked = current.linked_doctypes() | (dynamic if current.has_dynamic_links() else frozenset())
                waiting.extend(linked - self.guarded - seen)
                seen |= linked - self.guarded
        return tuple(sorted(seen - {doctype}))
