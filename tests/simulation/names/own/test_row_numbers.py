"""Numbers of child rows that are used again at either site are of other rows."""

from __future__ import annotations

import pytest

from tests.simulation.names.own.tills import both_ways, line, sale, sales
from tests.simulation.sites import Site
from tests.support.matrix import EACH_ENGINE


def invoice(site: Site, note: str) -> int:
    ((number,),) = site.rows(f'SELECT "Id" FROM "Invoice" WHERE "Note" = \'{note}\'')
    return int(number)  # type: ignore[call-overload]  # a key


def removed(number: int) -> str:
    return f'DELETE FROM "Line" WHERE "Id" = {number}'


def added(number: int, to: int, quantity: int) -> str:
    return f"INSERT INTO \"Line\" VALUES ({number}, {to}, 'tea', {quantity})"


async def equal(hq: Site, till: Site, *quantities: int) -> None:
    """Both come to rest with these lines, and an edit of each line at one site is an edit of it at the other."""
    await both_ways(hq, till)
    assert await hq.queue() == await till.queue() == []
    assert sorted(row[-1] for row in sales(hq)) == sorted(quantities)  # type: ignore[type-var]  # numbers
    assert sales(hq) == sales(till)
    for site in (hq, till):
        site.write('UPDATE "Line" SET "Quantity" = "Quantity" + 1000')
        await both_ways(hq, till)
        assert await hq.queue() == await till.queue() == []
        assert sales(hq) == sales(till)


@pytest.mark.parametrize("goes_on", ["at_once", "after_a_pull"])
@pytest.mark.parametrize("into", ["north 1", "north 2"])
@pytest.mark.parametrize("heard", [False, True], ids=["first_edit", "known_at_both"])
async def test_a_row_number_that_is_used_again_is_another_row(
    hq: Site, tills: list[Site], goes_on: str, into: str, *, heard: bool
) -> None:
    """Headquarters removes a line, and both sites use its number again: in one invoice, or in different ones."""
    north, _ = tills
    sale(north, 1, quantity=10)
    sale(north, 2, quantity=20)
    await both_ways(hq, north)
    if heard:
        hq.write('UPDATE "Line" SET "Quantity" = "Quantity" + 100')
        await both_ways(hq, north)
    mine, theirs = line(hq, 111 if heard else 11), line(north, 111 if heard else 11)
    hq.write(removed(mine))
    if goes_on == "after_a_pull":
        await both_ways(hq, north)
        north.write(added(theirs, invoice(north, into), 7))
    hq.write(added(mine, invoice(hq, "north 1"), 5))
    others = [110, 120, 121] if heard else [10, 20, 21]
    await equal(hq, north, *others, 5, *([7] if goes_on == "after_a_pull" else []))


@pytest.mark.parametrize("into", ["north 1", "north 2"])
@pytest.mark.parametrize("again", ["before", "after", "after_hq"])
@pytest.mark.parametrize("made_at", ["north", "hq"])
async def test_a_row_that_its_own_site_removed_leaves_its_number_to_another_row(
    hq: Site, tills: list[Site], made_at: str, again: str, into: str
) -> None:
    north, _ = tills
    sale(north, 1, quantity=10)
    sale(north, 2, quantity=20)
    await both_ways(hq, north)
    if made_at == "hq":
        hq.write(removed(line(hq, 11)), added(900, invoice(hq, "north 1"), 11))
    hq.write('UPDATE "Line" SET "Quantity" = "Quantity" + 100')
    await both_ways(hq, north)
    mine, theirs = line(hq, 111), line(north, 111)
    north.write(removed(theirs))
    if again == "before":
        north.write(added(theirs, invoice(north, into), 7))
    await both_ways(hq, north)
    if again == "after_hq":
        hq.write(added(mine, invoice(hq, "north 1"), 5))
    if again != "before":
        north.write(added(theirs, invoice(north, into), 7))
    if again == "after":
        hq.write(added(mine, invoice(hq, "north 1"), 5))
    await equal(hq, north, 110, 120, 121, 7, *([] if again == "before" else [5]))


async def test_rows_that_are_removed_and_added_again_in_one_transaction_and_in_one_batch_stay_apart(
    hq: Site, tills: list[Site]
) -> None:
    north, _ = tills
    sale(north, 1, quantity=10)
    sale(north, 2, quantity=20)
    await both_ways(hq, north)
    hq.write('UPDATE "Line" SET "Quantity" = "Quantity" + 100')
    await both_ways(hq, north)
    one, two = invoice(hq, "north 1"), invoice(hq, "north 2")
    first, second = line(hq, 110), line(hq, 120)
    hq.write(removed(first), added(first, one, 1))
    hq.write(removed(second), added(second, one, 2))
    hq.write(removed(second))
    hq.write(added(second, two, 3))
    hq.write(f'UPDATE "Line" SET "Quantity" = 4 WHERE "Id" = {second}')
    hq.write(removed(second))
    hq.write(added(second, two, 5))
    await equal(hq, north, 1, 111, 121, 5)


@pytest.mark.parametrize("heard", [False, True], ids=["first_edit", "known_at_both"])
async def test_a_row_that_sqlite_replaces_is_the_row_that_it_was(hq: Site, tills: list[Site], *, heard: bool) -> None:
    """SQLite says of a replaced row that it was inserted, and nothing of the one before."""
    north, _ = tills
    sale(north, 1, quantity=10)
    await both_ways(hq, north)
    hq.write(added(900, invoice(hq, "north 1"), 30))
    await both_ways(hq, north)
    if heard:
        for site in (hq, north):
            site.write('UPDATE "Line" SET "Quantity" = "Quantity" + 100')
            await both_ways(hq, north)
    for before, after in ((10, 1), (30, 3)):
        before += 200 if heard else 0
        north.write(f"REPLACE INTO Line VALUES ({line(north, before)}, 1, 'tea', {after})")
        await both_ways(hq, north)
    if hq.access.engine == "sqlite":
        before, one = line(hq, 211 if heard else 11), invoice(hq, "north 1")
        hq.write(
            f"REPLACE INTO Line VALUES ({before}, {one}, 'tea', 2)", f"REPLACE INTO Line VALUES (900, {one}, 'tea', 4)"
        )
    await equal(hq, north, *([1, 2, 4] if hq.access.engine == "sqlite" else [1, 3, 211 if heard else 11]))


@EACH_ENGINE
async def test_a_row_gets_no_number_that_another_row_of_its_document_had(hq: Site, tills: list[Site]) -> None:
    """What headquarters says of that number may be of the row which is gone."""
    north, _ = tills
    sale(north, 1, quantity=10)
    await both_ways(hq, north)
    north.write(added(12, 1, 9))
    await both_ways(hq, north)
    north.write(removed(12))
    hq.write(added(900, invoice(hq, "north 1"), 5))
    await north.pull_all(hq)
    assert line(north, 5) == 13
    north.write('UPDATE "Line" SET "Quantity" = 6 WHERE "Quantity" = 5')
    await equal(hq, north, 10, 11, 6)


async def test_the_lines_of_an_invoice_that_is_made_again_are_other_lines(hq: Site, tills: list[Site]) -> None:
    north, _ = tills
    sale(north, 1, quantity=10)
    sale(north, 2, quantity=20)
    await both_ways(hq, north)
    hq.write('UPDATE "Line" SET "Quantity" = "Quantity" + 100')
    await both_ways(hq, north)
    mine, theirs, one = line(hq, 110), line(north, 110), invoice(hq, "north 1")
    ((customer,),) = hq.rows(f'SELECT "Customer" FROM "Invoice" WHERE "Id" = {one}')
    hq.write(f'DELETE FROM "Line" WHERE "Invoice" = {one}', f'DELETE FROM "Invoice" WHERE "Id" = {one}')
    await both_ways(hq, north)
    north.write(added(theirs, invoice(north, "north 2"), 7))
    hq.write(f"INSERT INTO \"Invoice\" VALUES ({one}, {customer}, 'again')", added(mine, one, 5))
    await equal(hq, north, 5, 7, 120, 121)
