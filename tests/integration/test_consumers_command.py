"""`streamd consumers` shows a person, before the decision, all that an approval would give."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from streamd.store.engine import State
from streamd.store.peers import Peers
from streamd.wire import HandshakeRequest, WantedDoctype
from tests.support.sites.serving import CONSUMER, SCHEMA
from tests.support.sites.site import Site

CATALOGUE = """
[doctypes.Invoice.children.lines]
table = "Line"
parent_key = "invoice"
[doctypes.Customer]
[doctypes.Employee]
[doctypes.Track]
"""
CONDITION = "doc.customer == 1\n  && doc.total == '1.98'"
IN_ONE_LINE = "doc.customer == 1 && doc.total == '1.98'"


@pytest.fixture
def hq(tmp_path: Path) -> Site:
    """An installed site."""
    site = Site(tmp_path / "hq", "hq", CATALOGUE)
    connection = sqlite3.connect(site.database)
    connection.executescript(SCHEMA)
    connection.close()
    site.write_config()
    site.cli("install")
    return site


def ask(hq: Site, *wanted: WantedDoctype) -> None:
    """What the site's daemon does at a handshake that it accepts."""

    async def register() -> None:
        state = State(f"sqlite:///{hq.state}", hq.value("SELECT site FROM streamd_site"))
        hello = HandshakeRequest(protocols=[1], site=CONSUMER, name="store", doctypes=list(wanted))
        await Peers(state).register("store", hello, {"Invoice": ["Customer", "Employee", "Track"]})
        await state.close()

    asyncio.run(register())


def test_what_is_asked_for_is_shown_before_it_is_approved_and_said_when_it_is(hq: Site) -> None:
    ask(
        hq,
        WantedDoctype(doctype="Invoice", condition=CONDITION, lookups=["Track", "OneHash Lead"]),
        WantedDoctype(doctype="Track"),
    )
    table = hq.cli("consumers", "list")
    assert "Only where" in table
    assert "May look for" in table
    (line,) = [line for line in table.splitlines() if "Invoice" in line]
    assert IN_ONE_LINE in line
    assert "OneHash Lead, Track" in line
    (listed,) = hq.json("consumers", "list")
    shown = {each["doctype"]: (each["status"], each["condition"], each["lookups"]) for each in listed["doctypes"]}
    assert shown == {"Invoice": ("Pending", CONDITION, ["OneHash Lead", "Track"]), "Track": ("Pending", "", [])}

    said = hq.cli("consumers", "approve", "store")
    assert f"store may have Invoice, only where {IN_ONE_LINE}: every change from now on" in said
    assert "and may look for OneHash Lead, Track by value" in said
    assert "store may have Track: every change from now on" in said


def test_a_condition_that_cannot_be_judged_is_not_approved(hq: Site) -> None:
    ask(hq, WantedDoctype(doctype="Invoice", condition="doc.gone == 1"), WantedDoctype(doctype="Track"))
    for named in ((), ("Invoice",)):
        refused = hq.run("consumers", "approve", "store", *named)
        assert refused.code == 1, refused.text
        assert "the condition of Invoice: it has no field gone" in refused.err
        assert "streamd consumers reject store Invoice" in refused.err
    assert "store may have Track" in hq.cli("consumers", "approve", "store", "Track")
    hq.cli("consumers", "reject", "store", "Invoice")
