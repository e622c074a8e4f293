"""Whatever documents link to each other, in whatever order the log has them: each statement finds what it refers to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streamd.apply.write.graph import depth_first, in_one_cycle
from streamd.apply.write.ordering import Order, Planned, in_dependency_order, in_log_order
from streamd.apply.write.rowwrite import RowWrite, delete_writes, insert_writes, rename_writes, update_writes
from streamd.apply.write.writer import columns_of, table_writes
from streamd.db.base import TableWrite, WriteKind
from streamd.model import Catalogue, ChildTable, Column, Document, DocumentType, Kind, Link, Operation, Row


def column(name: str, *, nullable: bool = True) -> Column:
    return Column(name, "INTEGER", Kind.INTEGER, nullable=nullable)


PLACE = DocumentType("Place", "place", ("id",), (column("id", nullable=False), column("title")))
PERSON = DocumentType(
    "Person",
    "person",
    ("id",),
    (column("id", nullable=False), column("boss"), column("team"), column("age")),
    (Link(("boss",), "Person"), Link(("team",), "Team")),
    (
        ChildTable(
            "stays",
            "stay",
            ("id",),
            ("person",),
            (column("id", nullable=False), column("person", nullable=False), column("place"), column("with")),
            (Link(("place",), "Place"), Link(("with",), "Person")),
        ),
    ),
)
TEAM = DocumentType(
    "Team",
    "team",
    ("id",),
    (column("id", nullable=False), column("lead", nullable=False)),
    (Link(("lead",), "Person"),),
)
CATALOGUE = Catalogue({each.name: each for each in (PLACE, PERSON, TEAM)}, frozenset())
COLUMNS = columns_of(CATALOGUE)

FOREIGN_KEYS = {
    "person": {"boss": "person", "team": "team"},
    "team": {"lead": "person"},
    "stay": {"person": "person", "place": "place", "with": "person"},
}

World = dict[str, dict[int, Row]]
"""A database: the rows of each table by their id."""


class Refused(Exception):
    """The database says no."""


@dataclass
class Database:
    """Checks foreign keys at each row of each statement."""

    tables: World
    statements: list[TableWrite] = field(default_factory=list)

    def write(self, writes: Iterable[TableWrite]) -> None:
        for write in writes:
            self.statements.append(write)
            ids = [row[len(write.columns)] if write.where else row[0] for row in write.rows]
            assert len(set(ids)) == len(ids) or not write.exactly, "a row stands in one statement twice"
            for values in write.rows:
                self._row(write, values)

    def _row(self, write: TableWrite, values: Sequence[Any]) -> None:
        names = [each.name for each in write.columns]
        new = dict(zip(names, values, strict=False))
        meant = dict(zip([each.name for each in write.where], values[len(names) :], strict=True))
        rows = self.tables[write.table]
        if write.kind is WriteKind.INSERT:
            if new["id"] in rows:
                raise Refused(f"{write.table} {new['id']} is there")
            rows[new["id"]] = new
            self._refers(write.table, new)
            return
        found = [key for key, row in rows.items() if all(row[name] == value for name, value in meant.items())]
        if write.exactly and len(found) != 1:
            raise Refused(f"{len(found)} rows of {write.table} instead of one")
        for key in found:
            old = rows.pop(key)
            if write.kind is WriteKind.UPDATE:
                changed = old | new
                rows[changed["id"]] = changed
                self._refers(write.table, changed)
            if key not in rows:
                self._is_free(write.table, key)

    def _refers(self, table: str, row: Row) -> None:
        for name, target in FOREIGN_KEYS.get(table, {}).items():
            if row[name] is not None and row[name] not in self.tables[target]:
                raise Refused(f"{table} {row['id']} refers to {target} {row[name]}, which is not there")

    def _is_free(self, table: str, key: int) -> None:
        for other, keys in FOREIGN_KEYS.items():
            for name, target in keys.items():
                if target == table and any(row[name] == key for row in self.tables[other].values()):
                    raise Refused(f"{other} still refers to {table} {key}")


IDS = st.integers(1, 5)
SOME = st.none() | IDS


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A database in which all references are right."""
    people = draw(st.sets(IDS))
    places = draw(st.sets(IDS))
    teams = draw(st.sets(IDS)) if people else set()

    def one_of(ids: set[int]) -> Any:
        return draw(st.none() | st.sampled_from(sorted(ids))) if ids else None

    rows: World = {
        "place": {each: {"id": each, "title": draw(st.integers(0, 1))} for each in places},
        "person": {
            each: {"id": each, "boss": one_of(people), "team": one_of(teams), "age": draw(st.integers(0, 1))}
            for each in people
        },
        "team": {each: {"id": each, "lead": draw(st.sampled_from(sorted(people)))} for each in teams},
        "stay": {},
    }
    for person in people:
        for number in draw(st.sets(st.integers(0, 2))):
            key = person * 10 + number
            rows["stay"][key] = {"id": key, "person": person, "place": one_of(places), "with": one_of(people)}
    return rows


def document(doctype: DocumentType, rows: World, key: int) -> Document | None:
    if key not in rows[doctype.table]:
        return None
    children = {
        child.field: [row for row in rows[child.table].values() if row["person"] == key] for child in doctype.children
    }
    return Document(doctype.name, (key,), rows[doctype.table][key], children)


def change(doctype: DocumentType, before: World, after: World, key: int) -> Planned | None:
    """What makes one document of `before` that of `after`."""
    one, other = document(doctype, before, key), document(doctype, after, key)
    if one == other:
        return None
    if one is None:
        assert other is not None
        writes = insert_writes(doctype, other.fields, other.children)
        return Planned(doctype, Operation.CREATE, (key,), None, writes, None)
    if other is None:
        return Planned(doctype, Operation.DELETE, (key,), None, delete_writes(doctype, one), one)
    writes = update_writes(doctype, (key,), _difference(one.fields, other.fields))
    for child in doctype.children:
        olds = {row["id"]: row for row in one.children[child.field]}
        news = {row["id"]: row for row in other.children[child.field]}
        writes = [
            *(RowWrite.delete(child, (key,), (each,)) for each in olds.keys() - news.keys()),
            *writes,
            *(
                write
                for each in sorted(olds.keys() & news.keys())
                for write in RowWrite.update_child(child, (key,), (each,), _difference(olds[each], news[each]))
            ),
            *(RowWrite.insert(child.table, news[each]) for each in sorted(news.keys() - olds.keys())),
        ]
    return Planned(doctype, Operation.UPDATE, (key,), None, writes, one)


def _difference(one: Row, other: Row) -> Row:
    return {name: value for name, value in other.items() if one[name] != value}


def changes(before: World, after: World) -> list[Planned]:
    return [
        planned
        for doctype in CATALOGUE.doctypes.values()
        for key in sorted(before[doctype.table].keys() | after[doctype.table].keys())
        if (planned := change(doctype, before, after, key)) is not None
    ]


def copied(rows: World) -> World:
    return {table: {key: dict(row) for key, row in found.items()} for table, found in rows.items()}


def names(order: Order) -> list[tuple[str, Any]]:
    return [(each.doctype.name, each.name[0]) for run in order.runs for each in run]


@given(worlds(), worlds(), st.randoms(use_true_random=False))
def test_each_row_finds_what_it_refers_to_in_whatever_order_the_log_has_the_documents(
    before: World, after: World, chance: Any
) -> None:
    planned = changes(before, after)
    chance.shuffle(planned)
    database = Database(copied(before))
    database.write(table_writes(in_dependency_order(planned), COLUMNS))
    assert database.tables == after


@given(worlds(), worlds(), st.randoms(use_true_random=False))
def test_without_links_the_order_of_the_log_holds_among_what_is_alike(before: World, after: World, chance: Any) -> None:
    planned = [each for each in changes(before, after) if each.doctype is PLACE]
    chance.shuffle(planned)
    order = in_dependency_order(planned)
    kinds = list(dict.fromkeys(each.kind for each in planned))
    assert [run[0].kind for run in order.runs] == kinds
    assert [each for run in order.runs for each in run] == sorted(planned, key=lambda each: kinds.index(each.kind))
    assert not order.first
    assert not order.last
    alike = [each for each in planned if each.kind == planned[0].kind] if planned else []
    assert in_dependency_order(alike) == in_log_order(alike)


def made(key: int, **row: Any) -> Planned:
    full = {"id": key, "boss": None, "team": None, "age": None, **row}
    return Planned(PERSON, Operation.CREATE, (key,), None, insert_writes(PERSON, full, {}))


def test_a_chain_of_new_documents_is_one_statement_in_its_order() -> None:
    planned = [made(1, boss=2), made(2, boss=3), made(3), made(4, boss=1)]
    order = in_dependency_order(planned)
    assert names(order) == [("Person", key) for key in (3, 2, 1, 4)]
    assert len(table_writes(order, COLUMNS)) == 1
    assert order.reordered


def test_what_is_alike_is_written_together_across_the_log() -> None:
    planned = []
    for key in range(50):
        planned.append(Planned(PLACE, "create", (key,), None, insert_writes(PLACE, {"id": key, "title": 1}, {})))
        planned.append(made(key))
        planned.append(Planned(TEAM, "create", (key,), None, insert_writes(TEAM, {"id": key, "lead": key}, {})))
    assert len(table_writes(in_log_order(planned), COLUMNS)) == 150
    assert len(table_writes(in_dependency_order(planned), COLUMNS)) == 3


def test_new_documents_that_link_in_a_circle_get_one_link_afterwards() -> None:
    order = in_dependency_order([made(1, boss=2), made(2, boss=1)])
    (last,) = order.last
    assert (last.kind, last.columns) == ("update", ("boss",))
    database = Database({"person": {}, "team": {}, "place": {}, "stay": {}})
    database.write(table_writes(order, COLUMNS))
    assert {key: row["boss"] for key, row in database.tables["person"].items()} == {1: 2, 2: 1}


def test_a_document_that_links_to_itself_stays_as_it_is() -> None:
    order = in_dependency_order([made(1, boss=1), made(2, boss=2)])
    assert not order.last
    assert not order.reordered


def test_a_circle_that_cannot_be_cut_is_left_to_the_database() -> None:
    strict = DocumentType(
        "Strict",
        "strict",
        ("id",),
        (column("id", nullable=False), column("to", nullable=False)),
        (Link(("to",), "Strict"),),
    )
    planned = [
        Planned(strict, "create", (one,), None, insert_writes(strict, {"id": one, "to": other}, {}))
        for one, other in ((1, 2), (2, 1))
    ]
    order = in_dependency_order(planned)
    assert not order.last
    assert sorted(names(order)) == [("Strict", 1), ("Strict", 2)]


def test_a_child_row_is_given_up_before_another_document_takes_it() -> None:
    here = Document("Person", (1,), {"id": 1}, {"stays": [{"id": 9, "person": 1, "place": None, "with": None}]})
    (stays,) = PERSON.children
    row = {"id": 9, "person": 2, "place": None, "with": None}
    takes = Planned(PERSON, "update", (2,), None, [RowWrite.insert("stay", row)], Document("Person", (2,), {"id": 2}))
    gives = Planned(PERSON, "delete", (1,), None, delete_writes(PERSON, here), here)
    assert names(in_dependency_order([takes, gives])) == [("Person", 1), ("Person", 2)]
    lets_go = Planned(PERSON, "update", (1,), None, [RowWrite.delete(stays, (1,), (9,))], here)
    (run,) = in_dependency_order([takes, lets_go]).runs
    assert len(run) == 2


def test_a_renamed_document_comes_before_those_that_link_to_its_new_name() -> None:
    here = Document("Person", (1,), {"id": 1, "boss": None, "team": None, "age": None})
    renamed = Planned(PERSON, "update", (8,), (1,), rename_writes(PERSON, (1,), (8,)), here)
    order = in_dependency_order([made(2, boss=8), made(3), renamed])
    assert names(order) == [("Person", 3), ("Person", 8), ("Person", 2)]
    assert [len(run) for run in order.runs] == [1, 1, 1]


@given(
    st.integers(1, 12).flatmap(lambda size: st.lists(st.sets(st.integers(0, size - 1)), min_size=size, max_size=size))
)
def test_circles_are_those_that_reach_each_other(graph: list[set[int]]) -> None:
    def reached(start: int) -> set[int]:
        seen, todo = set(), [start]
        while todo:
            node = todo.pop()
            if node not in seen:
                seen.add(node)
                todo += graph[node]
        return seen

    needs = [sorted(each) for each in graph]
    circle = in_one_cycle(needs)
    reach: Mapping[int, set[int]] = {node: reached(node) for node in range(len(graph))}
    for one in range(len(graph)):
        for other in range(len(graph)):
            assert (circle[one] == circle[other]) == (other in reach[one] and one in reach[other])
    order = depth_first(needs)
    assert sorted(order) == list(range(len(graph)))
    for node, others in enumerate(needs):
        for other in others:
            assert circle[node] == circle[other] or order.index(other) < order.index(node)
