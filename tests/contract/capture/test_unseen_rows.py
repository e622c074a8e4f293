"""Rows that come and go without a trigger: each time it is noticed, and becomes a gap that consumers repair."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.engines.mariadb.sessions import as_another
from tests.simulation.sites import Site
from tests.support.polling import eventually

PARTITIONED = """
CREATE TABLE part (id int, yr int, v text, PRIMARY KEY (id, yr)) PARTITION BY RANGE (yr);
CREATE TABLE p23 PARTITION OF part FOR VALUES FROM (2023) TO (2024);
CREATE TABLE p24 PARTITION OF part FOR VALUES FROM (2024) TO (2026);
INSERT INTO part VALUES (1, 2023, 'x'), (2, 2024, 'y');
"""
INHERITED = """
CREATE TABLE inh (id int PRIMARY KEY, v text);
CREATE TABLE inh_child (extra text, PRIMARY KEY (id)) INHERITS (inh);
CREATE TABLE inh_grandchild (more text, PRIMARY KEY (id)) INHERITS (inh_child)
"""


async def opened(tmp_path: Path, schema: str, doctype: str, engine: str) -> Site:
    site = Site(tmp_path, "hq", engine=engine, schema=schema, doctypes={doctype: {}})  # type: ignore[arg-type]
    await site.open()
    assert await look(site) == [], "what was there from the start is no news"
    return site


async def look(site: Site) -> list[str]:
    """Look once; on MariaDB as a user who may see how InnoDB makes its tables."""
    if site.access.engine != "mariadb":
        return await site.database.note_unseen(site.catalogue)
    async with as_another(site, "PROCESS") as database:
        return await database.note_unseen(site.catalogue)


@pytest.fixture
async def partitioned(tmp_path: Path) -> AsyncIterator[Site]:
    site = await opened(tmp_path, PARTITIONED, "part", "postgresql")
    yield site
    await site.close()


@pytest.fixture
async def inherited(tmp_path: Path) -> AsyncIterator[Site]:
    site = await opened(tmp_path, INHERITED, "inh", "postgresql")
    yield site
    await site.close()


async def reasons(site: Site) -> list[str]:
    """Look, capture, and return the reasons of the gaps that are in the log, oldest first."""
    await look(site)
    await site.capture.drain()
    return [entry.data for entry in reversed(await site.update_log.entries(operation="gap"))]


ATTACH = (
    "CREATE TABLE p26 (LIKE part INCLUDING ALL)",
    "INSERT INTO p26 VALUES (9, 2026, 'attached')",
    "ALTER TABLE part ATTACH PARTITION p26 FOR VALUES FROM (2026) TO (2027)",
)
BELOW = (
    "CREATE TABLE deep (LIKE part INCLUDING ALL) PARTITION BY RANGE (id)",
    "CREATE TABLE deep1 PARTITION OF deep FOR VALUES FROM (0) TO (100)",
    "INSERT INTO deep VALUES (9, 2026, 'attached')",
    "ALTER TABLE part ATTACH PARTITION deep FOR VALUES FROM (2026) TO (2027)",
)


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (ATTACH, "p26 became a part"),
        (BELOW, "deep1 became a part"),
        (["ALTER TABLE part DETACH PARTITION p23"], "p23 is no part"),
        (["DROP TABLE p23"], "p23 is no part"),
        (["TRUNCATE p24"], "TRUNCATE"),
    ],
    ids=["attach", "attach-below", "detach", "drop", "truncate"],
)
async def test_what_happens_to_a_partition_is_a_gap(partitioned: Site, statements: list[str], said: str) -> None:
    partitioned.write(*statements)
    found = await reasons(partitioned)
    assert len(found) == 1
    assert said in found[0]
    assert await reasons(partitioned) == found, "it is said once"


async def test_it_is_noticed_also_where_no_daemon_ran(partitioned: Site) -> None:
    await partitioned.close()
    partitioned.write(*ATTACH)
    await partitioned.open()
    assert len(await reasons(partitioned)) == 1


async def test_a_partition_that_is_made_empty_is_no_gap_and_its_rows_are_captured(partitioned: Site) -> None:
    partitioned.write("CREATE TABLE p26 PARTITION OF part FOR VALUES FROM (2026) TO (2027)")
    assert await reasons(partitioned) == []
    partitioned.write("INSERT INTO part VALUES (9, 2026, 'z')")
    assert await reasons(partitioned) == []
    assert [entry.name for entry in await partitioned.update_log.entries()] == ["[9,2026]"]
    # No trigger of ours is on the new one: its TRUNCATE shows in its file.
    partitioned.write("TRUNCATE p26")
    assert "p26" in (await reasons(partitioned))[0]


async def test_triggers_that_were_off_on_one_partition_only_are_missing(partitioned: Site) -> None:
    partitioned.write("ALTER TABLE p23 DISABLE TRIGGER ALL", "ALTER TABLE p23 ENABLE TRIGGER ALL")
    assert await partitioned.database.our_triggers() == {}
    await partitioned.close()
    await partitioned.open()
    tables = await partitioned.database.tables()
    assert await partitioned.database.our_triggers() == partitioned.database.wanted_triggers(
        partitioned.catalogue, tables
    )


async def test_a_table_that_took_the_place_of_another_one_has_no_triggers(partitioned: Site) -> None:
    partitioned.write("ALTER TABLE part RENAME TO old", "CREATE TABLE part (LIKE old INCLUDING ALL)")
    assert await partitioned.database.our_triggers() == {}
    await partitioned.close()
    await partitioned.open()
    partitioned.write("INSERT INTO old VALUES (5, 2023, 'old')", "INSERT INTO part VALUES (6, 2023, 'new')")
    await partitioned.capture.drain()
    assert [entry.name for entry in await partitioned.update_log.entries(operation="create")] == ["[6,2023]"]


async def test_rows_of_children_by_inheritance_are_rows_of_the_type(inherited: Site) -> None:
    inherited.write(
        "INSERT INTO inh VALUES (1, 'parent')",
        "INSERT INTO inh_child VALUES (2, 'child', 'extra')",
        "INSERT INTO inh_grandchild VALUES (3, 'grandchild', 'extra', 'more')",
    )
    inherited.write("UPDATE inh SET v = 'changed' WHERE id = 2", "UPDATE inh_child SET extra = 'nobody hears of it'")
    inherited.write("DELETE FROM inh WHERE id = 3")
    await inherited.capture.drain()
    entries = [(each.operation, each.name) for each in reversed(await inherited.update_log.entries())]
    assert entries == [
        ("create", "[1]"),
        ("create", "[2]"),
        ("create", "[3]"),
        ("update", "[2]"),
        ("delete", "[3]"),
    ]
    assert all("extra" not in (each.data + (each.after or "")) for each in await inherited.update_log.entries())
    inherited.write("TRUNCATE inh_child CASCADE")
    assert len(await reasons(inherited)) >= 1


async def test_a_new_child_by_inheritance_is_a_gap_and_has_triggers_after_installing(inherited: Site) -> None:
    inherited.write(
        "CREATE TABLE late (LIKE inh INCLUDING ALL)",
        "INSERT INTO late VALUES (7, 'late')",
        "ALTER TABLE late INHERIT inh",
    )
    assert "late became a part" in (await reasons(inherited))[0]
    assert await inherited.database.our_triggers() == {}
    await inherited.close()
    await inherited.open()
    inherited.write("UPDATE late SET v = 'seen' WHERE id = 7")
    await inherited.capture.drain()
    assert [each.name for each in await inherited.update_log.entries(operation="update")] == ["[7]"]
    inherited.write("ALTER TABLE late NO INHERIT inh")
    assert await inherited.database.our_triggers() == {}, "one that is no child any more is none of the type's"


MARIADB_PARTITIONED = """
CREATE TABLE part (id int, yr int, v varchar(10), PRIMARY KEY (id, yr)) PARTITION BY RANGE (yr)
    (PARTITION p23 VALUES LESS THAN (2024), PARTITION "P 24" VALUES LESS THAN (2025));
CREATE TABLE other (id int, yr int, v varchar(10), PRIMARY KEY (id, yr));
INSERT INTO part VALUES (1, 2023, 'x'), (2, 2024, 'y');
INSERT INTO other VALUES (9, 2024, 'exchanged')
"""
SUBPARTITIONED = """
CREATE TABLE part (id int, d date, PRIMARY KEY (id, d)) PARTITION BY RANGE (YEAR(d))
    SUBPARTITION BY HASH (id) SUBPARTITIONS 2
    (PARTITION p0 VALUES LESS THAN (2000), PARTITION p1 VALUES LESS THAN MAXVALUE);
INSERT INTO part VALUES (1, '1990-01-01'), (2, '2020-01-01')
"""


@pytest.fixture
async def mariadb(tmp_path: Path) -> AsyncIterator[Site]:
    site = await opened(tmp_path, MARIADB_PARTITIONED, "part", "mariadb")
    yield site
    await site.close()


ADDED = "ALTER TABLE part ADD PARTITION (PARTITION p25 VALUES LESS THAN (2026))"
EXCHANGED = "ALTER TABLE part EXCHANGE PARTITION {} WITH TABLE other"


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (["ALTER TABLE part TRUNCATE PARTITION p23"], "the partition p23 is another"),
        ([EXCHANGED.format('"P 24"')], "the partition P 24 is another"),
        (["ALTER TABLE part DROP PARTITION p23"], "the partition p23 is gone"),
        (["TRUNCATE TABLE part"], "TRUNCATE"),
        ([ADDED, "UPDATE other SET yr = 2025", EXCHANGED.format("p25")], "the partition p25 is new"),
        (["ALTER TABLE part TRUNCATE PARTITION p23", ADDED], "the partition p23 is another"),
    ],
    ids=["truncate", "exchange", "drop", "truncate-all", "add-and-exchange", "truncate-and-add"],
)
async def test_what_happens_to_a_partition_on_mariadb_is_a_gap(mariadb: Site, statements: list[str], said: str) -> None:
    mariadb.write(*statements)
    found = await reasons(mariadb)
    assert len(found) == 1
    assert said in found[0]
    assert await reasons(mariadb) == found, "it is said once"


async def test_partitions_that_are_added_or_made_anew_with_their_rows_are_no_gap(mariadb: Site) -> None:
    mariadb.write(ADDED)
    assert await reasons(mariadb) == []
    now = mariadb.access.value("SELECT MAX(made_at) FROM streamd_partition")
    eventually(lambda: mariadb.access.value("SELECT UNIX_TIMESTAMP()") > now, "the clock's second is over")
    mariadb.write("INSERT INTO part VALUES (9, 2025, 'z')", "ALTER TABLE part FORCE")
    assert await reasons(mariadb) == []
    assert [entry.name for entry in await mariadb.update_log.entries()] == ["[9,2025]"]


async def test_a_subpartition_that_is_truncated_is_a_gap(tmp_path: Path) -> None:
    site = await opened(tmp_path, SUBPARTITIONED, "part", "mariadb")
    site.write("ALTER TABLE part TRUNCATE PARTITION p1")
    assert "p1sp0" in (await reasons(site))[0]
    await site.close()


async def test_rules_are_told_like_triggers(partitioned: Site) -> None:
    partitioned.write("CREATE RULE swallow AS ON INSERT TO part DO INSTEAD NOTHING")
    assert (await partitioned.database.tables())["part"].triggers == ("rule swallow",)
