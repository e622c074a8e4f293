"""Numbers of series: none is given twice, and none is used up by what fails, on every engine."""

from __future__ import annotations

import threading

import pytest

from streamd.db import open_site
from streamd.db.base import OUR_SERIES, SeriesBook
from streamd.errors import RowRefused
from tests.contract.conftest import Installed

BOOK = SeriesBook("tabSeries", "name", "current")


async def _next(installed: Installed, series: str, count: int = 1, book: SeriesBook = OUR_SERIES) -> int:
    async with installed.database.transaction() as transaction:
        return await transaction.next_numbers(series, count, book)


def _make_book(installed: Installed) -> None:
    """As a Frappe site has it."""
    order = " COLLATE utf8mb4_unicode_ci" if installed.access.engine == "mariadb" else ""
    installed.access.execute(
        'CREATE TABLE "tabSeries" (name varchar(100) NOT NULL PRIMARY KEY, current int NOT NULL DEFAULT 0)' + order
    )


async def test_a_series_begins_with_one_and_goes_on(installed: Installed) -> None:
    assert await _next(installed, "SINV-2026-") == 1
    assert await _next(installed, "SINV-2026-", 5) == 2
    assert await _next(installed, "SINV-2026-") == 7
    assert await _next(installed, "SINV-2027-") == 1
    assert await _next(installed, "sinv-2026-") == 1, "our own series compare exactly"


async def test_numbers_of_a_transaction_that_fails_are_given_again(installed: Installed) -> None:
    assert await _next(installed, "S") == 1
    with pytest.raises(ZeroDivisionError):
        async with installed.database.transaction() as transaction:
            assert await transaction.next_numbers("S", 3) == 2
            assert await transaction.next_numbers("new", 3) == 1
            raise ZeroDivisionError
    assert await _next(installed, "S") == 2
    assert await _next(installed, "new") == 1


async def test_numbers_that_are_taken_within_a_savepoint_that_fails_are_given_again(installed: Installed) -> None:
    async with installed.database.transaction() as transaction:
        assert await transaction.next_numbers("S", 1) == 1
        with pytest.raises(ZeroDivisionError):
            async with transaction.savepoint():
                assert await transaction.next_numbers("S", 4) == 2
                raise ZeroDivisionError
        assert await transaction.next_numbers("S", 1) == 2


async def test_the_applications_own_series_go_on_where_they_stand(installed: Installed) -> None:
    _make_book(installed)
    installed.access.execute("INSERT INTO \"tabSeries\" (name, current) VALUES ('PAY-2026-', 41)")
    assert await _next(installed, "PAY-2026-", 2, BOOK) == 42
    assert await _next(installed, "NEW-", 1, BOOK) == 1
    assert installed.access.rows('SELECT name, current FROM "tabSeries" ORDER BY name') == [
        ("NEW-", 1),
        ("PAY-2026-", 43),
    ]


@pytest.mark.parametrize("engine", ["mariadb"], indirect=True)
async def test_where_the_application_compares_names_by_a_collation_so_do_we(installed: Installed) -> None:
    _make_book(installed)
    installed.access.execute("INSERT INTO \"tabSeries\" (name, current) VALUES ('PAY-', 41)")
    assert await _next(installed, "pay-", 1, BOOK) == 42
    assert installed.access.rows('SELECT name, current FROM "tabSeries"') == [("PAY-", 42)]


@pytest.mark.parametrize("engine", ["postgresql", "mariadb"], indirect=True)  # SQLite's numbers have no end
async def test_a_series_that_has_come_to_its_end_is_refused_and_stays_there(installed: Installed) -> None:
    _make_book(installed)
    installed.access.execute("INSERT INTO \"tabSeries\" (name, current) VALUES ('S', 2147483647)")
    with pytest.raises(RowRefused):
        await _next(installed, "S", 1, BOOK)
    assert installed.access.value('SELECT current FROM "tabSeries"') == 2147483647


@pytest.mark.parametrize("book", [OUR_SERIES, BOOK], ids=["ours", "the application's"])
async def test_nobody_gets_a_number_twice_and_nobody_fails(installed: Installed, book: SeriesBook) -> None:
    """Two daemons' connections, and users of the application who count in its own way, all at once."""
    _make_book(installed)
    if book == BOOK:
        installed.access.execute("INSERT INTO \"tabSeries\" (name, current) VALUES ('S', 0)")
    users: list[int] = []
    failed: list[Exception] = []

    def user() -> None:
        for _ in range(40):
            try:
                users.append(_count_as_a_user(installed))
            except installed.access.errors as error:
                failed.append(error)

    threads = [threading.Thread(target=user) for _ in range(3 if book == BOOK else 0)]
    for thread in threads:
        thread.start()
    second = open_site(installed.site.settings.site.database)
    ours: list[int] = []
    try:
        for round_ in range(40):
            database = (installed.database, second)[round_ % 2]
            async with database.transaction() as transaction:
                first = await transaction.next_numbers("S", 1 + round_ % 3, book)
                ours += range(first, first + 1 + round_ % 3)
    finally:
        await second.close()
        for thread in threads:
            thread.join()
    assert not failed
    assert sorted(ours + users) == list(range(1, len(ours) + len(users) + 1))


def _count_as_a_user(installed: Installed) -> int:
    """As a Frappe application counts."""
    lock = "" if installed.access.engine == "sqlite" else " FOR UPDATE"
    with installed.access.write() as connection:
        rows = connection.execute(f"SELECT current FROM \"tabSeries\" WHERE name = 'S'{lock}").fetchall()
        connection.execute("UPDATE \"tabSeries\" SET current = current + 1 WHERE name = 'S'")
        return int(rows[0][0]) + 1
