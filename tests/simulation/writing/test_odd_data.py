"""Odd data: values and names at the ends of what SQLite allows arrive as they are, and stop nobody else's documents."""

from __future__ import annotations

import random
import sqlite3
import struct
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamd.apply.decide.conflict import merge_children
from streamd.catalog import build
from streamd.db.sqlite.sql import value_as_json
from streamd.model import ChildTable, Column, Difference, Document, DocumentType, OldValues, Record, Table
from streamd.rows import bindings
from streamd.settings import Settings
from tests.simulation.conftest import Opened
from tests.simulation.sites import Site
from tests.support.database_url import Engine
from tests.support.matrix import engines_and

NOT_TEXT = "CAST(x'ff41' AS TEXT)"


@pytest.fixture
async def hq(tmp_path: Path) -> AsyncIterator[Site]:
    site = Site(tmp_path, "hq")
    await site.open()
    yield site
    await site.close()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Site]:
    site = Site(tmp_path, "store")
    await site.open()
    yield site
    await site.close()


def test_each_real_number_reads_back_as_itself() -> None:
    generator = random.Random(7)
    numbers = [0.0, 0.1, 12.9, 1e-7, 1e22, 5e-324, 1.7976931348623157e308, 8460.118448544279, 0.0031637083157750002]
    numbers += [struct.unpack("d", generator.randbytes(8))[0] for _ in range(3000)]
    numbers += [generator.random() * 10 ** generator.randint(-3, 12) for _ in range(3000)]
    wrong = []
    with closing(sqlite3.connect(":memory:")) as connection:
        for number in numbers:
            if number - number == 0.0:
                (text,) = connection.execute(f"SELECT {value_as_json('x')} FROM (SELECT ? AS x)", (number,)).fetchone()
                if float(text) != number or "." not in text:
                    wrong.append((number, text))
    assert wrong == []


def test_a_price_is_written_as_people_write_it() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        assert connection.execute(f"SELECT {value_as_json('12.9')}, {value_as_json('-0.99')}").fetchone() == (
            "12.9",
            "-0.99",
        )


def test_key_columns_may_have_quotes_and_backslashes_in_their_names() -> None:
    name = 'the "key" \\ number'
    columns = (Column(name, "INTEGER", "integer", False, False),)
    settings = Settings.model_validate(
        {
            "site": {"name": "s", "database": "sqlite:///s.db"},
            "state": {"database": "sqlite:///t.db"},
            "doctypes": {"T": {}},
        }
    )
    catalogue = build(settings, {"T": Table("T", columns, (name,), ())})
    (binding,) = bindings(catalogue)["T"]
    assert binding.name_of(msgspec.json.encode({name: 7, "other": "x"})) == (7,)
    assert binding.name_of(msgspec.json.encode({name: None})) is None
    assert binding.name_of(b"{}") is None


async def test_a_whole_number_that_becomes_a_real_one_does_so_everywhere(hq: Site, store: Site) -> None:
    for site in (hq, store):
        site.write("ALTER TABLE Item ADD COLUMN Anything BLOB")
        await site.close()
        await site.open()
    store.write("INSERT INTO Item VALUES ('tea', 'Tea', 1, 1, 1)")
    await hq.pull_all(store)
    store.write("UPDATE Item SET Anything = 1.0")
    await hq.pull_all(store)
    assert hq.rows("SELECT Anything, typeof(Anything) FROM Item") == [(1.0, "real")]


async def test_an_edit_beside_text_that_is_not_valid_stops_nothing(hq: Site, store: Site) -> None:
    store.write("INSERT INTO Item VALUES ('tea', 'Tea', 1, 1)")
    await hq.pull_all(store)
    store.write(f"UPDATE Item SET Label = {NOT_TEXT}")
    await store.capture.drain()
    store.write("UPDATE Item SET Stock = 5")
    await hq.pull_all(store)
    assert hq.rows("SELECT Label, Stock FROM Item") == [("Tea", 5)]
    (failed,) = [entry for entry in await hq.sync_log.list() if entry.status == "Failed"]
    assert "not valid UTF-8" in failed.error


async def test_text_that_is_not_valid_is_mended_at_its_source(hq: Site, store: Site) -> None:
    store.write("INSERT INTO Item VALUES ('tea', 'Tea', 1, 1)")
    await hq.pull_all(store)
    store.write(f"UPDATE Item SET Label = {NOT_TEXT}")
    await hq.pull_all(store)
    store.write("UPDATE Item SET Label = 'Green tea'")
    await hq.pull_all(store)
    assert await hq.queue() == []
    assert hq.everything() == store.everything()


async def test_a_document_here_with_text_that_is_not_valid_holds_up_nobody(hq: Site, store: Site) -> None:
    store.write("INSERT INTO Item VALUES ('tea', 'Tea', 1, 1)", "INSERT INTO Item VALUES ('rum', 'Rum', 1, 1)")
    await hq.pull_all(store)
    hq.write(f"UPDATE Item SET Label = {NOT_TEXT} WHERE Code = 'tea'")
    await hq.capture.drain()
    store.write("UPDATE Item SET Stock = 5")
    await hq.pull_all(store)
    assert hq.rows("SELECT Code, CAST(Label AS BLOB), Stock FROM Item ORDER BY Code") == [
        ("rum", b"Rum", 5),
        ("tea", b"\xffA", 5),
    ]
    store.write("UPDATE Item SET Label = 'Black tea' WHERE Code = 'tea'")
    await hq.pull_all(store)
    assert await hq.queue() == []
    assert hq.everything() == store.everything()


LINES = 130
"""More than two batches of the kit's captures."""


async def with_large_invoices(hq: Site, store: Site) -> None:
    store.write(
        "INSERT INTO Customer VALUES (1, 'Ada', NULL, NULL)",
        "INSERT INTO Item VALUES ('tea', 'Tea', 1, 1)",
        "INSERT INTO Invoice VALUES (1, 1, 'large')",
        *(f"INSERT INTO Line VALUES ({number}, 1, 'tea', 1)" for number in range(LINES)),
    )
    await hq.pull_all(store)
    assert hq.everything() == store.everything()


async def test_a_document_larger_than_a_batch_is_renamed_after_its_rows(hq: Site, store: Site) -> None:
    await with_large_invoices(hq, store)
    # This is the order in which ON UPDATE CASCADE has it.
    store.write("UPDATE Line SET Invoice = 2", "UPDATE Invoice SET Id = 2")
    await hq.pull_all(store)
    assert await hq.queue() == []
    assert hq.everything() == store.everything()


async def test_a_document_larger_than_a_batch_is_renamed_before_its_rows(hq: Site, store: Site) -> None:
    await with_large_invoices(hq, store)
    store.write("UPDATE Invoice SET Id = 2", "UPDATE Line SET Invoice = 2")
    await hq.pull_all(store)
    assert await hq.queue() == []
    assert hq.everything() == store.everything()


async def test_more_rows_than_a_batch_are_moved_to_another_document(hq: Site, store: Site) -> None:
    await with_large_invoices(hq, store)
    store.write("INSERT INTO Invoice VALUES (2, 1, 'other')", "UPDATE Line SET Invoice = 2")
    await hq.pull_all(store)
    assert await hq.queue() == []
    assert hq.everything() == store.everything()


async def test_many_documents_are_renamed_in_one_transaction_across_batches(hq: Site, store: Site) -> None:
    store.write(
        "INSERT INTO Customer VALUES (1, 'Ada', NULL, NULL)",
        "INSERT INTO Item VALUES ('tea', 'Tea', 1, 1)",
        *(f"INSERT INTO Invoice VALUES ({number}, 1, NULL)" for number in range(60)),
        *(f"INSERT INTO Line VALUES ({number}, {number % 60}, 'tea', 1)" for number in range(120)),
    )
    await hq.pull_all(store)
    store.write(
        *(
            statement
            for number in range(60)
            for statement in (
                f"UPDATE Line SET Invoice = {number + 1000} WHERE Invoice = {number}",
                f"UPDATE Line SET Quantity = Quantity + 1 WHERE Invoice = {(number + 1) % 60}",
                f"UPDATE Invoice SET Id = {number + 1000} WHERE Id = {number}",
            )
        )
    )
    await hq.pull_all(store)
    assert await hq.queue() == []
    assert hq.everything() == store.everything()


def test_many_changed_rows_of_one_document_are_each_looked_at_a_few_times() -> None:
    class Counted(dict[str, Any]):
        reads = 0

        def __getitem__(self, key: str) -> Any:
            Counted.reads += 1
            return super().__getitem__(key)

    def column(name: str) -> Column:
        return Column(name, "INTEGER", "integer", False, False)

    child = ChildTable(
        "lines", "Line", ("Id",), ("Invoice",), (column("Id"), column("Invoice"), column("Q")), (), (), None
    )
    doctype = DocumentType("Invoice", "Invoice", ("Id",), (column("Id"),), (), (child,))
    rows = range(8000)
    difference = Difference(
        row_changed={"lines": [{"Id": number, "Q": 2} for number in rows]},
        old=OldValues(row_changed={"lines": [{"Id": number, "Q": 1} for number in rows]}),
    )
    here = Document("Invoice", (1,), {"Id": 1}, {"lines": [Counted(Id=number, Invoice=1, Q=1) for number in rows]})
    merged = merge_children(doctype, difference, here, (1,), Record("Invoice", (1,), "s", (1,)), lambda _field: "0")
    assert len(merged.writes) == len(rows)
    assert Counted.reads < 50 * len(rows), "each row is looked at a few times, however many there are"


async def test_an_edit_of_a_document_that_was_renamed_here_twice_is_applied(hq: Site, store: Site) -> None:
    store.write("INSERT INTO Item VALUES ('tea', 'Tea', 1, 1)", "INSERT INTO Item VALUES ('rum', 'Rum', 1, 1)")
    await hq.pull_all(store)
    for old, new in (("tea", "black"), ("black", "earl"), ("earl", "grey")):
        hq.write(f"UPDATE Item SET Code = '{new}' WHERE Code = '{old}'")
        await hq.capture.drain()
    store.write("UPDATE Item SET Stock = 7")
    await hq.pull_all(store)
    await store.pull_all(hq)
    assert hq.rows("SELECT Code, Stock FROM Item ORDER BY Code") == [("grey", 7), ("rum", 7)]
    assert hq.everything() == store.everything()
    assert await hq.queue() == await store.queue() == []


async def test_a_document_renamed_there_and_deleted_here_stays_deleted_at_both(hq: Site, store: Site) -> None:
    store.write("INSERT INTO Item VALUES ('tea', 'Tea', 1, 1)")
    await hq.pull_all(store)
    store.write("UPDATE Item SET Code = 'grey'")
    await store.capture.drain()
    store.write("UPDATE Item SET Stock = 7")
    hq.write("DELETE FROM Item")
    await hq.capture.drain()
    await hq.pull_all(store)
    await store.pull_all(hq)
    await hq.pull_all(store)
    assert hq.rows("SELECT * FROM Item") == store.rows("SELECT * FROM Item") == []
    assert await hq.queue() == await store.queue() == []


REPLACE = "INSERT OR REPLACE INTO Invoice VALUES (1, 1, 'replaced')"


@pytest.mark.parametrize(
    "statements",
    [
        [REPLACE],
        ["DELETE FROM Invoice WHERE Id = 1", REPLACE],
        [REPLACE, "UPDATE Line SET Quantity = 9 WHERE Id = 1"],
        ["DELETE FROM Line WHERE Id = 2", REPLACE],
        [REPLACE, "DELETE FROM Line WHERE Id = 2"],
        [REPLACE, "INSERT INTO Line VALUES (3, 1, 'tea', 3)"],
        ["UPDATE Invoice SET Note = 'x' WHERE Id = 1", REPLACE],
        ["DELETE FROM Line", "DELETE FROM Invoice", REPLACE, "INSERT INTO Line VALUES (4, 1, 'tea', 4)"],
        ["PRAGMA recursive_triggers = ON", REPLACE],
    ],
)
async def test_a_replaced_header_keeps_its_lines(hq: Site, store: Site, statements: list[str]) -> None:
    """Foreign keys are off in most programs' connections: the lines of a replaced row stay where they are."""
    store.write(
        "INSERT INTO Customer VALUES (1, 'Ada', NULL, NULL)",
        "INSERT INTO Item VALUES ('tea', 'Tea', 2.5, 10)",
        "INSERT INTO Invoice VALUES (1, 1, 'first')",
        "INSERT INTO Line VALUES (1, 1, 'tea', 1)",
        "INSERT INTO Line VALUES (2, 1, 'tea', 2)",
    )
    await hq.pull_all(store)
    with closing(sqlite3.connect(store.file, isolation_level=None)) as connection:
        if statements[0].startswith("PRAGMA"):
            connection.execute(statements[0])
        connection.execute("BEGIN")
        for statement in statements[statements[0].startswith("PRAGMA") :]:
            connection.execute(statement)
        connection.execute("COMMIT")
    await hq.pull_all(store)
    assert await hq.queue() == []
    assert hq.everything() == store.everything()


WORDS = ("t", "k", "r", "s", "e", "n", "o", "key", "value", "old", "new", "name", "doctype", "id", "tbl", "op", "mark")
"""Names that statements of ours may have for something else."""


@pytest.mark.parametrize(("engine", "excluded", "key"), engines_and([("tbl",), ()], ["t", "k", "r", "id"]))
async def test_no_name_of_a_column_is_taken_for_anything_else(
    opened: Opened, engine: Engine, key: str, excluded: tuple[str, ...]
) -> None:
    columns = ", ".join(f'"{word}" VARCHAR(40)' for word in WORDS if word != key)
    parent = f'"doc" INTEGER NOT NULL REFERENCES "Doc" ("{key}")'
    schema = f"""CREATE TABLE "Doc" ("{key}" INTEGER PRIMARY KEY, {columns});
        CREATE TABLE "Row" ("{key}" INTEGER PRIMARY KEY, {parent}, {columns})"""
    rows: dict[str, Any] = {"table": "Row", "key": key, "parent_key": "doc", "exclude": list(excluded)}
    types = {"Doc": {"exclude": list(excluded), "children": {"rows": rows}}}
    sites = [
        await opened(name, engine=each, schema=schema, doctypes=types, renamed=renamed)
        for name, each, renamed in (("one", engine, ()), ("two", "sqlite", ()), ("three", engine, ()))
    ]
    first, between, last = sites
    others = ", ".join("'x'" for _ in WORDS[1:])
    first.write(f'INSERT INTO "Doc" VALUES (1, {others})', f'INSERT INTO "Row" VALUES (10, 1, {others})')
    for step in (
        "",
        'UPDATE "Doc" SET "value" = \'y\'',
        'UPDATE "Row" SET "old" = \'y\', "new" = \'z\'',
        f'INSERT INTO "Row" VALUES (11, 1, {others})',
        f'DELETE FROM "Row" WHERE "{key}" = 10',
    ):
        if step:
            first.write(step)
        await between.pull_all(first)
        await last.pull_all(between)
    await last.read_whole(between, "Doc")
    kept = ", ".join(f'"{word}"' for word in WORDS if word not in excluded)
    for table in ("Doc", "Row"):
        query = f'SELECT {kept} FROM "{table}" ORDER BY "{key}"'
        assert first.rows(query) == between.rows(query) == last.rows(query)
        assert len(last.rows(query)) == 1
    for site in sites:
        assert await site.queue() == []


@pytest.mark.parametrize(
    ("engine", "infinite"),
    [("sqlite", "9e999"), ("postgresql", "'-Infinity'"), ("postgresql", "'NaN'"), ("mariadb", "1e300")],
)
async def test_a_number_that_no_end_can_hold_travels_and_holds_up_nothing_when_it_is_changed(
    opened: Opened, engine: Engine, infinite: str
) -> None:
    schema = "CREATE TABLE sample (id INTEGER PRIMARY KEY, size DOUBLE PRECISION, note VARCHAR(10))"
    hq, store = [await opened(name, schema=schema, doctypes={"sample": {}}, engine=engine) for name in ("hq", "store")]
    hq.write(f"INSERT INTO sample VALUES (1, {infinite}, 'a'), (2, 1, 'b')")
    await store.pull_all(hq)
    for size in ("1", infinite, "NULL"):
        hq.write(f"UPDATE sample SET size = {size}")
        await store.pull_all(hq)
        assert str(store.rows("SELECT * FROM sample ORDER BY 1")) == str(hq.rows("SELECT * FROM sample ORDER BY 1"))
    assert await store.queue() == []
