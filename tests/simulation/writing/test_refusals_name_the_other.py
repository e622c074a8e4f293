"""A refusal names the other document, and the value: not only the constraint."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.simulation.sites import Site
from tests.support.matrix import EACH_ENGINE


@pytest.fixture
async def hq(tmp_path: Path, engine: str) -> AsyncIterator[Site]:
    site = Site(tmp_path, "hq", engine=engine)  # type: ignore[arg-type]  # a parameter of the test
    await site.open()
    yield site
    await site.close()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Site]:
    site = Site(tmp_path, "store", engine="sqlite")
    await site.open()
    yield site
    await site.close()


async def reason(hq: Site) -> str:
    ((_, error),) = await hq.queue()
    return error


@EACH_ENGINE
async def test_a_value_that_is_taken_is_named_with_the_document_that_has_it(hq: Site, store: Site) -> None:
    hq.write("INSERT INTO Item VALUES ('chai', 'Tea', 2.5, 10)")
    store.write("INSERT INTO Item VALUES ('tea', 'Tea', 2.5, 10)")
    await hq.pull_all(store)
    assert "Item chai has Label Tea here" in (await reason(hq)).replace("“", "").replace("”", "").replace('"', "")
    await hq.heal(store, everything=True)
    assert "Item chai has Label Tea here" in (await reason(hq)).replace("“", "").replace("”", "").replace('"', "")


@EACH_ENGINE
async def test_a_document_that_others_refer_to_names_one_of_them_when_its_deletion_is_refused(
    hq: Site, store: Site
) -> None:
    store.write("INSERT INTO Customer VALUES (1, 'Ada', 'Turin', NULL)")
    await hq.pull_all(store)
    hq.write("INSERT INTO Invoice VALUES (7, 1, 'ours')")
    store.write("DELETE FROM Customer WHERE Id = 1")
    await hq.pull_all(store)
    assert "Invoice 7 refers to it here, by Customer" in await reason(hq)
