"""What streamd asks of a site's database, on every engine."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace

import msgspec
import pytest

from streamd.common.names import id_ranges
from streamd.db import open_site
from streamd.db.base import TableWrite, WriteKind
from streamd.errors import Fenced, RowRefused, SiteBusy, SiteError
from streamd.identity import Identity
from streamd.model import Change, Claim, DocumentId, Event, Kind, Name, Operation, QueuedEvent, Record
from tests.contract.conftest import Installed
from tests.support import servers
from tests.support.engines import open_access

ON_A_SERVER = pytest.mark.parametrize("engine", ["postgresql", "mariadb"], indirect=True)
"""SQLite has one writer, and no connections to lose."""

ADA = "INSERT INTO Customer VALUES (1, 'Ada', 'Turin', NULL)"
EVA = "INSERT INTO Customer VALUES (2, 'Eva', NULL, 1)"
TEA = "INSERT INTO Item VALUES ('tea', 'Tea', 2.5, 10)"
INVOICE = "INSERT INTO Invoice VALUES (1, 1, 'first')"
LINES = ("INSERT INTO Line VALUES (1, 1, 'tea', 2)", "INSERT INTO Line VALUES (2, 1, 'tea', 3)")
MARK = json.dumps({"origin": {"site": "s", "log": "l", "sequence": 1, "path": ["s"]}, "clock": ""})


def _claim(last: Claim, changes: list[Change]) -> Claim:
    return Claim(
        last.log,
        last.batch + 1,
        max(change.id for change in changes),
        f"digest {last.batch}",
        "",
        previous_change=last.last_change,
        ids=id_ranges(change.id for change in changes),
    )


async def _waiting(installed: Installed) -> list[Change]:
    return list((await installed.database.read_changes(await installed.claim(), 1000)).rows)


def _row(text: bytes | None) -> dict[str, object]:
    assert text is not None
    return json.loads(text)


# Installing


async def test_installing_twice_changes_nothing(installed: Installed) -> None:
    database = installed.database
    before = await database.identity()
    tables = await database.tables()
    await database.run_script(database.install_script(installed.catalogue, tables))
    assert await database.identity() == before
    assert await database.our_triggers() == database.wanted_triggers(installed.catalogue, tables)


async def test_uninstalling_for_a_migration_keeps_who_the_site_is(installed: Installed) -> None:
    database = installed.database
    before = await database.identity()
    triggers = await database.our_triggers()
    assert triggers
    await database.run_script(database.uninstall_script(triggers, keep_tables=True))
    assert await database.our_triggers() == {}
    assert await database.identity() == before
    installed.write(ADA)
    assert await _waiting(installed) == []


async def test_uninstalling_leaves_nothing_of_ours(installed: Installed) -> None:
    database = installed.database
    await database.run_script(database.uninstall_script(await database.our_triggers(), keep_tables=False))
    assert await database.identity() is None
    assert sorted(await database.tables()) == ["Customer", "Invoice", "Item", "Line"]
    assert all(not table.lower().startswith("streamd") for table in installed.access.tables())
    installed.write(ADA)


async def test_a_vanished_trigger_is_noticed(installed: Installed) -> None:
    database = installed.database
    tables = await database.tables()
    wanted = database.wanted_triggers(installed.catalogue, tables)
    gone = [name for name in wanted if "Line" in name]
    await database.run_script(database.uninstall_script(gone, keep_tables=True))
    missing = wanted.keys() - (await database.our_triggers()).keys()
    assert missing == set(gone)
    assert database.doctypes_behind(missing, installed.catalogue, tables) == ["Invoice"]


async def test_tables_are_described_with_their_own_names_and_kinds(installed: Installed) -> None:
    tables = await installed.database.tables()
    item, line = tables["Item"], tables["Line"]
    assert item.primary_key == ("Code",)
    assert [column.name for column in item.columns] == ["Code", "Label", "Price", "Stock"]
    assert [column.kind for column in item.columns] == [Kind.TEXT, Kind.TEXT, Kind.DECIMAL, Kind.INTEGER]
    assert [column.nullable for column in line.columns] == [False, False, False, False]
    assert [column.name for column in item.columns if column.unique] == ["Label"]
    assert {(key.columns, key.table, key.referred) for key in line.foreign_keys} == {
        (("Invoice",), "Invoice", ("Id",)),
        (("Item",), "Item", ("Code",)),
    }


async def test_a_clone_gets_an_identity_of_its_own(installed: Installed) -> None:
    before = await installed.database.identity()
    new = await installed.database.new_identity()
    after = await installed.database.identity()
    assert before is not None
    assert after is not None
    assert after.site == new != before.site
    async with installed.database.snapshot() as reader:
        assert await reader.last_claim() is None


# Capture


async def test_what_users_commit_is_captured_row_by_row(installed: Installed) -> None:
    installed.write(ADA)
    installed.write("UPDATE Customer SET City = 'Rome' WHERE Id = 1")
    installed.write("DELETE FROM Customer WHERE Id = 1")
    changes = await _waiting(installed)
    assert [(change.table, change.op, change.origin) for change in changes] == [
        ("Customer", "I", ""),
        ("Customer", "U", ""),
        ("Customer", "D", ""),
    ]
    ada = {"Id": 1, "Name": "Ada", "City": "Turin", "Manager": None}
    assert _row(changes[0].after) == ada
    assert (_row(changes[1].before), _row(changes[1].after)) == (ada, ada | {"City": "Rome"})
    assert _row(changes[2].before) == ada | {"City": "Rome"}
    assert changes[0].before is None
    assert changes[2].after is None


async def test_what_users_roll_back_is_not_captured(installed: Installed) -> None:
    with installed.access.connection() as connection:
        connection.execute("BEGIN")
        connection.execute(ADA)
        connection.execute("ROLLBACK")
    assert await _waiting(installed) == []


async def test_a_taken_change_is_not_given_again_and_is_removed_with_the_next_claim(installed: Installed) -> None:
    database = installed.database
    installed.write(ADA)
    first = await _waiting(installed)
    start = await installed.claim()
    one = _claim(start, first)
    async with database.transaction() as transaction:
        await transaction.put_claim(start, one)
    assert await _waiting(installed) == []
    assert list(await database.read_claimed(one)) == first
    installed.write(EVA)
    second = await _waiting(installed)
    assert [_row(change.after)["Name"] for change in second] == ["Eva"]
    two = _claim(one, second)
    async with database.transaction() as transaction:
        await transaction.put_claim(one, two)
    assert await database.read_claimed(one) == []
    assert list(await database.read_claimed(two)) == second
    async with database.snapshot() as reader:
        assert await reader.waiting_changes(two) == 0
        assert await reader.waiting_changes(one) == len(second)


async def test_a_second_daemon_is_fenced_off(installed: Installed) -> None:
    installed.write(ADA)
    changes = await _waiting(installed)
    start = await installed.claim()
    async with installed.database.transaction() as transaction:
        await transaction.put_claim(start, _claim(start, changes))
    with pytest.raises(Fenced):
        async with installed.database.transaction() as transaction:
            await transaction.put_claim(start, _claim(start, changes))


async def test_a_claim_that_is_rolled_back_takes_nothing(installed: Installed) -> None:
    installed.write(ADA)
    changes = await _waiting(installed)
    start = await installed.claim()
    with pytest.raises(ZeroDivisionError):
        async with installed.database.transaction() as transaction:
            await transaction.put_claim(start, _claim(start, changes))
            raise ZeroDivisionError
    assert await installed.claim() == start
    assert await _waiting(installed) == changes


async def test_a_limit_is_said_to_cut(installed: Installed) -> None:
    installed.write(*(f"INSERT INTO Customer VALUES ({number}, 'x', NULL, NULL)" for number in range(50)))
    claim = await installed.claim()
    few = await installed.database.read_changes(claim, 5)
    every = await installed.database.read_changes(claim, 1000)
    assert not every.cut
    assert len(every.rows) == 50
    assert few.cut or len(few.rows) == 50  # one transaction is not cut where the engine can tell
    assert list(few.rows) == list(every.rows)[: len(few.rows)]


async def test_waiting_for_a_change_ends_when_there_is_one(installed: Installed) -> None:
    await installed.database.read_changes(await installed.claim(), 10)
    await installed.database.wait_for_change(0.01, 0.3)
    waiting = asyncio.create_task(installed.database.wait_for_change(0.02, 30))
    await asyncio.sleep(0.1)
    installed.write(ADA)
    await asyncio.wait_for(waiting, 5)


# Marks


async def test_marked_changes_carry_their_origin_and_others_do_not(installed: Installed) -> None:
    installed.write(ADA, EVA)
    async with installed.database.transaction() as transaction:
        await transaction.mark({("Customer", (1,)): MARK})
        await transaction.write([_rename_of(installed, 1, "Ada II"), _rename_of(installed, 2, "Eva II")])
    changes = await _waiting(installed)
    origins = {_row(change.after)["Id"]: change.origin for change in changes if change.op == "U"}
    assert origins == {1: MARK, 2: ""}
    claim = await installed.claim()
    async with installed.database.snapshot() as reader:
        local = await reader.unclaimed(claim)
    assert [(change.op, _row(change.after)["Id"]) for change in local] == [("I", 1), ("I", 2), ("U", 2)]


@pytest.mark.parametrize("ending", ["commit", "rollback"])
async def test_a_mark_does_not_outlive_its_transaction(installed: Installed, ending: str) -> None:
    installed.write(ADA)
    try:
        async with installed.database.transaction() as transaction:
            await transaction.mark({("Customer", (1,)): MARK})
            await transaction.write([_rename_of(installed, 1, "first")])
            if ending == "rollback":
                raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    async with installed.database.transaction() as transaction:
        await transaction.write([_rename_of(installed, 1, "second")])
    installed.write("UPDATE Customer SET Name = 'third' WHERE Id = 1")
    origins = {_row(change.after)["Name"]: change.origin for change in await _waiting(installed)}
    assert origins["second"] == origins["third"] == ""
    assert origins.get("first", MARK) == MARK


@ON_A_SERVER
async def test_a_user_who_writes_beside_a_marked_transaction_is_not_marked(installed: Installed) -> None:
    installed.write(ADA, TEA)
    async with installed.database.transaction() as transaction:
        await transaction.mark({("Item", ("tea",)): MARK, ("Customer", (1,)): MARK})
        await transaction.write([_rename_of(installed, 1, "marked")])
        await asyncio.to_thread(installed.write, "UPDATE Item SET Stock = 9 WHERE Code = 'tea'")
    origins = {change.table: change.origin for change in await _waiting(installed) if change.op == "U"}
    assert origins == {"Customer": MARK, "Item": ""}


# Reading


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


# Writing


def _write(
    installed: Installed, kind: WriteKind, table: str, columns: list[str], where: list[str], *rows: list[object]
) -> TableWrite:
    doctype = installed.catalogue["Invoice" if table == "Line" else table]
    known = {column.name: column for column in (doctype.children[0].columns if table == "Line" else doctype.columns)}
    return TableWrite(
        kind, table, tuple(known[name] for name in columns), tuple(known[name] for name in where), rows, exactly=True
    )


def _rename_of(installed: Installed, customer: int, name: str) -> TableWrite:
    return _write(installed, WriteKind.UPDATE, "Customer", ["Name"], ["Id"], [name, customer])


async def test_rows_are_inserted_changed_and_deleted_many_at_a_time(installed: Installed) -> None:
    rows = [[number, f"name {number}", None, None] for number in range(300)]
    async with installed.database.transaction() as transaction:
        await transaction.write(
            [_write(installed, WriteKind.INSERT, "Customer", ["Id", "Name", "City", "Manager"], [], *rows)]
        )
        await transaction.write(
            [
                _write(installed, WriteKind.UPDATE, "Customer", ["City"], ["Id"], *([str(n), n] for n in range(200))),
                _write(installed, WriteKind.DELETE, "Customer", [], ["Id"], *([n] for n in range(200, 300))),
            ]
        )
    assert installed.access.rows("SELECT Id, Name, City FROM Customer ORDER BY Id") == [
        (number, f"name {number}", str(number)) for number in range(200)
    ]


async def test_a_key_can_be_changed(installed: Installed) -> None:
    installed.write(ADA)
    async with installed.database.transaction() as transaction:
        await transaction.write([_write(installed, WriteKind.UPDATE, "Customer", ["Id"], ["Id"], [7, 1])])
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
            await transaction.write([_write(installed, WriteKind.INSERT, table, columns, [], row)])
    assert refused.value.message
    assert installed.site.everything() == before


async def test_after_a_savepoint_the_rest_of_the_transaction_stands(installed: Installed) -> None:
    installed.write(ADA)
    async with installed.database.transaction() as transaction:
        await transaction.write([_rename_of(installed, 1, "kept")])
        with pytest.raises(RowRefused):
            async with transaction.savepoint():
                await transaction.write(
                    [_write(installed, WriteKind.INSERT, "Customer", ["Id", "Name"], [], [2, "x"], [1, "again"])]
                )
    assert installed.access.rows("SELECT Id, Name FROM Customer") == [(1, "kept")]


async def test_a_row_that_is_not_there_is_refused_where_exactly_one_has_to_be(installed: Installed) -> None:
    installed.write(ADA)
    with pytest.raises(RowRefused):
        async with installed.database.transaction() as transaction:
            await transaction.write([_rename_of(installed, 1, "x"), _rename_of(installed, 2, "y")])
    assert installed.access.value("SELECT Name FROM Customer") == "Ada"


async def test_an_update_to_the_same_value_finds_its_row(installed: Installed) -> None:
    installed.write(ADA)
    async with installed.database.transaction() as transaction:
        await transaction.write([_rename_of(installed, 1, "Ada")])


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
                await transaction.write([_rename_of(installed, 1, "x")])
    async with installed.database.transaction() as transaction:
        await transaction.write([_rename_of(installed, 1, "y")])
    assert installed.access.value("SELECT Name FROM Customer") == "y"


async def test_a_cancelled_transaction_leaves_the_site_usable(installed: Installed) -> None:
    installed.write(ADA)
    begun = asyncio.Event()

    async def forever() -> None:
        async with installed.database.transaction() as transaction:
            await transaction.write([_rename_of(installed, 1, "lost")])
            begun.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(forever())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(installed.write, "UPDATE Customer SET City = 'Rome' WHERE Id = 1")
    async with installed.database.transaction() as transaction:
        await transaction.write([_rename_of(installed, 1, "kept")])
    assert installed.access.rows("SELECT Name, City FROM Customer") == [("kept", "Rome")]


# What is remembered


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
            await transaction.write([_rename_of(installed, 1, "lost")])
            await transaction.put_checkpoint("producer", "log", 2, "n2")
            raise ZeroDivisionError
    async with database.snapshot() as reader:
        assert await reader.checkpoint("producer") == ("log", 1, "n1")
        assert await reader.checkpoint("another") is None
    assert installed.access.value("SELECT Name FROM Customer") == "Ada"


@ON_A_SERVER
async def test_lost_connections_are_replaced(installed: Installed) -> None:
    installed.write(ADA)
    async with installed.database.transaction() as transaction:
        await transaction.write([_rename_of(installed, 1, "before")])
    claim = await installed.claim()
    await installed.database.read_changes(claim, 10)
    _cut_our_connections(installed)
    tried = 0
    while True:
        try:
            async with installed.database.transaction() as transaction:
                await transaction.write([_rename_of(installed, 1, "after")])
            await installed.database.read_changes(claim, 10)
            break
        except SiteBusy:
            tried += 1
            assert tried < 12, "no connection is ever replaced"
    assert installed.access.value("SELECT Name FROM Customer") == "after"


@ON_A_SERVER
async def test_a_connection_that_is_lost_within_a_transaction_writes_nothing(installed: Installed) -> None:
    installed.write(ADA)
    with pytest.raises(SiteBusy):
        async with installed.database.transaction() as transaction:
            await transaction.write([_rename_of(installed, 1, "lost")])
            _cut_our_connections(installed)
            await transaction.write([_rename_of(installed, 1, "lost too")])
    assert installed.access.value("SELECT Name FROM Customer") == "Ada"


def _cut_our_connections(installed: Installed) -> None:
    database = installed.access.database
    admin = open_access(servers.administrator(database))
    if database.engine == "postgresql":
        admin.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'streamd'"
            " AND datname = current_database()"
        )
        return
    theirs = "SELECT id FROM information_schema.processlist WHERE db = ? AND id <> connection_id()"
    for (connection,) in admin.rows(theirs, database.name):
        admin.execute(f"KILL CONNECTION {connection}")


@ON_A_SERVER
async def test_a_wrong_password_or_database_is_said_without_the_password(installed: Installed) -> None:
    there = installed.access.database
    for wrong in (replace(there, name="no_such_database"), replace(there, user="nobody_here", password="secret-word")):
        site = open_site(wrong.url)
        try:
            with pytest.raises(SiteError) as refused:
                await site.identity()
        finally:
            await site.close()
        assert "secret-word" not in str(refused.value)
        assert "site.database" in refused.value.hint


@ON_A_SERVER
async def test_a_server_that_is_away_is_busy(installed: Installed) -> None:
    there = replace(installed.access.database, port=1)
    site = open_site(there.url)
    try:
        with pytest.raises(SiteBusy, match=there.host):
            await site.identity()
    finally:
        await site.close()


async def test_a_view_can_be_read_further_after_an_attempt_that_failed(installed: Installed) -> None:
    installed.write(ADA)
    doctype = installed.catalogue["Customer"]
    async with installed.database.snapshot() as reader:
        with pytest.raises(SiteError):
            async with reader.attempt():
                await reader._fetch("SELECT 1 FROM there_is_no_such_table")  # type: ignore[attr-defined]
        names = await reader.list_names(doctype, None, 9)
        assert len(await reader.read_documents(doctype, names)) == 1
