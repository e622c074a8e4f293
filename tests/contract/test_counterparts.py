"""Which document is which one at another site, on every engine."""

from __future__ import annotations

from streamd.model import Counterpart, Name, Record
from tests.contract.conftest import Installed

LONG: Name = ("n" * 4000, 7)


async def _put(installed: Installed, *counterparts: Counterpart) -> None:
    async with installed.database.transaction() as transaction:
        await transaction.put_counterparts(counterparts)


async def test_a_document_is_found_by_its_name_there_and_by_its_name_here(installed: Installed) -> None:
    rows: dict[str, dict[str, Name]] = {"lines": {"[12]": (1,), '["a"]': ("ü", 2)}, "more": {}}
    other = Counterpart("hq", "Invoice", (8,), ("SINV-2",))
    mine = Counterpart("hq", "Invoice", (7,), ("SINV-1",), rows)
    await _put(installed, mine, other, Counterpart("hq", "Customer", (7,), ("SINV-1",)))
    async with installed.database.snapshot() as reader:
        assert await reader.counterparts("hq", "Invoice", [("SINV-1",), ("SINV-2",), ("SINV-3",)]) == {
            ("SINV-1",): mine,
            ("SINV-2",): other,
        }
        assert await reader.counterparts_here("hq", "Invoice", [(7,), (9,)]) == {(7,): mine}
        assert await reader.counterparts("hq", "Invoice", []) == {}


async def test_equal_names_of_two_producers_do_not_collide(installed: Installed) -> None:
    await _put(installed, Counterpart("one", "Invoice", (1,), ("A",)), Counterpart("two", "Invoice", (2,), ("A",)))
    async with installed.database.snapshot() as reader:
        assert (await reader.counterparts("one", "Invoice", [("A",)]))[("A",)].name == (1,)
        assert (await reader.counterparts("two", "Invoice", [("A",)]))[("A",)].name == (2,)
        assert await reader.has_counterparts("one")
        assert not await reader.has_counterparts("three")


async def test_names_are_compared_exactly_however_long_they_are(installed: Installed) -> None:
    names: list[Name] = [("abc",), ("ABC",), ("abc ",), ("äbc",), (1,), ("1",), LONG, ("😀\0\x01",)]
    await _put(installed, *(Counterpart("hq", "Item", (number,), name) for number, name in enumerate(names)))
    async with installed.database.snapshot() as reader:
        found = await reader.counterparts("hq", "Item", [*names, ("Abc",), (1.0, "x")])
        assert [found[name].name for name in names] == [(number,) for number in range(len(names))]
        assert (await reader.counterparts("hq", "Item", [("1",)]))[("1",)].name == (5,)


async def test_what_is_put_again_replaces_what_was_known_of_the_document(installed: Installed) -> None:
    await _put(installed, Counterpart("hq", "Item", (1,), ("old",)), Counterpart("hq", "Item", (2,), ("two",)))
    await _put(installed, Counterpart("hq", "Item", (1,), ("new",), {"lines": {"[1]": (5,)}}))
    async with installed.database.snapshot() as reader:
        found = await reader.counterparts("hq", "Item", [("old",), ("new",), ("two",)])
        assert found.keys() == {("new",), ("two",)}
        assert found[("new",)].rows == {"lines": {"[1]": (5,)}}
    await _put(installed, Counterpart("hq", "Item", (1,), ("two",)), Counterpart("hq", "Item", (2,), ("new",)))
    async with installed.database.snapshot() as reader:
        swapped = await reader.counterparts("hq", "Item", [("new",), ("two",)])
        assert {name: each.name for name, each in swapped.items()} == {("two",): (1,), ("new",): (2,)}


async def test_a_document_that_is_renamed_here_keeps_its_counterparts(installed: Installed) -> None:
    gone = Counterpart("hq", "Item", ("new",), ("another",))
    await _put(
        installed, Counterpart("hq", "Item", ("old",), ("A",)), Counterpart("store", "Item", ("old",), ("B",)), gone
    )
    async with installed.database.transaction() as transaction:
        await transaction.rename_counterparts("Item", ("old",), ("new",))
    async with installed.database.snapshot() as reader:
        assert (await reader.counterparts("hq", "Item", [("A",), ("another",)])).keys() == {("A",)}
        assert (await reader.counterparts_here("hq", "Item", [("new",)]))[("new",)].remote_name == ("A",)
        assert (await reader.counterparts_here("store", "Item", [("new",)]))[("new",)].remote_name == ("B",)
        assert await reader.counterparts_here("hq", "Item", [("old",)]) == {}


async def test_what_a_transaction_that_is_rolled_back_remembered_is_not_known(installed: Installed) -> None:
    try:
        async with installed.database.transaction() as transaction:
            await transaction.put_counterparts([Counterpart("hq", "Item", (1,), ("A",))])
            assert await transaction.has_counterparts("hq")
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    async with installed.database.snapshot() as reader:
        assert not await reader.has_counterparts("hq")


async def test_counterparts_of_forgotten_tombstones_are_forgotten_with_them(installed: Installed) -> None:
    odd: Name = ('Tür "x" \\ \'😀', 1.5)
    async with installed.database.transaction() as transaction:
        await transaction.put_records(
            [
                Record("Item", odd, "hq", ("A",), deleted_at=3),
                Record("Item", ("young",), "hq", ("B",), deleted_at=9),
                Record("Item", ("alive",), "hq", ("C",)),
            ]
        )
        await transaction.put_counterparts(
            [
                Counterpart("hq", "Item", odd, ("A",)),
                Counterpart("hq", "Item", ("young",), ("B",)),
                Counterpart("hq", "Item", ("alive",), ("C",)),
                Counterpart("hq", "Other", odd, ("A",)),
            ]
        )
    assert await installed.database.forget_deleted(5) == 1
    assert await installed.database.forget_deleted(5) == 0
    async with installed.database.snapshot() as reader:
        assert (await reader.records("Item", [odd, ("young",), ("alive",)])).keys() == {("young",), ("alive",)}
        assert (await reader.counterparts("hq", "Item", [("A",), ("B",), ("C",)])).keys() == {("B",), ("C",)}
        assert (await reader.counterparts("hq", "Other", [("A",)])).keys() == {("A",)}


async def test_a_clone_still_knows_who_is_who(installed: Installed) -> None:
    await _put(installed, Counterpart("hq", "Item", (1,), ("A",)))
    await installed.database.new_identity()
    async with installed.database.snapshot() as reader:
        assert await reader.has_counterparts("hq")
