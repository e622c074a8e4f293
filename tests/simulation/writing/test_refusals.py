"""What a database refuses is the document's, the type's, or nobody's; whatever word the database has for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streamd.apply import Applier, Healer
from streamd.db import open_site
from streamd.errors import SiteBusy, SiteError, StreamdError
from tests.simulation.sites import Site
from tests.support import servers
from tests.support.database_url import Engine
from tests.support.servers import ENGINES

BAD = "INSERT INTO Item VALUES ('a', 'bad', 1, 1)"
FINE = "INSERT INTO Item VALUES ('b', 'fine', 1, 1)"
ADA = "INSERT INTO Customer VALUES (1, 'Ada', 'Turin', NULL)"

POSTGRESQL = {
    "a state of its own": "RAISE EXCEPTION 'closed' USING ERRCODE = 'BK001';",
    "the state of a deadlock": "RAISE EXCEPTION 'closed' USING ERRCODE = '40P01';",
    "the state of a lost connection": "RAISE EXCEPTION 'closed' USING ERRCODE = '08006';",
    "an internal error": "RAISE EXCEPTION 'closed' USING ERRCODE = 'XX000';",
    "not supported": "RAISE EXCEPTION 'closed' USING ERRCODE = '0A000';",
    "a right": "RAISE EXCEPTION 'closed' USING ERRCODE = '42501';",
    "a table that is missing": "INSERT INTO closed VALUES (1);",
    "a column that is missing": 'UPDATE "Customer" SET closed = 1;',
    "a function that is missing": "PERFORM closed(1);",
    "a query that is none": "EXECUTE 'closed';",
    "a sequence without a value": "PERFORM currval('closed');",
}
MARIADB = {
    "a state of its own": "SIGNAL SQLSTATE 'BK001' SET MESSAGE_TEXT = 'closed';",
    "a state of a deadlock": "SIGNAL SQLSTATE '40001' SET MESSAGE_TEXT = 'closed';",
    "a number that nobody knows": "SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 9876, MESSAGE_TEXT = 'closed';",
    "a table that is missing": "INSERT INTO closed VALUES (1);",
    "a procedure that is missing": "CALL closed(1);",
    "no rows": "SIGNAL SQLSTATE '02001' SET MESSAGE_TEXT = 'closed';",
}
SQLITE = {
    "a word of its own": "SELECT RAISE(ABORT, 'closed');",
    "a rollback": "SELECT RAISE(ROLLBACK, 'closed');",
    "a failure": "SELECT RAISE(FAIL, 'closed');",
    "a function that fails": "SELECT json('closed');",
    "a number that is too large": "SELECT abs(-9223372036854775807 - 1);",
}
KINDS: dict[Engine, dict[str, str]] = {"postgresql": POSTGRESQL, "mariadb": MARIADB, "sqlite": SQLITE}


def deny(site: Site, engine: Engine, operation: str = "INSERT") -> None:
    """The site's own triggers refuse items whose label is a kind of refusal, in the words of that kind."""
    row = "OLD" if operation == "DELETE" else "NEW"
    kinds = KINDS[engine]
    if engine == "sqlite":
        for number, (kind, refusal) in enumerate(kinds.items()):
            when = f"BEFORE {operation} ON Item WHEN {row}.Label = '{kind}'"
            site.access.raw(f"CREATE TRIGGER deny{number} {when} BEGIN {refusal} END")
        return
    label = f'{row}."Label"' if engine == "postgresql" else f"{row}.Label"
    body = " ".join(f"IF {label} = '{kind}' THEN {refusal} END IF;" for kind, refusal in kinds.items())
    if engine == "postgresql":
        site.access.raw(
            f"CREATE SEQUENCE IF NOT EXISTS closed; CREATE FUNCTION deny() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN {body} RETURN {row}; END $$; "
            f'CREATE TRIGGER deny BEFORE {operation} ON "Item" FOR EACH ROW EXECUTE FUNCTION deny()'
        )
    else:
        site.access.raw(f"CREATE TRIGGER deny BEFORE {operation} ON Item FOR EACH ROW BEGIN {body} END")


def allow(site: Site, engine: Engine) -> None:
    if engine == "sqlite":
        for number in range(len(SQLITE)):
            site.access.raw(f"DROP TRIGGER deny{number}")
    else:
        site.access.raw("DROP FUNCTION deny() CASCADE" if engine == "postgresql" else "DROP TRIGGER deny")


def labelled(kinds: dict[str, str]) -> list[str]:
    """An item for each kind; their codes are the kinds too."""
    return [f"INSERT INTO Item VALUES ('{kind}', '{kind}', 1, 1)" for kind in kinds]


@pytest.fixture
async def sites(tmp_path: Path) -> AsyncIterator[dict[str, Site]]:
    made: dict[str, Site] = {}
    yield made
    for site in made.values():
        await site.close()


async def two(sites: dict[str, Site], folder: Path, engine: Engine) -> tuple[Site, Site]:
    """The site at which something is refused, and a producer."""
    sites |= {"hq": Site(folder, "hq", engine=engine), "store": Site(folder, "store")}
    for site in sites.values():
        await site.open()
    return sites["hq"], sites["store"]


@pytest.mark.parametrize("engine", KINDS)
async def test_documents_that_are_refused_in_whatever_words_are_parked_alone_and_heal(
    sites: dict[str, Site], tmp_path: Path, engine: Engine
) -> None:
    hq, store = await two(sites, tmp_path, engine)
    kinds = KINDS[engine]
    deny(hq, engine)
    store.write(*labelled(kinds), FINE, ADA)
    await hq.pull_all(store)
    assert [row[0] for row in hq.rows('SELECT "Code" FROM "Item"')] == ["b"]
    assert hq.rows('SELECT count(*) FROM "Customer"') == [(1,)]
    async with hq.database.snapshot() as reader:
        parked = {each.event.name[0]: (each.state, each.error) for each in await reader.queue()}
    assert parked.keys() == kinds.keys()
    assert {state for state, _ in parked.values()} == {"parked"}
    said = ("closed", "integer overflow", "malformed JSON")
    assert [error for _, error in parked.values() if not any(word in error for word in said)] == []
    allow(hq, engine)
    await hq.heal(store)
    assert hq.everything() == store.everything()
    assert await hq.queue() == []


@pytest.mark.parametrize("operation", ["UPDATE", "DELETE"])
@pytest.mark.parametrize("engine", KINDS)
async def test_updates_and_deletions_are_refused_alone_as_well(
    sites: dict[str, Site], tmp_path: Path, engine: Engine, operation: str
) -> None:
    hq, store = await two(sites, tmp_path, engine)
    kinds = KINDS[engine]
    store.write(*labelled(kinds), FINE)
    await hq.pull_all(store)
    deny(hq, engine, operation)
    store.write("UPDATE Item SET Stock = 7" if operation == "UPDATE" else "DELETE FROM Item", ADA)
    await hq.pull_all(store)
    assert hq.rows('SELECT count(*) FROM "Customer"') == [(1,)]
    assert [state for state, _ in await hq.queue()] == ["parked"] * len(kinds)
    changed = [("b", 7)] if operation == "UPDATE" else []
    left = sorted([*changed, *((kind, 1) for kind in kinds)])
    assert sorted(hq.rows('SELECT "Code", "Stock" FROM "Item"')) == left
    allow(hq, engine)
    await hq.heal(store)
    assert hq.everything() == store.everything()


async def test_what_is_refused_at_the_commit_is_a_documents_too(sites: dict[str, Site], tmp_path: Path) -> None:
    hq, store = await two(sites, tmp_path, "postgresql")
    body = "BEGIN IF NEW.\"Label\" = 'bad' THEN RAISE 'closed' USING ERRCODE = 'BK002'; END IF; RETURN NULL; END"
    hq.access.raw(f"CREATE FUNCTION deny() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$")
    hq.access.raw(
        'CREATE CONSTRAINT TRIGGER deny AFTER INSERT ON "Item" DEFERRABLE INITIALLY DEFERRED FOR EACH ROW '
        "EXECUTE FUNCTION deny()"
    )
    store.write(BAD, FINE, ADA)
    await hq.pull_all(store)
    assert [row[0] for row in hq.rows('SELECT "Code" FROM "Item"')] == ["b"]
    assert await hq.queue() == [("parked", "closed")]


OF_THE_TYPE: dict[str, tuple[str, ...]] = {
    "an index in a collation of the application's": ("CREATE INDEX own ON Item (Label COLLATE LOCALIZED)",),
    "an index over a function of the application's": ("CREATE INDEX own ON Item (fold(Label))",),
    "a trigger that calls one": ("CREATE TRIGGER own AFTER INSERT ON Item BEGIN SELECT fold(NEW.Label); END",),
}


@pytest.mark.parametrize("kind", OF_THE_TYPE)
async def test_a_type_that_nobody_could_write_is_paused_says_why_and_goes_on(
    sites: dict[str, Site], tmp_path: Path, kind: str
) -> None:
    hq, store = await two(sites, tmp_path, "sqlite")
    with hq.access.connection() as connection:
        connection.create_collation("LOCALIZED", lambda one, other: (one > other) - (one < other))  # type: ignore[attr-defined]
        connection.create_function("fold", 1, str, deterministic=True)  # type: ignore[attr-defined]
        for statement in OF_THE_TYPE[kind]:
            connection.execute(statement)
    (said,) = await hq.database.warnings(hq.catalogue)
    assert said.startswith("Item: ")
    store.write(BAD, FINE, ADA)
    await hq.pull_all(store)
    assert hq.rows('SELECT count(*) FROM "Customer"') == [(1,)]
    queue = await hq.queue()
    assert [state for state, _ in queue] == ["held", "held"]
    words = said.removeprefix("Item: ").partition(". ")[0]
    assert {error for _, error in queue} == {f"Item is paused: {words}"}
    with hq.access.connection() as connection:
        connection.execute("DROP TRIGGER own" if "trigger" in kind else "DROP INDEX own")
    hq.applier.refused_types._now = lambda: float("inf")  # as after a while
    await hq.heal(store)
    assert hq.everything() == store.everything()
    assert await hq.queue() == []
    assert hq.applier.refused_types.paused() == {}


LIMITED = ("SELECT", "INSERT", "UPDATE", "DELETE")


@pytest.mark.parametrize("right", LIMITED)
async def test_a_right_that_is_missing_on_a_table_pauses_its_type_alone(
    sites: dict[str, Site], tmp_path: Path, right: str
) -> None:
    hq, store = await two(sites, tmp_path, "postgresql")
    store.write(FINE)
    await hq.pull_all(store)
    daemons = servers.unprivileged_role(hq.access.database)
    hq.access.raw(
        f'GRANT ALL ON SCHEMA public, streamd TO "{daemons.user}"; '
        f'GRANT ALL ON ALL TABLES IN SCHEMA public, streamd TO "{daemons.user}"; '
        f'GRANT ALL ON ALL SEQUENCES IN SCHEMA streamd TO "{daemons.user}"; '
        f'REVOKE {right} ON "Item" FROM "{daemons.user}"'
    )
    await hq.database.close()
    hq.database = open_site(daemons.url)
    hq.applier = Applier(hq.database, hq.sync_log, hq.catalogue, site=hq.site, drain=hq.capture.drain)
    hq.healer = Healer(hq.applier, hq.database, hq.catalogue, hq.sync_log)
    store.write(BAD, "UPDATE Item SET Stock = 9 WHERE Code = 'b'", ADA)
    store.write("DELETE FROM Item WHERE Code = 'b'")
    await hq.pull_all(store)
    assert hq.rows('SELECT count(*) FROM "Customer"') == [(1,)]
    queue = await hq.queue()
    assert queue
    assert [error for _, error in queue if not error.startswith(("Item is paused: permission denied", "waits"))] == []
    hq.access.raw(f'GRANT {right} ON "Item" TO "{daemons.user}"')
    hq.applier.refused_types._now = lambda: float("inf")  # as after a while
    await hq.heal(store)
    assert hq.everything() == store.everything()


@pytest.mark.parametrize("engine", ENGINES)
async def test_nobody_is_parked_while_the_database_is_not_there(
    sites: dict[str, Site], tmp_path: Path, engine: Engine
) -> None:
    hq, store = await two(sites, tmp_path, engine)
    store.write(BAD, FINE, ADA)
    if engine == "sqlite":
        pages = hq.rows("PRAGMA page_count")[0][0]
        async with hq.database.transaction() as transaction:
            await transaction._run(f"PRAGMA max_page_count = {pages}")  # type: ignore[attr-defined]
        store.write(f"UPDATE Item SET Label = '{'x' * 90_000}' WHERE Code = 'a'")
        expected: type[StreamdError] = SiteBusy
    else:
        expected = SiteError
        with hq.access.connection() as connection:
            ended = (
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                "AND pid <> pg_backend_pid()"
            )
            _end_all(connection, ended if engine == "postgresql" else "", hq.access.database.name)
    try:
        await hq.pull_all(store)
    except expected as error:
        assert error.retryable  # noqa: PT017  # it may also have gone well, over a new connection
    assert await hq.queue() == []
    if engine == "sqlite":
        async with hq.database.transaction() as transaction:
            await transaction._run("PRAGMA max_page_count = 1000000")  # type: ignore[attr-defined]
    await hq.applier.recover()
    await hq.pull_all(store)
    assert hq.everything() == store.everything()


def _end_all(connection: object, statement: str, database: str) -> None:
    """End every other connection to the database."""
    run = connection.execute  # type: ignore[attr-defined]
    if statement:
        run(statement).fetchall()
        return
    others = f"SELECT id FROM information_schema.processlist WHERE db = '{database}' AND id <> connection_id()"
    for (number,) in run(others).fetchall():
        run(f"KILL {number}")
