"""A foreign key changes a row in the transaction in which the row's document is also renamed, or deleted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.simulation.sites import Site

SCHEMA = """
CREATE TABLE "Person" ("Id" INTEGER PRIMARY KEY, "Name" TEXT);
CREATE TABLE "Invoice" ("Id" INTEGER PRIMARY KEY, "Note" TEXT,
    "Person" INTEGER REFERENCES "Person" ("Id") ON UPDATE CASCADE);
"""
TYPES = {"Person": {}, "Invoice": {}}


PERSON = ("UPDATE Person SET Id = 20 WHERE Id = 2", "UPDATE Person SET Name = 'Rob' WHERE Id = 20")
"""The person comes again, so that the invoice is written by itself, after the person and in one transaction."""


@pytest.mark.parametrize(
    ("statements", "left"),
    [
        (
            ("UPDATE Invoice SET Note = 'x'", "UPDATE Invoice SET Id = 60", "UPDATE Invoice SET Note = 'y'"),
            [(60, "y", 20)],
        ),
        (("DELETE FROM Invoice",), []),
        (("DELETE FROM Invoice", "INSERT INTO Invoice VALUES (6, 'another', 1)"), [(6, "another", 1)]),
    ],
    ids=["renamed", "deleted", "another_has_the_name"],
)
async def test_the_edit_is_of_the_document_that_had_the_name_then(
    tmp_path: Path, statements: Sequence[str], left: list[tuple[object, ...]]
) -> None:
    one, other = (Site(tmp_path, name, schema=SCHEMA, doctypes=TYPES) for name in ("one", "other"))
    for site in (one, other):
        await site.open()
    try:
        one.write("INSERT INTO Person VALUES (1, 'Ada'), (2, 'Bob')", "INSERT INTO Invoice VALUES (5, 'first', 1)")
        await other.pull_all(one)
        one.write("UPDATE Invoice SET Id = 6")
        await other.pull_all(one)
        # The link is set by users of this site alone, so that it is theirs to let it follow.
        one.write("UPDATE Invoice SET Person = 2")
        await one.capture.drain()
        for statement in (*PERSON, *statements):
            other.write(statement)
            await other.capture.drain()
        await one.pull_all(other)
        for _ in range(3):
            await other.pull_all(one)
            await one.pull_all(other)
        assert await one.queue() == await other.queue() == []
        for site in (one, other):
            assert site.rows("SELECT * FROM Invoice") == left
            assert site.rows("SELECT Id FROM Person ORDER BY Id") == [(1,), (20,)]
        one.write("UPDATE Invoice SET Note = 'z'")
        await other.pull_all(one)
        assert other.rows("SELECT Note FROM Invoice") == [("z",)] * len(left)
    finally:
        for site in (one, other):
            await site.close()
