"""Whoever changes tables or triggers under the daemon: what no trigger of ours saw in its order is read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamd.lifecycle.installing import losses, missing_triggers
from tests.simulation.sites import Site
from tests.support.database_url import Engine

ITEM: dict[str, Any] = {"Item": {}}
SCHEMA = 'CREATE TABLE "Item" ("Id" INTEGER PRIMARY KEY, "Code" VARCHAR(20), "Stamp" VARCHAR(20))'
STAMPS = """CREATE TRIGGER stamps AFTER INSERT ON "Item" BEGIN
    UPDATE "Item" SET "Stamp" = 'stamped' WHERE "Id" = NEW."Id"; END"""


async def lost(site: Site) -> list[str]:
    """The types that have to be read again, because of what triggers did not see."""
    tables = await site.database.tables()
    ours = await site.database.our_triggers()
    found = losses(site.database, ours, site.catalogue, tables)
    assert bool(missing_triggers(ours, site.database.wanted_triggers(site.catalogue, tables))) == bool(found)
    return list(found)


def alter(site: Site, script: str) -> None:
    """Each statement as a transaction of its own."""
    with site.access.connection() as connection:
        for statement in script.split(";\n"):
            connection.execute(statement)


async def test_on_sqlite_ours_fire_before_a_trigger_that_a_user_made_later(tmp_path: Path) -> None:
    store, hq = (Site(tmp_path, each, schema=SCHEMA, doctypes=ITEM) for each in ("store", "hq"))
    await store.open()
    await hq.open()
    await hq.pull_all(store)
    assert await lost(store) == []

    alter(store, STAMPS)
    assert await lost(store) == ["Item"]
    await store.close()
    await store.open()
    assert await lost(store) == []
    store.write("INSERT INTO \"Item\" VALUES (1, 'a', NULL)")
    await hq.pull_all(store)

    assert hq.rows('SELECT * FROM "Item"') == [(1, "a", "stamped")]
    await store.close()
    await hq.close()


ALTERED = {
    "converted": 'ALTER TABLE "Item" ALTER "Code" TYPE VARCHAR(30) USING upper("Code")',
    "filled": 'ALTER TABLE "Item" ADD "More" INTEGER DEFAULT 7',
    "replaced": 'ALTER TABLE "Item" DROP "Code", ADD "Code" VARCHAR(20)',
    "renamed": 'ALTER TABLE "Item" RENAME "Code" TO "Old"',
}


@pytest.mark.parametrize("how", ALTERED)
async def test_on_postgresql_a_type_is_read_again_when_alter_table_changed_its_rows(tmp_path: Path, how: str) -> None:
    site = Site(tmp_path, "store", schema=SCHEMA, doctypes=ITEM, engine="postgresql")
    await site.open()
    site.write("INSERT INTO \"Item\" VALUES (1, 'a', NULL)")
    assert await site.database.note_unseen(site.catalogue) == []
    alter(site, ALTERED[how])
    assert [each.partition(":")[0] for each in await site.database.note_unseen(site.catalogue)] == ["Item"]
    assert await site.database.note_unseen(site.catalogue) == []
    await site.close()


async def test_on_postgresql_a_column_without_values_needs_no_reading_again(tmp_path: Path) -> None:
    site = Site(tmp_path, "store", schema=SCHEMA, doctypes=ITEM, engine="postgresql")
    await site.open()
    assert await site.database.note_unseen(site.catalogue) == []
    alter(site, 'ALTER TABLE "Item" ADD "More" INTEGER;\nALTER TABLE "Item" DROP "Stamp"')
    assert await site.database.note_unseen(site.catalogue) == []
    assert await lost(site) == []
    await site.close()


@pytest.mark.parametrize("engine", ["sqlite", "postgresql", "mariadb"])
async def test_tables_that_swap_names_get_their_triggers(tmp_path: Path, engine: Engine) -> None:
    other = SCHEMA.replace("Item", "Other")
    types = {"Item": {}, "Other": {}}
    site = Site(tmp_path, "store", schema=f"{SCHEMA}; {other}", doctypes=types, engine=engine)
    await site.open()
    alter(
        site,
        'ALTER TABLE "Item" RENAME TO "Third";\nALTER TABLE "Other" RENAME TO "Item";\n'
        'ALTER TABLE "Third" RENAME TO "Other"',
    )
    assert sorted(await lost(site)) == ["Item", "Other"]
    await site.close()
    await site.open()
    assert await lost(site) == []
    await site.close()
