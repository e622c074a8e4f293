"""Odd data: values and names at the ends of what SQLite allows arrive as they are, and stop nobody else's documents."""

from __future__ import annotations

import random
import sqlite3
import struct
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from streamd.catalog import build
from streamd.db.sqlite_sql import value_as_json
from streamd.model import Column, Table
from streamd.rows import bindings
from streamd.settings import Settings
from tests.simulation.sites import Site

NOT_TEXT = "CAST(x'ff41' AS TEXT)"


@pytest.fixture
async def hq(tmp_path: Path) -> AsyncIterator[Site]:
    site = Site(tmp_path, "hq")
    await site.open()
    yield site
    await site.close()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Site]:
    site = Site(tmp_path, "store")
    await site.open()
    yield site
    await site.close()


def test_each_real_number_reads_back_as_itself() -> None:
    generator = random.Random(7)
    numbers = [0.0, 0.1, 12.9, 1e-7, 1e22, 5e-324, 1.7976931348623157e308, 8460.118448544279, 0.0031637083157750002]
    numbers += [struct.unpack("d", generator.randbytes(8))[0] for _ in range(3000)]
    numbers += [generator.random() * 10 ** generator.randint(-3, 12) for _ in range(3000)]
    wrong = []
    with closing(sqlite3.connect(":memory:")) as connection:
        for number in numbers:
            if number - number == 0.0:
                (text,) = connection.execute(f"SELECT {value_as_json('x')} FROM (SELECT ? AS x)", (number,)).fetchone()
                if float(text) != number or "." not in text:
                    wrong.append((number, text))
    assert wrong == []


def test_a_price_is_written_as_people_write_it() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        assert connection.execute(f"SELECT {value_as_json('12.9')}, {value_as_json('-0.99')}").fetchone() == (
            "12.9",
            "-0.99",
        )


def test_key_columns_may_have_quotes_and_backslashes_in_their_names() -> None:
    name = 'the "key" \\ number'
    columns = (Column(name, "INTEGER", "integer", False, False),)
    settings = Settings.model_validate(
        {
            "site": {"name": "s", "database": "sqlite:///s.db"},
            "state": {"database": "sqlite:///t.db"},
            "doctypes": {"T": {}},
        }
    )
    catalogue = build(settings, {"T": Table("T", columns, (name,), ())})
    (binding,) = bindings(catalogue)["T"]
    assert binding.name_of(msgspec.json.encode({name: 7, "other": "x"})) == (7,)
    assert binding.name_of(msgspec.json.encode({name: None})) is None
    assert binding.name_of(b"{}") is None


async def test_a_whole_number_that_becomes_a_real_one_does_so_everywhere(hq: Site, store: Site) -> None:
    for site in (hq, store):
        site.write("ALTER TABLE Item ADD COLUMN Anything BLOB")
        await site.close()
        await site.open()
    store.write("INSERT INTO Item VALUES ('tea', 'Tea', 1, 1, 1)")
    await hq.pull_all(store)
    store.write("UPDATE Item SET Anything = 1.0")
    await hq.pull_all(store)
    assert hq.rows("SELECT Anything, typeof(Anything) FROM Item") == [(1.0, "real")]


async def test_an_edit_beside_text_that_is_not_valid_stops_nothing(hq: Site, store: Site) -> None:
    store.write("INSERT INTO Item VALUES ('tea', 'Tea', 1, 1)")
    await hq.pull_all(store)
    store.write(f"UPDATE Item SET Label = {NOT_TEXT}")
    await store.capture.drain()
    store.write("UPDATE Item SET Stock = 5")
    await hq.pull_all(store)
    assert hq.rows("SELECT Label, Stock FROM Item") == [("Tea", 5)]
    (failed,) = [entry for entry in await hq.sync_log.list() if entry.status == "Failed"]
    assert "not valid UTF-8" in failed.error


async def test_a_document_here_with_text_that_is_not_valid_holds_up_nobody(hq: Site, store: Site) -> None:
    store.write("INSERT INTO Item VALUES ('tea', 'Tea', 1, 1)", "INSERT INTO Item VALUES ('rum', 'Rum', 1, 1)")
    await hq.pull_all(store)
    hq.write(f"UPDATE Item SET Label = {NOT_TEXT} WHERE Code = 'tea'")
    await hq.capture.drain()
    store.write("UPDATE Item SET Stock = 5")
    await hq.pull_all(store)
    assert hq.rows("SELECT Code, CAST(Label AS BLOB), Stock FROM Item ORDER BY Code") == [
        ("rum", b"Rum", 5),
        ("tea", b"\xffA", 5),
    ]
    store.write("UPDATE Item SET Label = 'Black tea' WHERE Code = 'tea'")
    await hq.pull_all(store)
    assert await hq.queue() == []
    assert hq.everything() == store.everything()
