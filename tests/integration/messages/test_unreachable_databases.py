"""A server of a database that cannot be reached, or refuses, is described with its address and a way to fix it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy.engine import make_url

from streamd.db import open_site
from streamd.errors import SiteBusy, SiteError, StateBusy, StateError
from streamd.store.engine import State
from tests.integration.messages.test_unreachable_producers import JARGON, listening
from tests.support import servers
from tests.support.database_url import Engine
from tests.support.processes.ports import free_port

E = TypeVar("E", SiteError, StateError)
SERVERS: list[Engine] = ["postgresql", "mariadb"]


async def site_refusal(url: str) -> SiteError:
    site = open_site(url)
    try:
        with pytest.raises(SiteError) as raised:
            await site.tables()
    finally:
        await site.close()
    return plain(raised.value)


async def state_refusal(url: str) -> StateError:
    state = State(url, "")
    try:
        with pytest.raises(StateError) as raised:
            await state.revision()
    finally:
        await state.close()
    return plain(raised.value)


def plain(error: E) -> E:
    assert not JARGON.search(str(error)), error
    assert error.hint
    return error


@pytest.mark.parametrize("engine", SERVERS)
async def test_a_server_that_is_not_there_is_named_with_host_and_port(engine: Engine) -> None:
    port = free_port()
    error = await site_refusal(f"{engine}://user:word@127.0.0.1:{port}/shop")
    assert isinstance(error, SiteBusy)
    assert error.message == f"nothing listens at 127.0.0.1:{port}"
    assert "site.database" in error.hint


async def test_the_states_server_that_is_not_there_is_named_with_its_own_setting() -> None:
    port = free_port()
    error = await state_refusal(f"postgresql://user:word@127.0.0.1:{port}/shop")
    assert isinstance(error, StateBusy)
    assert f"nothing listens at 127.0.0.1:{port}" in error.message
    assert "state.database" in error.hint
    assert "word" not in str(error)


async def test_another_service_at_the_port_is_no_postgresql_server() -> None:
    async with listening(b"no") as port:
        error = await site_refusal(f"postgresql://user@127.0.0.1:{port}/shop")
    assert f"127.0.0.1:{port}" in error.message
    assert "port in site.database" in error.hint


@pytest.mark.parametrize("engine", SERVERS)
async def test_a_database_that_the_server_lacks_is_named(engine: Engine) -> None:
    url = make_url(servers.fresh_database(engine).url).set(database="no_such_shop")
    error = await site_refusal(url.render_as_string(hide_password=False))
    assert "no_such_shop" in error.message
    assert str(url.port) in error.message
    assert "create" in error.hint


@pytest.mark.parametrize("engine", SERVERS)
async def test_a_user_whom_the_server_does_not_let_in_is_named(engine: Engine) -> None:
    url = make_url(servers.fresh_database(engine).url).set(username="nobody_here", password="wrong")
    error = await site_refusal(url.render_as_string(hide_password=False))
    assert "nobody_here" in error.message
    assert "user" in error.hint
    assert "wrong" not in str(error)


async def test_a_state_database_of_another_kind_is_named(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    await asyncio.to_thread(file.write_text, "a letter, and no database" * 50)
    assert f"{file}: file is not a database" in (await state_refusal(f"sqlite:///{file}")).message


NOBODY = 65534


async def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "shop.db"
    file.touch(mode=0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)  # root may read every file
    try:
        error = await site_refusal(f"sqlite:///{file}")
    finally:
        os.seteuid(user)
    assert str(file) in error.message
    assert "may the user of streamd" in error.hint
