"""A state database on a PostgreSQL server: roles, lost connections, and a server that restarts."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
from sqlalchemy import func, insert, select, text

from streamd.db.postgresql import state as postgresql_state
from streamd.errors import ConfigurationError, StateBusy, StateError
from streamd.store.engine import State
from streamd.store.heartbeat import Heartbeat
from streamd.store.migrate import HEAD
from streamd.store.producers import Producers
from streamd.store.schema import sync_batch
from streamd.update_log import Head, UpdateLog
from tests.contract.state.conftest import ELSEWHERE, HERE, Opener, migrate_apart
from tests.support.database_url import DatabaseUrl
from tests.support.polling import eventually
from tests.support.processes.outage import Passage
from tests.support.servers import administrator, drop_database, fresh_database, unprivileged_role
from tests.support.sites.serving import entry

CUTS = 15


@pytest.fixture
def fresh() -> Iterator[DatabaseUrl]:
    """A database without anything."""
    made = fresh_database("postgresql")
    yield made
    drop_database(made)


def ask(database: DatabaseUrl, *statements: str) -> list[tuple[object, ...]]:
    """What the last of these statements gives an administrator."""
    with psycopg.connect(administrator(database).url, autocommit=True) as connection:
        for statement in statements:
            found = connection.execute(statement.encode())
        return found.fetchall() if found.description else []


def kill_connections(database: DatabaseUrl) -> None:
    """End every connection to this database but our own, as an administrator can, and a restart does."""
    ask(
        database,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )


# Where the tables are


async def test_our_tables_stand_in_a_schema_of_their_own(fresh: DatabaseUrl, opened: Opener) -> None:
    ask(fresh, "CREATE TABLE public.consumers (theirs int)", "CREATE TABLE public.alembic_version (version_num text)")
    assert await opened(fresh.url).revision() is None
    await migrate_apart(fresh.url)
    schemas = "SELECT DISTINCT schemaname FROM pg_tables WHERE tablename = 'consumers' ORDER BY 1"
    assert ask(fresh, schemas) == [("public",), ("streamd_state",)]
    assert ask(fresh, "SELECT count(*) FROM public.alembic_version") == [(0,)]
    assert await opened(fresh.url.replace("postgresql://", "postgres://")).revision() == HEAD


async def test_a_role_that_may_not_make_a_schema_is_told_so_and_can_be_given_one(fresh: DatabaseUrl) -> None:
    role = unprivileged_role(fresh)
    with pytest.raises(StateError, match="permission denied") as told:
        await migrate_apart(role.url)
    assert "docs/how-to/state-database.md" in told.value.hint
    ask(fresh, f"CREATE SCHEMA streamd_state AUTHORIZATION {role.user}")
    await migrate_apart(role.url)
    assert ask(fresh, "SELECT version_num FROM streamd_state.alembic_version") == [(HEAD,)]


async def test_a_database_that_cannot_hold_all_text_is_refused(fresh: DatabaseUrl) -> None:
    latin = replace(administrator(fresh), name=f"{fresh.name}_latin")
    ask(fresh, f"CREATE DATABASE {latin.name} ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    try:
        with pytest.raises(StateError, match="as LATIN1"):
            await migrate_apart(latin.url)
    finally:
        ask(fresh, f"DROP DATABASE {latin.name} WITH (FORCE)")


# What is promised


async def test_what_is_written_is_durable_though_the_server_is_told_otherwise(
    postgresql: DatabaseUrl, opened: Opener
) -> None:
    show = text("SHOW synchronous_commit")
    ask(postgresql, f'ALTER DATABASE "{postgresql.name}" SET synchronous_commit = off')
    async with opened(postgresql.url).write() as connection:
        assert await connection.scalar(show) == "on"
    ask(postgresql, f'ALTER DATABASE "{postgresql.name}" SET synchronous_commit = remote_apply')
    async with opened(postgresql.url).write() as connection:
        assert await connection.scalar(show) == "remote_apply"


async def test_a_read_cannot_write(postgresql: DatabaseUrl, opened: Opener) -> None:
    with pytest.raises(StateError, match="read-only"):
        async with opened(postgresql.url).read() as connection:
            await connection.execute(insert(sync_batch).values(site=HERE, id="", producer_site="", log="", sequence=1))


async def test_sites_do_not_wait_for_each_other(postgresql: DatabaseUrl, opened: Opener) -> None:
    state, neighbour = opened(postgresql.url), opened(postgresql.url, ELSEWHERE)
    async with state.write() as connection:
        await connection.execute(sync_batch.delete())
        async with asyncio.timeout(5):
            await Heartbeat(neighbour).beat(captured=1)


async def test_few_connections_are_held_however_many_wait(postgresql: DatabaseUrl, opened: Opener) -> None:
    state = opened(postgresql.url)
    await asyncio.gather(
        *(Heartbeat(state).beat(captured=number) for number in range(30)),
        *(Producers(state).all() for _ in range(60)),
    )
    held = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'streamd'"
    (count,) = ask(postgresql, held)[0]
    assert isinstance(count, int)
    assert 1 <= count <= 8


async def test_names_are_found_by_an_index(postgresql: DatabaseUrl, opened: Opener) -> None:
    state = opened(postgresql.url)
    log = UpdateLog(state)
    head = await log.begin()
    await log.append(1, "", [entry("Item", number) for number in range(3000)], log=head.log)
    ask(postgresql, "ANALYZE streamd_state.update_log")
    await asyncio.gather(*(log.entries(doctype="Item", name=f"[{number}]") for number in range(20)))
    used = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'update_log_document'"
    await state.close()  # the server counts what a connection did when that ends, at the latest
    eventually(lambda: ask(postgresql, used) != [(0,)], "the index is used")


# Lost connections


async def test_a_connection_that_breaks_in_the_middle_can_be_tried_again(
    postgresql: DatabaseUrl, opened: Opener
) -> None:
    state = opened(postgresql.url)
    with pytest.raises(StateBusy):
        async with state.write() as connection:
            await connection.execute(insert(sync_batch).values(site=HERE, id="a", producer_site="", log="", sequence=1))
            kill_connections(postgresql)
            await connection.execute(insert(sync_batch).values(site=HERE, id="b", producer_site="", log="", sequence=1))
    with pytest.raises(StateBusy):
        async with state.read() as connection:
            kill_connections(postgresql)
            await connection.execute(select(sync_batch))
    with pytest.raises(StateBusy):
        async with state.write() as connection:
            await connection.execute(insert(sync_batch).values(site=HERE, id="c", producer_site="", log="", sequence=1))
            kill_connections(postgresql)
    async with state.write() as connection:
        assert await connection.scalar(select(func.count()).select_from(sync_batch)) == 0


async def test_idle_connections_that_were_ended_are_not_noticed(postgresql: DatabaseUrl, opened: Opener) -> None:
    state = opened(postgresql.url)
    for _ in range(3):
        await asyncio.gather(*(Producers(state).all() for _ in range(6)))
        kill_connections(postgresql)
        await Producers(state).all()
        kill_connections(postgresql)
        await Heartbeat(state).beat(captured=1)


async def test_a_server_that_restarts_is_waited_for(postgresql: DatabaseUrl, passage: Passage, opened: Opener) -> None:
    state = opened(passage.to(postgresql).url)
    await Heartbeat(state).beat(captured=1)
    passage.close()
    reading = asyncio.create_task(Heartbeat(state).current())
    writing = asyncio.create_task(Heartbeat(state).beat(captured=2))
    await asyncio.wait({reading, writing}, timeout=0.5)
    assert not reading.done()
    assert not writing.done()
    passage.open()
    await asyncio.wait_for(asyncio.gather(reading, writing), 10)
    beat = await Heartbeat(state).current()
    assert beat is not None
    assert beat.captured == 2


async def test_a_server_that_stays_away_is_said_to_be_and_is_tried_again_later(
    postgresql: DatabaseUrl, passage: Passage, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql_state, "BUSY_SECONDS", 0.3)
    state = opened(passage.to(postgresql).url)
    await Heartbeat(state).beat(captured=1)
    passage.close()
    for _ in range(2):
        with pytest.raises(StateBusy, match=f":{passage.port}"):
            await Heartbeat(state).current()
    passage.open()
    assert await Heartbeat(state).current() is not None


async def test_a_server_that_was_never_there_is_not_waited_for(
    postgresql: DatabaseUrl, passage: Passage, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    passage.close()
    monkeypatch.setattr(postgresql_state, "BUSY_SECONDS", 3600.0)
    with pytest.raises(StateBusy):
        await opened(passage.to(postgresql).url).check_revision()


async def test_connections_that_break_all_the_time_lose_nothing_and_repeat_nothing(
    postgresql: DatabaseUrl, passage: Passage, opened: Opener
) -> None:
    state = opened(passage.to(postgresql).url)
    log = UpdateLog(state)
    head = await log.begin()

    async def break_connections() -> None:
        for _ in range(CUTS):
            # Long enough for a connection and a few batches, and never at the same moment of one.
            await asyncio.sleep(random.uniform(0.1, 0.4))
            await asyncio.to_thread(passage.cut)

    breaking = asyncio.create_task(break_connections())
    batch = 0
    while not breaking.done():
        # As capture does: after an error it looks where the log ends.
        try:
            await log.append(batch + 1, "", [entry("Item", batch + 1)], log=head.log)
        except StateBusy:
            there = await _patient_head(log)
            assert there.batch in (batch, batch + 1)
            batch = there.batch
        else:
            batch += 1
    await breaking
    assert batch > CUTS
    entries = await UpdateLog(opened(postgresql.url)).entries(limit=10_000)
    assert [each.name for each in reversed(entries)] == [f"[{number}]" for number in range(1, batch + 1)]


async def _patient_head(log: UpdateLog) -> Head:
    while True:
        try:
            head = await log.head()
            assert head is not None
            return head
        except StateBusy:
            continue


# What cannot be opened


async def test_a_fault_of_the_url_is_said_without_the_password(postgresql: DatabaseUrl, opened: Opener) -> None:
    wrong = DatabaseUrl(
        "postgresql", "nothing_here", postgresql.user, postgresql.password, "127.0.0.1", postgresql.port
    )
    for url, words in (
        (wrong.url, "does not exist"),
        (f"postgresql://nobody:hush-hush@127.0.0.1:{postgresql.port}/{postgresql.name}", "nobody"),
        (f"{postgresql.url}?sslmode=hush-hush", "sslmode"),
    ):
        with pytest.raises(StateError, match=words) as told:
            await opened(url).check_revision()
        assert not told.value.retryable
        for secret in (postgresql.password, "hush-hush"):
            assert secret not in str(told.value)


def test_a_driver_that_is_not_installed_is_named_with_its_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(ConfigurationError) as told:
        State("postgresql://me:hush-hush@host/state", HERE)
    assert "pip install asyncpg" in str(told.value)
    assert "hush-hush" not in str(told.value)
