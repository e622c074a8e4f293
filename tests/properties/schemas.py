"""Random schemas as values: tables, what both sites' databases add to them, and what only one of them does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from hypothesis import strategies as st

from tests.properties.kinds import INT, KINDS, MOMENT, WORD, Kind

STAMP = "Changed"
"""A column that sets itself when its row is updated: by a trigger, or as it is declared (MariaDB)."""


class Feature(NamedTuple):
    """What a database does besides keeping rows: a constraint, an action, a trigger, another declaration."""

    what: str
    table: str = ""
    column: str = ""
    how: Any = ""

    def __repr__(self) -> str:
        return " ".join(str(part) for part in self if part != "")


@dataclass(frozen=True)
class Column:
    name: str
    kind: Kind


@dataclass(frozen=True)
class Link:
    """Columns that hold the name of a document. `parent`: of the document that this child row belongs to."""

    columns: tuple[str, ...]
    target: str
    parent: bool = False


@dataclass(frozen=True)
class Table:
    """A document type's table; or one of child rows, if it has a link to its parent."""

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    links: tuple[Link, ...] = ()

    @property
    def parent(self) -> Link | None:
        return next((link for link in self.links if link.parent), None)

    @property
    def linking(self) -> set[str]:
        return {column for link in self.links for column in link.columns}

    @property
    def plain(self) -> list[Column]:
        """The columns that are in no key and no link."""
        return [column for column in self.columns if column.name not in (*self.key, *self.linking)]

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)


@dataclass(frozen=True)
class Schema:
    """`shared` features are at both sites, `own` at the first one and at the second one."""

    tables: tuple[Table, ...]
    shared: tuple[Feature, ...] = ()
    own: tuple[tuple[Feature, ...], tuple[Feature, ...]] = ((), ())

    def features(self, side: int) -> tuple[Feature, ...]:
        return tuple(dict.fromkeys((*self.shared, *self.own[side])))

    def table(self, name: str) -> Table:
        return next(table for table in self.tables if table.name == name)

    @property
    def stamped(self) -> set[str]:
        """The tables with a column that sets itself, at either site."""
        return {each.table for side in (0, 1) for each in self.features(side) if each.what == "stamp"}

    def compared(self, table: Table) -> tuple[Column, ...]:
        """The columns that both sites have."""
        stamp = (Column(STAMP, MOMENT),) if table.name in self.stamped else ()
        return (*table.columns, *stamp)

    def document_of(self, table: Table) -> str:
        """The document type that a table's rows belong to."""
        return table.parent.target if table.parent else table.name

    def doctypes(self) -> dict[str, Any]:
        """The document types as a site's configuration declares them."""
        return {
            table.name: {
                "key": list(table.key),
                "links": _links(table),
                "children": {
                    child.name: {
                        "table": child.name,
                        "key": list(child.key),
                        "parent_key": list(child.parent.columns),
                        "links": _links(child),
                    }
                    for child in self.tables
                    if child.parent and child.parent.target == table.name
                },
            }
            for table in self.tables
            if not table.parent
        }


def _links(table: Table) -> dict[str, str]:
    return {",".join(link.columns): link.target for link in table.links if not link.parent}


# Strategies

_NAMES = ("Item", "Order", "Item Group")
_KEYS = ((INT,), (WORD,), (INT, WORD))


_LIKELY = ("deferred", "on update", "on delete", "no foreign key", "unique", "unique in parent")
"""Features with which more can happen than without: real schemas are full of them."""

_PICKY = ("check", "unique", "not null", "refuses")
"""Features by which a database refuses what the other site's takes."""


class Sure(NamedTuple):
    """Of these features one is there for sure: at both sites, at the first one, at the second one."""

    both: Sequence[str] = ()
    first: Sequence[str] = ()
    second: Sequence[str] = ()


@st.composite
def schemas(draw: st.DrawFn, kinds: Sequence[Kind] = KINDS, sure: Sure | None = None) -> Schema:
    """A schema of one to three document types, with links, child tables and some features.

    `sure` says which features it surely has. Columns are of these `kinds`; of all kinds, often words and integers.
    """
    sure = sure or Sure()
    names = _NAMES[: draw(st.integers(1, 3))]
    keys = {name: draw(st.sampled_from(_KEYS)) for name in names}
    tables: list[Table] = []
    for name in names:
        key = tuple(Column(part, kind) for part, kind in zip(("Id", "Part"), keys[name], strict=False))
        links, linking = _link(draw(st.none() | st.sampled_from(names)), keys, "To")
        tables.append(
            Table(name, tuple(column.name for column in key), (*key, *_columns(draw, kinds), *linking), tuple(links))
        )
        if draw(st.booleans()):
            tables.append(_child(draw, name, keys, kinds))
    possible = sorted(set(_possible(tables)), key=repr)
    some = st.sampled_from(possible)
    likely = st.lists(st.sampled_from([each for each in possible if each.what in _LIKELY] or possible), max_size=2)
    shared = [*_sure(draw, possible, sure.both), *draw(likely), *draw(st.lists(some, max_size=4))]
    first = [*draw(st.lists(some, max_size=1)), *_sure(draw, possible, sure.first)]
    picky = [each for each in possible if each.what in _PICKY] or possible
    second = [*draw(st.lists(some, max_size=2)), *draw(st.lists(st.sampled_from(picky), max_size=1))]
    second += _sure(draw, possible, sure.second)
    return Schema(tuple(tables), tuple(dict.fromkeys(shared)), (tuple(first), tuple(dict.fromkeys(second))))


def _sure(draw: st.DrawFn, possible: Sequence[Feature], whats: Sequence[str]) -> list[Feature]:
    found = [each for each in possible if each.what in whats]
    return [draw(st.sampled_from(found))] if found else []


def _columns(draw: st.DrawFn, kinds: Sequence[Kind]) -> list[Column]:
    kind = st.sampled_from(kinds)
    chosen = draw(st.lists(st.sampled_from((WORD, INT)) | kind if kinds is KINDS else kind, min_size=1, max_size=3))
    return [Column(name, each) for name, each in zip("ABC", chosen, strict=False)]


def _link(target: str | None, keys: dict[str, tuple[Kind, ...]], word: str, *, parent: bool = False) -> Any:
    if target is None:
        return [], []
    columns = [Column(f"{word}{part}", kind) for part, kind in enumerate(keys[target], 1)]
    return [Link(tuple(column.name for column in columns), target, parent)], columns


def _child(draw: st.DrawFn, name: str, keys: dict[str, tuple[Kind, ...]], kinds: Sequence[Kind]) -> Table:
    links, columns = _link(name, keys, "Of", parent=True)
    others, linking = _link(draw(st.none() | st.sampled_from(sorted(keys))), keys, "To")
    own = draw(st.booleans())
    number = Column("Row", INT)
    key = ("Row",) if own else (*(column.name for column in columns), "Row")
    return Table(f"{name} Line", key, (number, *columns, *_columns(draw, kinds), *linking), (*links, *others))


def _possible(tables: list[Table]) -> Iterator[Feature]:
    """Every feature that these tables can have."""
    yield Feature("deferred")
    yield Feature("binary")
    for table in tables:
        yield from _of_table(table)
        for link in table.links:
            for how in ("CASCADE", "SET NULL", "RESTRICT", "SET DEFAULT"):
                yield Feature("on delete", table.name, link.columns[0], how)
            for how in ("CASCADE", "SET NULL"):
                yield Feature("on update", table.name, link.columns[0], how)
            if not link.parent:
                yield Feature("no foreign key", table.name, link.columns[0])
                yield Feature("not null", table.name, link.columns[0])
                yield Feature("cascades at the second", table.name, link.columns[0])
            yield Feature("removes", table.name, link.columns[0])
            target = next(each for each in tables if each.name == link.target)
            for column in target.plain:
                if column.kind is INT:
                    yield Feature("counts", table.name, link.columns[0], column.name)
        for column in table.plain:
            yield from _of_column(table, column)


def _of_table(table: Table) -> Iterator[Feature]:
    for what in ("stamp", "partitioned", "without rowid", "key replaces", "key ignores", "audit"):
        yield Feature(what, table.name)
    kinds = [table.column(part).kind for part in table.key]
    if kinds == [INT]:
        yield Feature("automatic", table.name)
    if WORD in kinds:
        yield Feature("key collates", table.name)


def _of_column(table: Table, column: Column) -> Iterator[Feature]:
    def feature(what: str, how: Any = "") -> Feature:
        return Feature(what, table.name, column.name, how)

    kind = column.kind
    yield feature("not null")
    yield feature("default", 0)
    for number in range(3):
        yield feature("typed", number)
    if kind.check:
        yield feature("check")
    if kind.unique:
        yield from (feature("unique"), feature("unique replaces"), feature("unique ignores"), feature("unique partly"))
        if table.parent:
            yield feature("unique in parent")
    if kind is WORD:
        whats = ("unique in lower case", "collates", "swallows", "refuses", "keeps", "keeps by rule", "freezes")
        yield from map(feature, whats)
    if kind in (WORD, INT):
        yield feature("changes")
    if kind is INT:
        yield feature("generated")
