"""Which ids the rows of documents have, on every engine."""

from __future__ import annotations

import pytest

from streamd.identity import Identity
from streamd.model import DocumentId, Name, Record, RowId
from streamd.rowids import RowIds
from tests.contract.conftest import Installed

LONG = DocumentId(("n" * 4000, 7), site="hq")
ROWS = RowIds({"lines": {"[12]": RowId(1), '["ü"]': RowId("a", "store")}}, {"lines": ["[12]"]})


async def test_ids_of_rows_are_kept_by_the_ids_of_their_documents(installed: Installed) -> None:
    names: list[Name] = [("abc",), ("ABC",), ("abc ",), ("äbc",), (1,), ("1",), ("😀\0\x01",)]
    ids = [*(DocumentId(name, site="hq") for name in names), DocumentId((1,)), DocumentId((1,), "c7", "hq"), LONG]
    each = {id: RowIds({"lines": {"[1]": RowId(number)}}) for number, id in enumerate(ids)}
    async with installed.database.transaction() as transaction:
        await transaction.put_row_ids([("Item", id, rows) for id, rows in each.items()])
        await transaction.put_row_ids([("Other", ids[0], RowIds())])
        await transaction.put_row_ids([("Item", LONG, ROWS)])
    async with installed.database.snapshot() as reader:
        assert await reader.row_ids("Item", [*ids, DocumentId(("Abc",), site="hq")]) == each | {LONG: ROWS}
        assert await reader.row_ids("Other", ids) == {ids[0]: RowIds()}
        assert await reader.row_ids("Item", []) == {}


async def test_what_a_transaction_that_is_rolled_back_remembered_is_not_known(installed: Installed) -> None:
    with pytest.raises(ZeroDivisionError):
        async with installed.database.transaction() as transaction:
            await transaction.put_row_ids([("Item", LONG, ROWS)])
            assert await transaction.has_row_ids()
            raise ZeroDivisionError
    async with installed.database.snapshot() as reader:
        assert not await reader.has_row_ids()


async def test_ids_of_rows_are_forgotten_with_the_tombstones_of_their_documents(installed: Installed) -> None:
    odd, young, alive = (DocumentId((name,)) for name in ('Tür "x" \\ \'😀', "young", "alive"))
    async with installed.database.transaction() as transaction:
        await transaction.put_records([Record("Item", odd.name, "hq", ("A",), deleted_at=3)])
        await transaction.put_identities([Identity("Item", odd, odd.name, "c1", 3)])
        await transaction.put_identities([Identity("Item", young, young.name, "c1", 9)])
        await transaction.put_row_ids([("Item", id, ROWS) for id in (odd, young, alive)])
    assert await installed.database.forget_deleted(5) == 1
    assert await installed.database.forget_deleted(5) == 0
    async with installed.database.snapshot() as reader:
        assert (await reader.row_ids("Item", [odd, young, alive])).keys() == {young, alive}


async def test_a_clone_still_knows_which_row_is_which(installed: Installed) -> None:
    async with installed.database.transaction() as transaction:
        await transaction.put_row_ids([("Item", LONG, ROWS)])
    await installed.database.new_identity()
    async with installed.database.snapshot() as reader:
        assert await reader.row_ids("Item", [LONG]) == {LONG: ROWS}
