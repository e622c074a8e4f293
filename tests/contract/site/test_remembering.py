"""What streamd remembers in a site's database, on every engine."""

from __future__ import annotations

import msgspec
import pytest

from streamd.identity import Identity
from streamd.model import DocumentId, Event, Name, Operation, QueuedEvent, Record
from tests.contract.conftest import Installed
from tests.contract.site.writes import ADA, rename_of


async def test_records_are_remembered_replaced_and_forgotten(installed: Installed) -> None:
    name: Name = ("Tür \"x\" \\ 'y' 😀", 7)
    record = Record("Item", name, "site", ("remote",), "c1", {"a": "c2"}, {"log": 3}, 5)
    database = installed.database
    async with database.transaction() as transaction:
        await transaction.put_records([record, Record("Item", ("b",), "site", ("b",))])
        record.clock, record.deleted_at = "c9", None
        await transaction.put_records([record])
    async with database.snapshot() as reader:
        found = await reader.records("Item", [name, ("b",), ("TÜR",)])
    assert found[name] == record
    assert set(found) == {name, ("b",)}
    async with database.transaction() as transaction:
        await transaction.forget_record("Item", name)
        assert set(await transaction.records("Item", [name, ("b",)])) == {("b",)}


async def test_a_record_is_of_the_document_that_has_the_name_or_had_it_last(installed: Installed) -> None:
    first, born = DocumentId(("a",)), DocumentId(("a",), "c2")
    records = [Record("Item", (name,), "s", (name,), deleted_at=3 if name == "a" else None) for name in "abc"]
    async with installed.database.transaction() as transaction:
        assert not await transaction.has_identities()
        await transaction.put_records(records)
        await transaction.put_identities(
            [
                Identity("Item", first, ("b",), "c1"),
                Identity("Item", born, ("a",), "c3", 3),
                Identity("Item", DocumentId(("x",)), ("a",), "c1", 1),
                Identity("Other", first, ("a",), "c1", 1),
            ]
        )
    async with installed.database.transaction() as transaction:
        found = await transaction.records("Item", [("a",), ("b",), ("c",)])
        assert {name: record.id for (name,), record in found.items()} == {"a": born, "b": first, "c": None}
        assert {row.id for row in await transaction.identities("Item", [], [first])} == {first}
        await transaction.put_identities([Identity("Item", first, ("d",), "c4")], [("Item", born)])
        assert {row.name for row in await transaction.identities("Item", [("a",)], [first])} == {("d",), ("a",)}
    assert await installed.database.forget_deleted(2) == 2, "tombstones whose names are other documents' by now"
    async with installed.database.snapshot() as reader:
        assert [row.id for row in await reader.identities("Item", [("a",)])] == [first]
        assert await reader.identities("Other", [("a",)]) == []


async def test_old_tombstones_are_forgotten(installed: Installed) -> None:
    async with installed.database.transaction() as transaction:
        await transaction.put_records(
            [Record("Item", (str(n),), "s", (str(n),), deleted_at=n if n < 8 else None) for n in range(10)]
        )
    assert await installed.database.forget_deleted(5) == 5
    async with installed.database.snapshot() as reader:
        assert len(await reader.records("Item", [(str(n),) for n in range(10)])) == 5


async def test_names_that_differ_in_case_alone_are_remembered_apart(installed: Installed) -> None:
    async with installed.database.transaction() as transaction:
        await transaction.put_records([Record("Item", (name,), "s", (name,)) for name in ("abc", "ABC", "abc ", "äbc")])
    async with installed.database.snapshot() as reader:
        assert len(await reader.records("Item", [("abc",), ("ABC",), ("abc ",), ("äbc",), ("Abc",)])) == 4


async def test_the_queue_keeps_events_in_the_order_in_which_they_came(installed: Installed) -> None:
    def queued(sequence: int, name: Name) -> QueuedEvent:
        event = Event(
            sequence, "n", 1, "Item", name, Operation.CREATE, "c", 1, msgspec.Raw(b'{"Code":"\\u00fc","n":1.50}')
        )
        return QueuedEvent(0, "producer", "log", event, "parked", "why 😀", 1, 5, ("Item", '["x"]'), parked_at=7)

    database = installed.database
    async with database.transaction() as transaction:
        await transaction.enqueue([queued(2, ("b",)), queued(1, ("a",)), queued(3, ("b",))])
    async with database.snapshot() as reader:
        every = await reader.queue()
        assert [each.event.sequence for each in every] == [2, 1, 3]
        assert [each.event.sequence for each in await reader.queue("Item", ("b",))] == [2, 3]
        assert await reader.queued_documents("producer") == {("Item", ("a",)), ("Item", ("b",))}
    assert every[0].event == queued(2, ("b",)).event
    every[0].state, every[0].error, every[0].attempts = "held", "another", 4
    async with database.transaction() as transaction:
        await transaction.update_queue(every[:1])
        await transaction.dequeue([every[1].id])
    async with database.snapshot() as reader:
        left = await reader.queue()
    assert [(each.event.sequence, each.state, each.error, each.attempts) for each in left] == [
        (2, "held", "another", 4),
        (3, "parked", "why 😀", 1),
    ]


async def test_a_checkpoint_commits_with_the_rows_or_not_at_all(installed: Installed) -> None:
    installed.write(ADA)
    database = installed.database
    async with database.transaction() as transaction:
        await transaction.put_checkpoint("producer", "log", 1, "n1")
    with pytest.raises(ZeroDivisionError):
        async with database.transaction() as transaction:
            await transaction.write([rename_of(installed, 1, "lost")])
            await transaction.put_checkpoint("producer", "log", 2, "n2")
            raise ZeroDivisionError
    async with database.snapshot() as reader:
        assert await reader.checkpoint("producer") == ("log", 1, "n1")
        assert await reader.checkpoint("another") is None
    assert installed.access.value("SELECT Name FROM Customer") == "Ada"
