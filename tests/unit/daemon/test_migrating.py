"""Bringing the state database to this release's schema: what stops it is said as it is, and it can be done again."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from streamd.cli.shared import installing
from streamd.cli.shared.installing import migrate_state
from streamd.errors import StateError
from streamd.settings import Settings
from streamd.store.engine import State
from streamd.store.migrate import HEAD, migrate


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.model_validate(
        {
            "site": {"name": "store", "database": f"sqlite:///{tmp_path}/site.db"},
            "state": {"database": f"sqlite:///{tmp_path}/state.db"},
        }
    )


@pytest.fixture
def becomes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let the migration's process be this shell script."""

    def put(script: str) -> None:
        program = tmp_path / "python"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setattr(installing.sys, "executable", str(program))

    return put


async def test_a_signal_to_the_migration_alone_is_said_and_nothing_else_is_blamed(
    settings: Settings, becomes: Callable[[str], None]
) -> None:
    becomes("kill -TERM $$")
    with pytest.raises(StateError) as stopped:
        await migrate_state(settings)
    assert "stopped by SIGTERM" in stopped.value.message
    assert "can be written" not in stopped.value.hint


async def test_a_signal_to_the_command_stops_the_migration_too(
    settings: Settings, becomes: Callable[[str], None], tmp_path: Path
) -> None:
    becomes(f"echo $$ > {tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; exec sleep 600")
    before = signal.getsignal(signal.SIGTERM)
    work = asyncio.create_task(migrate_state(settings))
    while not (tmp_path / "pid").exists() or signal.getsignal(signal.SIGTERM) == before:
        await asyncio.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(StateError, match="stopped by SIGTERM"):
        await work
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("statements", [5, 12, 20, 30, 40])
async def test_a_migration_that_is_stopped_in_the_middle_can_be_done_again(settings: Settings, statements: int) -> None:
    class Stopped(BaseException):
        pass

    counted = 0

    def count(*_: object) -> None:
        nonlocal counted
        counted += 1
        if counted == statements:
            raise Stopped

    event.listen(Engine, "after_cursor_execute", count)
    try:
        with pytest.raises(Stopped):
            await asyncio.to_thread(migrate, settings.state.database)
    finally:
        event.remove(Engine, "after_cursor_execute", count)
    await asyncio.to_thread(migrate, settings.state.database)
    state = State(settings.state.database, "")
    assert await state.revision() == HEAD
    await state.close()
