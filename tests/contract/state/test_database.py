"""What the store relies on, whichever engine keeps the state: views, turns, durability, and being told of writes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, func, insert, select, update

from streamd.db.postgresql import state as postgresql_state
from streamd.db.sqlite import state as sqlite_state
from streamd.errors import StateBusy, StateError
from streamd.store.engine import State
from streamd.store.heartbeat import Heartbeat
from streamd.store.migrate import HEAD, URL_VARIABLE, alembic_config
from streamd.store.producers import Producers
from streamd.store.schema import heartbeat, metadata
from streamd.update_log import UpdateLog
from tests.contract.state.conftest import HERE, Opener, migrate_apart
from tests.support.database_url import DatabaseUrl

TIMES = 40
STEP_SECONDS = 0.0003

pytestmark = [
    pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index"),
    pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based index"),
]


# The schema


async def test_the_migrations_make_the_tables_that_the_code_expects(state: State) -> None:
    def differences(connection: Connection) -> object:
        return compare_metadata(MigrationContext.configure(connection), metadata)

    await state.check_revision()
    async with state.read() as connection:
        assert not await connection.run_sync(differences), "write a migration: store/schema.py has other tables"


async def test_migrating_again_changes_nothing(state: State, database: DatabaseUrl) -> None:
    await Producers(state).upsert("hq", "http://hq")
    await migrate_apart(database.url)
    assert [each.name for each in await Producers(state).all()] == ["hq"]


async def test_what_an_older_release_kept_is_kept(state: State, database: DatabaseUrl) -> None:
    await UpdateLog(state).begin()
    await UpdateLog(state).add_gap(["Item"], "triggers were missing", clock="")
    await asyncio.to_thread(command.downgrade, alembic_config(database.url), "0001")
    assert await state.revision() == "0001"
    with pytest.raises(StateError, match="has schema 0001"):
        await state.check_revision()
    await migrate_apart(database.url)
    await state.check_revision()
    assert [each.name for each in await UpdateLog(state).entries(name='[""]')] == ['[""]']


async def test_daemons_that_migrate_at_the_same_moment_do_not_disturb_each_other(
    empty: DatabaseUrl, opened: Opener, tmp_path: Path
) -> None:
    # As `streamd run` starts it: the URL comes from the environment.
    environment = {"PATH": "/usr/bin:/bin", URL_VARIABLE: empty.url}
    several = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "streamd.store.migrate", cwd=tmp_path, env=environment, stderr=subprocess.PIPE
        )
        for _ in range(1 if empty.engine == "sqlite" else 3)  # a file is one daemon's
    ]
    for each in several:
        _, said = await each.communicate()
        assert each.returncode == 0, said.decode()
    assert await opened(empty.url).revision() == HEAD


async def test_where_no_tables_are_it_is_said_and_none_are_made(empty: DatabaseUrl, opened: Opener) -> None:
    state = opened(empty.url)
    for _ in range(2):
        assert await state.revision() is None
        with pytest.raises(StateError, match="has schema none") as told:
            await state.check_revision()
        assert "streamd install" in told.value.hint


# Reading and writing


async def test_a_read_sees_one_moment(state: State, other: State) -> None:
    count = select(func.count()).select_from(heartbeat)
    async with state.read() as connection:
        before = await connection.scalar(count)
        await Heartbeat(other).beat(captured=1)
        assert await connection.scalar(count) == before == 0
    async with state.read() as connection:
        assert await connection.scalar(count) == 1


async def test_writers_take_turns_and_see_what_the_last_one_left(state: State, other: State) -> None:
    await Heartbeat(state).beat(captured=0)

    async def count_on(through: State) -> None:
        async with through.write() as connection:
            captured = await connection.scalar(select(heartbeat.c.captured).where(heartbeat.c.site == HERE))
            await asyncio.sleep(0)
            await connection.execute(update(heartbeat).where(heartbeat.c.site == HERE).values(captured=captured + 1))

    await asyncio.gather(*(count_on(through) for through in (state, other) for _ in range(15)))
    beat = await Heartbeat(state).current()
    assert beat is not None
    assert beat.captured == 30


async def test_what_a_failed_write_did_is_undone(state: State) -> None:
    with pytest.raises(RuntimeError):
        async with state.write() as connection:
            await connection.execute(insert(heartbeat).values(site=HERE, **BEAT))
            raise RuntimeError("something else went wrong")
    assert await Heartbeat(state).current() is None


async def test_a_write_that_is_cancelled_anywhere_leaves_no_lock_behind(state: State, other: State) -> None:
    for number in range(TIMES):
        with suppress(TimeoutError):
            async with asyncio.timeout(number * STEP_SECONDS), state.write() as connection:
                await connection.execute(insert(heartbeat).values(site=f"{number}", **BEAT))
        async with asyncio.timeout(2):
            await Heartbeat(other).beat(captured=number)
    async with state.write() as connection:
        assert await connection.scalar(select(func.count()).select_from(heartbeat)) in range(1, TIMES + 2)


async def test_a_read_that_is_cancelled_anywhere_does_no_harm(state: State) -> None:
    await Heartbeat(state).beat(captured=1)
    for number in range(TIMES):
        with suppress(TimeoutError):
            async with asyncio.timeout(number * STEP_SECONDS):
                await Heartbeat(state).current()
    assert await Heartbeat(state).current() is not None


async def test_who_waits_too_long_for_the_other_writer_is_told_to_try_again(
    database: DatabaseUrl, state: State, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_state, "BUSY_SECONDS", 0.1)
    monkeypatch.setattr(postgresql_state, "_SETTINGS", postgresql_state._SETTINGS.replace("'10s'", "'100ms'"))
    impatient = opened(database.url)
    await Heartbeat(impatient).current()
    async with state.write() as connection:
        await connection.execute(insert(heartbeat).values(site=HERE, **BEAT))
        with pytest.raises(StateBusy, match="lock"):
            await Heartbeat(impatient).beat(captured=2)
    await Heartbeat(impatient).beat(captured=3)


async def test_what_another_process_wrote_is_noticed(state: State, other: State) -> None:
    seen = state.version()
    await Producers(other).upsert("hq", "http://hq")
    assert state.version() != seen


async def test_many_may_read_at_once(state: State) -> None:
    await Heartbeat(state).beat(captured=1)
    beats = await asyncio.gather(*(Heartbeat(state).current() for _ in range(60)))
    assert all(beat is not None for beat in beats)


BEAT = {"pid": 1, "host": "h", "version": "1", "started_at": 1, "beat_at": 1, "captured": 0, "problem": ""}
