"""A document gets another name, whatever refers to it and however the consumer's foreign keys are declared."""

from __future__ import annotations

import pytest

from tests.simulation.conftest import Opened
from tests.support.database_url import Engine
from tests.support.servers import ENGINES

TABLES = """
CREATE TABLE node (id INTEGER PRIMARY KEY, code VARCHAR(10) NOT NULL UNIQUE, up INTEGER REFERENCES node (id) {update});
CREATE TABLE tag (id INTEGER PRIMARY KEY, node INTEGER NOT NULL REFERENCES node (id) {update}, label VARCHAR(20));
CREATE TABLE part (node INTEGER NOT NULL, no INTEGER NOT NULL, label VARCHAR(20), PRIMARY KEY (node, no),
    FOREIGN KEY (node) REFERENCES node (id) {update});
"""
UNDECLARED = """
CREATE TABLE memo (id INTEGER PRIMARY KEY, node INTEGER NOT NULL, other INTEGER,
    FOREIGN KEY (node) REFERENCES node (id) {update}, FOREIGN KEY (other) REFERENCES node (id) {update});
CREATE TABLE seal (id INTEGER PRIMARY KEY, node INTEGER NOT NULL, no INTEGER NOT NULL,
    FOREIGN KEY (node, no) REFERENCES part (node, no) {update});
"""
DOCTYPES = {"node": {"children": {"parts": {"table": "part", "parent_key": "node"}}}, "tag": {}}
QUERIES = [
    "SELECT id, code, up FROM node ORDER BY id",
    "SELECT id, node, label FROM tag ORDER BY id",
    "SELECT node, no, label FROM part ORDER BY node, no",
]


@pytest.mark.parametrize("action", ["", "ON UPDATE CASCADE", "ON UPDATE RESTRICT"])
@pytest.mark.parametrize("engine", ENGINES)
async def test_everything_that_refers_to_a_renamed_document_follows(
    opened: Opened, engine: Engine, action: str
) -> None:
    hq = await opened("hq", schema=TABLES.format(update="ON UPDATE CASCADE"), doctypes=DOCTYPES)
    store = await opened("store", schema=(TABLES + UNDECLARED).format(update=action), doctypes=DOCTYPES, engine=engine)
    hq.write(
        "INSERT INTO node VALUES (1, 'A', NULL), (2, 'B', 1), (3, 'C', 3), (4, 'D', 2)",
        "INSERT INTO tag VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 2, 'bb')",
        "INSERT INTO part VALUES (1, 1, 'x'), (1, 2, 'y'), (2, 1, 'z'), (3, 1, 'w')",
    )
    await store.pull_from(hq, limit=500)
    store.write(
        "INSERT INTO memo VALUES (1, 1, 1), (2, 2, 1)", "INSERT INTO seal VALUES (1, 1, 2), (2, 2, 1), (3, 3, 1)"
    )

    async def arrive(*statements: str) -> None:
        hq.write(*statements)
        await store.pull_from(hq, limit=500)
        assert await store.queue() == []
        for query in QUERIES:
            assert store.rows(query) == hq.rows(query)

    await arrive("UPDATE node SET id = 11 WHERE id = 1")
    assert store.rows("SELECT node, other FROM memo ORDER BY id") == [(11, 11), (2, 11)]
    await arrive("UPDATE node SET id = 13, code = 'CC' WHERE id = 3", "UPDATE tag SET label = 'new' WHERE id = 1")
    # Two exchange their names, and their unique values; a third one refers to one of them.
    await arrive(
        *(f"UPDATE node SET id = {new} WHERE id = {old}" for old, new in ((11, 99), (2, 11), (99, 2))),
        *(f"UPDATE node SET code = '{code}' WHERE id = {key}" for key, code in ((2, "tmp"), (11, "A"), (2, "B"))),
    )
    assert store.rows("SELECT node, other FROM memo ORDER BY id") == [(2, 2), (11, 2)]
    assert store.rows("SELECT node, no FROM seal ORDER BY id") == [(2, 2), (11, 1), (13, 1)]


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_link_is_not_emptied_by_what_the_foreign_key_does_when_a_name_changes(
    opened: Opened, engine: Engine
) -> None:
    schema = """
        CREATE TABLE node (id INTEGER PRIMARY KEY, code VARCHAR(10) NOT NULL UNIQUE);
        CREATE TABLE tag (id INTEGER PRIMARY KEY, node INTEGER REFERENCES node (id) ON UPDATE {});
    """
    types = {"node": {}, "tag": {}}
    hq = await opened("hq", schema=schema.format("CASCADE"), doctypes=types)
    store = await opened("store", schema=schema.format("SET NULL"), doctypes=types, engine=engine)
    hq.write("INSERT INTO node VALUES (1, 'A')", "INSERT INTO tag VALUES (1, 1)")
    await store.pull_from(hq)
    hq.write("UPDATE node SET id = 2")
    await store.pull_from(hq)
    assert await store.queue() == []
    assert store.rows("SELECT id, code FROM node") == [(2, "A")]
    assert store.rows("SELECT id, node FROM tag") == [(1, 2)]
