"""Child rows without a foreign key do not follow a rename: consumers have those that the producer has."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import pytest

from tests.simulation.conftest import Opened
from tests.simulation.sites import Site
from tests.support.database_url import Engine

PARENT = 'CREATE TABLE "Item" ("Id" INTEGER PRIMARY KEY, "A" VARCHAR(20))'
OWN_KEY = 'CREATE TABLE "Part" ("Id" INTEGER PRIMARY KEY, "Item" INTEGER, "Label" VARCHAR(20))'
NAME_IN_KEY = (
    'CREATE TABLE "Part" ("Id" INTEGER NOT NULL, "Item" INTEGER NOT NULL, "Label" VARCHAR(20),'
    ' PRIMARY KEY ("Item", "Id"))'
)

# Of a document 1 with the rows 1 and 2, and of a document 2 with the row 3; each number has the case's before it.
BEGIN = [
    "INSERT INTO \"Item\" VALUES (#1, 'a'), (#2, 'b')",
    "INSERT INTO \"Part\" VALUES (#1, #1, 'x'), (#2, #1, 'y'), (#3, #2, 'z')",
]
RENAME = ['UPDATE "Item" SET "Id" = #9 WHERE "Id" = #1']
FOLLOW = ['UPDATE "Part" SET "Item" = #9 WHERE "Item" = #1']
EXCHANGE = [f'UPDATE "Item" SET "Id" = #{new} WHERE "Id" = #{old}' for old, new in ((1, 7), (2, 1), (7, 2))]
GO = ['DELETE FROM "Part" WHERE "Item" = #1']
ONE_FOLLOWS = ['UPDATE "Part" SET "Item" = #9 WHERE "Id" = #1']
ELSEWHERE = ['UPDATE "Part" SET "Item" = #2 WHERE "Item" = #1']
AGAIN = ["INSERT INTO \"Item\" VALUES (#1, 'another')"]
BACK = ['UPDATE "Item" SET "Id" = #1 WHERE "Id" = #9']
CHANGE = ['UPDATE "Part" SET "Label" = \'changed\' WHERE "Item" = #1']
ANOTHER = ["INSERT INTO \"Part\" VALUES (#5, #1, 'late')"]
EDIT = ['UPDATE "Item" SET "A" = \'edited\' WHERE "Id" = #9']
DELETE = ['DELETE FROM "Item" WHERE "Id" = #9']
WAITING = ["INSERT INTO \"Part\" VALUES (#6, #9, 'waits for 9')"]

CASES: dict[str, list[list[str]]] = {
    "all stay": [RENAME],
    "one follows": [RENAME + ONE_FOLLOWS],
    "all follow": [RENAME + FOLLOW],
    "one follows later": [RENAME, ONE_FOLLOWS],
    "all follow later": [RENAME, FOLLOW],
    "all went before": [FOLLOW, RENAME],
    "all go with it": [RENAME + GO],
    "all go later": [RENAME, GO],
    "to another document": [RENAME + ELSEWHERE],
    "to another document later": [RENAME, ELSEWHERE],
    "made again": [RENAME + AGAIN],
    "made again later": [RENAME, AGAIN],
    "and back": [RENAME + BACK],
    "and back later": [RENAME, BACK],
    "changed where they are": [RENAME + CHANGE],
    "changed where they are later": [RENAME, CHANGE],
    "changed, then they follow": [RENAME, CHANGE, FOLLOW],
    "another one comes": [RENAME, ANOTHER],
    "exchanged": [EXCHANGE],
    "exchanged in three": [[each] for each in EXCHANGE],
    "edited later": [RENAME, EDIT],
    "deleted later": [RENAME, DELETE],
    "deleted with it": [RENAME + DELETE],
    "one waits": [WAITING, RENAME],
    "one waits, all follow": [WAITING, RENAME + FOLLOW],
}
"""What is done in each transaction, one after the other."""


def rounds() -> Iterator[list[list[str]]]:
    """The first transactions of all cases, then the second ones, and so on."""
    numbered = [
        [[statement.replace("#", str(number)) for statement in some] for some in (BEGIN, *case)]
        for number, case in enumerate(CASES.values(), 10)
    ]
    for each in zip_longest(*numbered):
        yield [some for some in each if some is not None]


def documents(site: Site) -> dict[str, list[list[tuple[object, ...]]]]:
    """The documents and child rows of each case; nothing of rows without a document."""
    rows = 'SELECT "Item", "Id", "Label" FROM "Part" WHERE "Item" IN (SELECT "Id" FROM "Item") ORDER BY 1, 2'
    found = [site.rows('SELECT * FROM "Item" ORDER BY 1'), site.rows(rows)]
    return {
        case: [[row for row in some if str(row[0]).startswith(str(number))] for some in found]
        for number, case in enumerate(CASES, 10)
    }


@pytest.mark.parametrize(
    ("engine", "pulls", "batch", "own_key"),
    [
        *(("sqlite", pulls, batch, own) for pulls in ("each", "once") for batch in (8, 50) for own in (True, False)),
        ("postgresql", "once", 50, False),
        ("postgresql", "each", 50, True),
        ("mariadb", "once", 50, False),
        ("mariadb", "each", 50, True),
    ],
)
async def test_documents_have_the_rows_that_stand_under_their_names(
    opened: Opened, engine: Engine, pulls: str, batch: int, own_key: bool
) -> None:
    key = ["Id"] if own_key else ["Item", "Id"]
    types: dict[str, Any] = {"Item": {"children": {"parts": {"table": "Part", "key": key, "parent_key": "Item"}}}}
    schema = f"{PARENT};{OWN_KEY if own_key else NAME_IN_KEY}"
    store = await opened("store", schema=schema, doctypes=types, engine=engine)
    hq = await opened("hq", schema=schema, doctypes=types)
    store.capture._batch = batch

    async def arrive() -> None:
        await hq.pull_all(store)
        assert await hq.queue() == []
        assert documents(hq) == documents(store)
        assert hq.rows('SELECT count(*) FROM "Part"') == [(sum(len(rows) for _, rows in documents(store).values()),)]

    for number, transactions in enumerate(rounds()):
        for statements in transactions:
            store.write(*statements)
        if pulls == "each" or number == 0:
            await arrive()
    await arrive()


async def test_where_too_much_waits_to_be_looked_through_the_renamed_document_is_taken_whole(opened: Opened) -> None:
    types: dict[str, Any] = {"Item": {"children": {"parts": {"table": "Part", "key": "Id", "parent_key": "Item"}}}}
    store = await opened("store", schema=f"{PARENT};{OWN_KEY}", doctypes=types)
    hq = await opened("hq", schema=f"{PARENT};{OWN_KEY}", doctypes=types)
    store.write(*(statement.replace("#", "1") for statement in BEGIN))
    await hq.pull_all(store)
    store.capture._batch = 1
    store.write(*(statement.replace("#", "1") for statement in RENAME))
    store.write('DELETE FROM "Part" WHERE "Id" = 11')
    for number in range(20):
        store.write(f'UPDATE "Item" SET "A" = \'{number}\' WHERE "Id" = 12')
    await hq.pull_all(store)
    assert await hq.queue() == []
    assert hq.rows('SELECT * FROM "Item" ORDER BY 1') == [(12, "19"), (19, "a")]
    assert hq.rows('SELECT * FROM "Part"') == [(13, 12, "z")]
