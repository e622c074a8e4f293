"""Names that one engine tells apart, and another does not: 'abc' and 'ABC' are one document for MariaDB."""

from __future__ import annotations

import pytest

from tests.simulation.conftest import Opened
from tests.support.database_url import Engine


@pytest.mark.parametrize("producer", ["postgresql", "sqlite"])
async def test_a_name_that_differs_in_case_alone_is_parked_and_not_merged(opened: Opened, producer: Engine) -> None:
    hq = await opened("hq", engine=producer)
    store = await opened("store", engine="mariadb")
    hq.write("INSERT INTO Item VALUES ('abc', 'small', 1, 1)")
    hq.write("INSERT INTO Item VALUES ('ABC', 'large', 2, 2)", "INSERT INTO Item VALUES ('other', 'other', 3, 3)")
    await store.pull_all(hq)
    assert store.rows("SELECT Code, Label FROM Item ORDER BY Code") == [("abc", "small"), ("other", "other")]
    ((state, error),) = await store.queue()
    assert state == "parked"
    assert "ABC" in error

    hq.write("UPDATE Item SET Stock = 7 WHERE Code = 'ABC'", "UPDATE Item SET Stock = 8 WHERE Code = 'abc'")
    await store.pull_all(hq)
    assert store.rows("SELECT Code, Stock FROM Item ORDER BY Code") == [("abc", 8), ("other", 3)]

    # What was in its way goes: then it comes, as it is by now.
    hq.write("DELETE FROM Item WHERE Code = 'abc'")
    await store.pull_all(hq)
    assert store.rows("SELECT Code, Label, Stock FROM Item ORDER BY Code") == [
        ("ABC", "large", 7),
        ("other", "other", 3),
    ]
    assert await store.queue() == []
