"""What documents are made of: tables as a database describes them, and document types as a site declares them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from streamd.common.names import Name, Scalar


class Kind(StrEnum):
    """What a column holds, whatever an engine calls it."""

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

    `automatic`: the database gives it a value of its own, another one each time (identity, auto-increment, a sequence,
    or an expression such as a new UUID). `renews`: the database sets it again at each update that does not name it.
    `as_text`: it travels as the text that the database writes of it, since it makes JSON of it that it cannot read.
    `default`: what it holds where nothing is brought, in SQL; only where a unique key is `enforced` (see `Table`).
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

    `on_delete` and `on_update` say what happens to these rows when the other one goes or changes its key, in SQL's
    words (`CASCADE`, `SET NULL`, …); empty where nobody asked. `silent`: no trigger fires for what it does.
    """

    columns: tuple[str, ...]
    table: str
    referred: tuple[str, ...]
    on_delete: str = ""
    on_update: str = ""
    silent: bool = False


@dataclass(frozen=True, slots=True)
class UniqueKey:
    """A primary key, unique constraint or unique index, in the database's own words.

    `terms` are columns (quoted) or expressions; `collations` say how each compares; `where` is the condition of a
    partial index. `exact` are the columns that two rows have exactly alike if they are alike to this key.
    """

    terms: tuple[str, ...]
    collations: tuple[str, ...]
    where: str = ""
    exact: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Table:
    """A table, as the database describes it. `triggers` are those that are not ours.

    `unreadable` says why nothing is known of it, where that is so.
    Its rows are in other tables too: in `heirs` (children by inheritance) and in `partitions`. These names are quoted,
    and have their schemas.
    `enforced` are all unique keys, where a write may remove unseen the rows that are in its way.
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

    `doctype` is None for a dynamic link: then `type_column` names the column that holds the type. The link is there
    only in rows that hold the values of `where`. `blank_is_null`: an empty text names nothing, as NULL does.
    """

    columns: tuple[str, ...]
    doctype: str | None = None
    type_column: str | None = None
    where: tuple[tuple[str, Scalar], ...] = ()
    blank_is_null: bool = False


@dataclass(frozen=True)
class ChildTable:
    """A table whose rows belong to documents: the field `field` of the document.

    `keeps_unique` is False where the database does not see to it that the key is unique: then a write may hit twins.
    `naming` says how rows get keys of this site's own; empty where nothing says so. `excluded` columns are not among
    `columns`: they are never captured and never served.
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
    def written_columns(self) -> tuple[Column, ...]:
        """The columns that hold data of their own (not generated ones)."""
        return tuple(column for column in self.columns if not column.generated)

    @cached_property
    def written_names(self) -> frozenset[str]:
        """The names of those columns."""
        return frozenset(column.name for column in self.written_columns)

    @property
    def is_numbered(self) -> bool:
        """Whether its rows have keys that say nothing of their documents: a site may give them keys of its own."""
        return len(self.key) == 1 and self.key[0] not in self.parent_key

    @cached_property
    def identity(self) -> tuple[str, ...]:
        """The columns that tell a row from all others: its key, and its parent's."""
        return tuple(dict.fromkeys((*self.key, *self.parent_key)))


@dataclass(frozen=True, slots=True)
class Reference:
    """Rows of documents that the database itself changes when the rows go, or change their keys, that they refer to.

    `rows` are the rows as a child table, with no more columns than tell whose they are and what they refer to; its
    field is empty where they are the documents' own rows. `key` says what happens to them. `doctype` is empty where
    they are no document's, but others refer to them in turn.
    """

    doctype: str
    rows: ChildTable
    key: ForeignKey


@dataclass(frozen=True)
class DocumentType:
    """Which tables make a document, which columns name it, and which link it to others.

    `single`: there is always exactly one such document, named as its type (`only_name`). It has no row of its own:
    its one column is `name`, which no table holds (`table` is empty), and all else of it is in child rows. So
    nothing creates, renames or deletes it.
    `naming` says how documents are named here that come under another name; empty where nothing says so. `excluded`
    columns are not among `columns`: they are never captured and never served.
    `accept_changes`: this database's triggers have the last word on the values of its rows.
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
        """The columns that tell a row from all others."""
        return self.key

    @property
    def only_name(self) -> Name:
        """The name of a single's one document."""
        return (self.name,)

    @property
    def written_columns(self) -> tuple[Column, ...]:
        """The columns that hold data of their own (not generated ones)."""
        return tuple(column for column in self.columns if not column.generated)

    @cached_property
    def written_names(self) -> frozenset[str]:
        """The names of those columns."""
        return frozenset(column.name for column in self.written_columns)

    def child(self, fieldname: str) -> ChildTable | None:
        return next((child for child in self.children if child.field == fieldname), None)

    def linked_doctypes(self) -> frozenset[str]:
        """The types that this one's links name; dynamic links can name any, so they are left out."""
        every = (*self.links, *(link for child in self.children for link in child.links))
        return frozenset(link.doctype for link in every if link.doctype is not None)

    def has_dynamic_links(self) -> bool:
        return any(
            link.doctype is None for link in (*self.links, *(link for child in self.children for link in child.links))
        )


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All document types of a site, and which of them it offers to others.

    `guarded` types are never brought along by a link: their documents travel only where the type itself is named, by
    the offer and the approval at the producer, and by the subscription at the consumer. `dynamic` are the types that
    a dynamic link may lead to; None stands for all. `series` is the table in which the site's application counts its
    series, with the columns of their names and of their last numbers; None where it has none. `references` are the
    foreign keys by which the database itself changes documents; what applied events make the database do to documents
    of the types in `open_to_effects` is an edit of this site, and to others it is refused. `triggered` are the tables
    that have triggers of the user's.
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
        """The types that have one of these tables."""
        return frozenset(
            name
            for name, doctype in self.doctypes.items()
            if doctype.table in tables or any(child.table in tables for child in doctype.children)
        )

    def opened_by(self, doctype: str) -> tuple[str, ...]:
        """The further types that approving `doctype` opens through links, however far; sorted.

        A dynamic link can name any type, so it opens all of them, unless `dynamic` says which. Guarded types stay
        closed.
        """
        every = frozenset(self.doctypes) if self.dynamic is None else self.dynamic
        seen: set[str] = set()
        waiting = [doctype]
        while waiting:
            current = self.doctypes.get(waiting.pop())
            if current is None:
                continue
            linked = current.linked_doctypes() | (every if current.has_dynamic_links() else frozenset())
            linked -= self.guarded
            waiting.extend(linked - seen)
            seen |= linked
        return tuple(sorted(seen - {doctype}))
