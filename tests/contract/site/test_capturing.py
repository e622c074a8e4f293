"""Installing, capturing and marking changes, on every engine."""

from __future__ import annotations

import asyncio
import json

import pytest

from streamd.common.values import id_ranges
from streamd.errors import Fenced
from streamd.model import Change, Claim, Kind
from tests.contract.conftest import Installed
from tests.contract.site.writes import ADA, EVA, MARK, ON_A_SERVER, TEA, rename_of, waiting


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


def _row(text: bytes | None) -> dict[str, object]:
    assert text is not None
    return json.loads(text)


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
    assert await waiting(installed) == []


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


async def test_what_users_commit_is_captured_row_by_row(installed: Installed) -> None:
    installed.write(ADA)
    installed.write("UPDATE Customer SET City = 'Rome' WHERE Id = 1")
    installed.write("DELETE FROM Customer WHERE Id = 1")
    changes = await waiting(installed)
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
    assert await waiting(installed) == []


async def test_a_taken_change_is_not_given_again_and_is_removed_with_the_next_claim(installed: Installed) -> None:
    database = installed.database
    installed.write(ADA)
    first = await waiting(installed)
    start = await installed.claim()
    one = _claim(start, first)
    async with database.transaction() as transaction:
        await transaction.put_claim(start, one)
    assert await waiting(installed) == []
    assert list(await database.read_claimed(one)) == first
    installed.write(EVA)
    second = await waiting(installed)
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
    changes = await waiting(installed)
    start = await installed.claim()
    async with installed.database.transaction() as transaction:
        await transaction.put_claim(start, _claim(start, changes))
    with pytest.raises(Fenced):
        async with installed.database.transaction() as transaction:
            await transaction.put_claim(start, _claim(start, changes))


async def test_a_claim_that_is_rolled_back_takes_nothing(installed: Installed) -> None:
    installed.write(ADA)
    changes = await waiting(installed)
    start = await installed.claim()
    with pytest.raises(ZeroDivisionError):
        async with installed.database.transaction() as transaction:
            await transaction.put_claim(start, _claim(start, changes))
            raise ZeroDivisionError
    assert await installed.claim() == start
    assert await waiting(installed) == changes


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


async def test_marked_changes_carry_their_origin_and_others_do_not(installed: Installed) -> None:
    installed.write(ADA, EVA)
    async with installed.database.transaction() as transaction:
        await transaction.mark({("Customer", (1,)): MARK})
        await transaction.write([rename_of(installed, 1, "Ada II"), rename_of(installed, 2, "Eva II")])
    changes = await waiting(installed)
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
            await transaction.write([rename_of(installed, 1, "first")])
            if ending == "rollback":
                raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    async with installed.database.transaction() as transaction:
        await transaction.write([rename_of(installed, 1, "second")])
    installed.write("UPDATE Customer SET Name = 'third' WHERE Id = 1")
    origins = {_row(change.after)["Name"]: change.origin for change in await waiting(installed)}
    assert origins["second"] == origins["third"] == ""
    assert origins.get("first", MARK) == MARK


@ON_A_SERVER
async def test_a_user_who_writes_beside_a_marked_transaction_is_not_marked(installed: Installed) -> None:
    installed.write(ADA, TEA)
    async with installed.database.transaction() as transaction:
        await transaction.mark({("Item", ("tea",)): MARK, ("Customer", (1,)): MARK})
        await transaction.write([rename_of(installed, 1, "marked")])
        await asyncio.to_thread(installed.write, "UPDATE Item SET Stock = 9 WHERE Code = 'tea'")
    origins = {change.table: change.origin for change in await waiting(installed) if change.op == "U"}
    assert origins == {"Customer": MARK, "Item": ""}
