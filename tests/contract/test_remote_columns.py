"""Columns that say where a document came from are added where somebody asks for them, on every engine."""

from __future__ import annotations

import asyncio
import json
import uuid

from click.testing import CliRunner

from streamd.cli.main import cli
from streamd.db.base import REMOTE_COLUMNS
from streamd.store.peers import Peers
from streamd.wire import HandshakeRequest, WantedDoctype
from tests.contract.conftest import Installed
from tests.contract.site.writes import ADA, waiting

CONFIG = """
[site]
name = "hq"
database = {database}
[state]
database = {state}
[doctypes.Customer]
[doctypes.Item]
[doctypes.Invoice]
children.lines = {{ table = "Line", key = "Id", parent_key = "Invoice" }}
"""


async def _streamd(installed: Installed, *arguments: str, code: int = 0) -> str:
    """Run a command, which has an event loop of its own."""
    settings, config = installed.site.settings, installed.site.folder / "streamd.toml"
    urls = {"database": json.dumps(settings.site.database), "state": json.dumps(settings.state.database)}
    config.write_text(CONFIG.format(**urls), encoding="utf-8")
    done = await asyncio.to_thread(CliRunner().invoke, cli, [*arguments, "--config", str(config)])
    assert done.exit_code == code, f"{arguments}: {done.output}"
    return done.output


async def _approve_customers(installed: Installed) -> None:
    """Somebody was promised every change of them."""
    request = HandshakeRequest(
        protocols=[1], site=str(uuid.uuid4()), name="store", doctypes=[WantedDoctype(doctype="Customer")]
    )
    await installed.site.update_log.begin()
    await Peers(installed.site.state).register("store", request, {})
    await Peers(installed.site.state).approve("store", ["Customer"], offers=["Customer"])


async def test_the_columns_are_added_once_and_changes_of_them_are_seen(installed: Installed) -> None:
    await _approve_customers(installed)
    installed.write(ADA)
    assert "added remote_site_name and remote_docname" in await _streamd(
        installed, "install", "--remote-columns", "Customer", "--remote-columns", "Invoice"
    )
    tables = await installed.database.tables()
    for table in ("Customer", "Invoice"):
        found = [tables[table].column(name) for name in REMOTE_COLUMNS]
        assert all(column is not None and column.nullable for column in found)
    assert tables["Item"].column("remote_docname") is None
    name = "SINV-é😀" * 100
    installed.access.execute('UPDATE "Customer" SET remote_docname = ? WHERE "Id" = 1', name)
    after = json.loads((await waiting(installed))[-1].after or b"")
    assert (after["remote_docname"], after["remote_site_name"]) == (name, None)
    assert "nothing to do" in await _streamd(installed, "install", "--remote-columns", "Customer")
    assert await installed.site.update_log.entries() == [], "no change went unseen, so there is no gap"


async def test_a_column_that_is_there_already_is_kept(installed: Installed) -> None:
    installed.access.execute('ALTER TABLE "Customer" ADD COLUMN remote_docname VARCHAR(140)')
    await _streamd(installed, "install", "--remote-columns", "Customer")
    table = (await installed.database.tables())["Customer"]
    assert [column.name for column in table.columns][-2:] == ["remote_docname", "remote_site_name"]


async def test_what_would_be_done_is_printed_and_is_all_that_has_to_be_done(installed: Installed) -> None:
    script = await _streamd(installed, "install", "--sql", "--remote-columns", "Customer")
    assert (await installed.database.tables())["Customer"].column("remote_docname") is None
    if installed.access.engine == "mariadb":
        return  # its script is for the server's own client
    installed.access.raw(script.replace("BEGIN;", "", 1).replace("COMMIT;", "", 1))
    assert (await installed.database.tables())["Customer"].column("remote_docname") is not None
    assert "nothing to do" in await _streamd(installed, "install", "--remote-columns", "Customer")


async def test_a_gap_from_before_is_not_hidden_by_the_new_triggers(installed: Installed) -> None:
    await _approve_customers(installed)
    database = installed.database
    gone = [name for name in await database.our_triggers() if "Customer" in name]
    await database.run_script(database.uninstall_script(gone, keep_tables=True))
    installed.write(ADA)
    said = await _streamd(installed, "install", "--remote-columns", "Customer")
    assert "changes of Customer may be missing" in said


async def test_a_type_that_is_none_is_said_with_what_was_meant(installed: Installed) -> None:
    said = await _streamd(installed, "install", "--remote-columns", "Custmer", code=5)
    assert "there is no document type Custmer here" in said
    assert "did you mean Customer?" in said
