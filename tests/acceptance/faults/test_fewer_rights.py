"""Daemons that may do in their databases what they need, and no more: another role has installed streamd there."""

from __future__ import annotations

import psycopg
import pytest

from tests.acceptance.conftest import Pair
from tests.support import servers
from tests.support.engines import open_access
from tests.support.matrix import in_matrix
from tests.support.sites.chinook import NEW, add_invoice, delete_invoice
from tests.support.sites.site import Site


def lessen(site: Site) -> None:
    """From here on the daemon is a role that owns nothing, and may change the rows of the user's tables."""
    role = servers.unprivileged_role(site.access.database)
    assert f"granted {role.user}" in site.cli("install", "--grant", role.user)
    site.access.raw(f'GRANT USAGE ON SCHEMA public TO "{role.user}"')
    site.access.raw(f'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO "{role.user}"')
    site.daemons_role = role
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        open_access(role).raw("CREATE TABLE streamd.more (a int)")


@pytest.mark.parametrize("engines", in_matrix(("postgresql", "postgresql")))
def test_daemons_without_a_right_to_change_the_schema_do_all_of_their_work(pair: Pair) -> None:
    hq, store = pair.hq, pair.store
    for site in (hq, store):
        lessen(site)
    pair.start()
    add_invoice(hq, 1001)
    add_invoice(hq, 1002)
    pair.world.equal(hq, store, NEW)
    hq.execute("UPDATE InvoiceLine SET Quantity = 7 WHERE InvoiceId = 1001")
    delete_invoice(hq, 1002)
    pair.world.equal(hq, store, NEW)
    # What is parked heals, and a type is read again.
    store.execute("INSERT INTO Genre VALUES (900, 'ours')")
    hq.execute("INSERT INTO Genre VALUES (900, 'theirs')")
    pair.world.eventually(lambda: store.json("status")["parked"] == 1, "another document has that name")
    store.execute("DELETE FROM Genre WHERE GenreId = 900")
    pair.world.eventually(lambda: store.value("SELECT Name FROM Genre WHERE GenreId = 900") == "theirs", "it heals")
    hq.access.raw('TRUNCATE "Note"')
    told = "SELECT status FROM sync_log WHERE update_type = 'gap' AND doctype = 'Note'"
    pair.world.eventually(lambda: store.state_rows(told) == [("Synced",)], "the gap is told, and repaired", timeout=20)
    for site in (hq, store):
        site.kill()
    add_invoice(hq, 1003)
    pair.start()
    pair.world.equal(hq, store, NEW)
    for site in (hq, store):
        assert "\n0 problems" in site.cli("check")
