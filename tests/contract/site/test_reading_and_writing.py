"""Documents are read whole and written exactly, on every engine."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest

from streamd.db.base import WriteKind
from streamd.errors import RowRefused, SiteBusy, SiteError
from streamd.model import Name
from tests.contract.conftest import Installed
from tests.contract.site.writes import ADA, EVA, INVOICE, TEA, rename_of, write_to

LINES = ("INSERT INTO Line VALUES (1, 1, 'tea', 2)", "INSERT INTO Line VALUES (2, 1, 'tea', 3)")


async def test_documents_are_read_whole_and_by_their_exact_names(installed: Installed) -> None:
    installed.write(ADA, TEA, INVOICE, *LINES)
    async with installed.database.snapshot() as reader:
        found = await reader.read_documents(installed.catalogue["Invoice"], [(1,), (2,)])
        items = await reader.read_documents(installed.catalogue["Item"], [("tea",), ("TEA",), ("tea ",)])
    document = json.loads(found[(1,)].whole())
    assert document["Note"] == "first"
    assert [line["Quantity"] for line in document["lines"]] == [2, 3]
    assert list(found) == [(1,)]
    assert list(items) == [("tea",)]


async def test_names_that_no_document_can_have_do_not_exist(installed: Installed) -> None:
    installed.write(ADA, TEA)
    odd: list[Name] = [(1,), ("1",), (1 << 70,), (-(1 << 63),), ("x" * 5000,), ("a\0b",), ("\ud800",), (1.5,)]
    async with installed.database.snapshot() as reader:
        assert await reader.existing(installed.catalogue["Customer"], odd) <= {(1,), ("1",)}
        assert (1,) in await reader.existing(installed.catalogue["Customer"], odd)
        assert await reader.existing(installed.catalogue["Item"], [("tea",), *odd]) == {("tea",)}
        assert list(await reader.read_documents(installed.catalogue["Item"], [("tea",), *odd])) == [("tea",)]


async def test_names_are_listed_a_page_at_a_time(installed: Installed) -> None:
    installed.write(*(f"INSERT INTO Customer VALUES ({number}, 'x', NULL, NULL)" for number in range(1, 26)))
    names: list[Name] = []
    while True:
        async with installed.database.snapshot() as reader:
            page = await reader.list_names(installed.catalogue["Customer"], names[-1] if names else None, 10)
        if not page:
            break
        names += page
    assert names == [(number,) for number in range(1, 26)]


async def test_a_snapshot_does_not_move(installed: Installed) -> None:
    installed.write(ADA)
    async with installed.database.snapshot() as reader:
        before = await reader.read_documents(installed.catalogue["Customer"], [(1,), (2,)])
        await asyncio.to_thread(installed.write, EVA)
        after = await reader.read_documents(installed.catalogue["Customer"], [(1,), (2,)])
    assert before == after


async def test_rows_of_a_small_table_are_given_as_plain_values(installed: Installed) -> None:
    installed.write(ADA, EVA)
    rows = await installed.database.table_rows("Customer", ["Id", "City"])
    assert sorted(rows, key=lambda row: row["Id"]) == [{"Id": 1, "City": "Turin"}, {"Id": 2, "City": None}]


async def test_rows_are_inserted_changed_and_deleted_many_at_a_time(installed: Installed) -> None:
    rows = [[number, f"name {number}", None, None] for number in range(300)]
    async with installed.database.transaction() as transaction:
        await transaction.write(
            [write_to(installed, WriteKind.INSERT, "Customer", ["Id", "Name", "City", "Manager"], [], *rows)]
        )
        await transaction.write(
            [
                write_to(installed, WriteKind.UPDATE, "Customer", ["City"], ["Id"], *([str(n), n] for n in range(200))),
                write_to(installed, WriteKind.DELETE, "Customer", [], ["Id"], *([n] for n in range(200, 300))),
            ]
        )
    assert installed.access.rows("SELECT Id, Name, City FROM Customer ORDER BY Id") == [
        (number, f"name {number}", str(number)) for number in range(200)
    ]


async def test_a_key_can_be_changed(installed: Installed) -> None:
    installed.write(ADA)
    async with installed.database.transaction() as transaction:
        await transaction.write([write_to(installed, WriteKind.UPDATE, "Customer", ["Id"], ["Id"], [7, 1])])
    assert installed.access.rows("SELECT Id, Name FROM Customer") == [(7, "Ada")]


@pytest.mark.parametrize(
    ("table", "columns", "row"),
    [
        ("Customer", ["Id", "Name"], [1, "again"]),
        ("Customer", ["Id", "Name"], [5, None]),
        ("Customer", ["Id", "Name", "Manager"], [5, "x", 99]),
        ("Customer", ["Id", "Name"], [1 << 70, "x"]),
        ("Customer", ["Id", "Name"], [5, {"$hex": "zz"}]),
        ("Item", ["Code", "Label"], ["coffee", "Tea"]),
        ("Item", ["Code", "Price"], ["coffee", -1]),
    ],
    ids=["key taken", "null", "no such customer", "too large", "no bytes", "label taken", "check"],
)
async def test_what_the_database_refuses_is_refused_and_nothing_is_written(
    installed: Installed, table: str, columns: list[str], row: list[object]
) -> None:
    installed.write(ADA, TEA)
    before = installed.site.everything()
    with pytest.raises(RowRefused) as refused:
        async with installed.database.transaction() as transaction:
            await transaction.write([write_to(installed, WriteKind.INSERT, table, columns, [], row)])
    assert refused.value.message
    assert installed.site.everything() == before


async def test_after_a_savepoint_the_rest_of_the_transaction_stands(installed: Installed) -> None:
    installed.write(ADA)
    async with installed.database.transaction() as transaction:
        await transaction.write([rename_of(installed, 1, "kept")])
        with pytest.raises(RowRefused):
            async with transaction.savepoint():
                await transaction.write(
                    [write_to(installed, WriteKind.INSERT, "Customer", ["Id", "Name"], [], [2, "x"], [1, "again"])]
                )
    assert installed.access.rows("SELECT Id, Name FROM Customer") == [(1, "kept")]


async def test_a_row_that_is_not_there_is_refused_where_exactly_one_has_to_be(installed: Installed) -> None:
    installed.write(ADA)
    with pytest.raises(RowRefused):
        async with installed.database.transaction() as transaction:
            await transaction.write([rename_of(installed, 1, "x"), rename_of(installed, 2, "y")])
    assert installed.access.value("SELECT Name FROM Customer") == "Ada"


async def test_an_update_to_the_same_value_finds_its_row(installed: Installed) -> None:
    installed.write(ADA)
    async with installed.database.transaction() as transaction:
        await transaction.write([rename_of(installed, 1, "Ada")])


async def test_a_locked_document_is_not_changed_by_others_until_the_end(installed: Installed) -> None:
    installed.write(ADA, TEA, INVOICE, *LINES)
    done = threading.Event()

    def user() -> None:
        installed.write("UPDATE Line SET Quantity = 100 WHERE Id = 1")
        done.set()

    async with installed.database.transaction() as transaction:
        await transaction.lock_documents(installed.catalogue["Invoice"], [(1,), (99,)])
        writing = asyncio.create_task(asyncio.to_thread(user))
        await asyncio.sleep(0.2)
        assert not done.is_set()
    await writing
    assert done.is_set()


async def test_a_user_who_holds_a_row_for_long_makes_the_site_busy(installed: Installed) -> None:
    installed.write(ADA)
    with installed.access.write() as connection:
        connection.execute("UPDATE Customer SET Name = 'held' WHERE Id = 1")
        with pytest.raises(SiteBusy):
            async with installed.database.transaction() as transaction:
                await transaction.write([rename_of(installed, 1, "x")])
    async with installed.database.transaction() as transaction:
        await transaction.write([rename_of(installed, 1, "y")])
    assert installed.access.value("SELECT Name FROM Customer") == "y"


async def test_a_cancelled_transaction_leaves_the_site_usable(installed: Installed) -> None:
    installed.write(ADA)
    begun = asyncio.Event()

    async def forever() -> None:
        async with installed.database.transaction() as transaction:
            await transaction.write([rename_of(installed, 1, "lost")])
            begun.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(forever())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(installed.write, "UPDATE Customer SET City = 'Rome' WHERE Id = 1")
    async with installed.database.transaction() as transaction:
        await transaction.write([rename_of(installed, 1, "kept")])
    assert installed.access.rows("SELECT Name, City FROM Customer") == [("kept", "Rome")]


async def test_a_view_can_be_read_further_after_an_attempt_that_failed(installed: Installed) -> None:
    installed.write(ADA)
    doctype = installed.catalogue["Customer"]
    async with installed.database.snapshot() as reader:
        with pytest.raises(SiteError):
            async with reader.attempt():
                await reader._fetch("SELECT 1 FROM there_is_no_such_table")  # type: ignore[attr-defined]
        names = await reader.list_names(doctype, None, 9)
        assert len(await reader.read_documents(doctype, names)) == 1
