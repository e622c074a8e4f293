"""A consumer learns what a producer's operator decides, whatever it was doing when the answer came."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from streamd.pull import Peer, wanted_doctypes
from streamd.settings import ProducerSettings
from streamd.store.heartbeat import Requests
from streamd.store.producers import Producers
from streamd.subscriber import Subscriber
from tests.simulation.sites import Site
from tests.support.serving import DOCTYPES, SCHEMA, ProducerSite, until

TIMES = 60
STEP_SECONDS = 0.0005
SOON_SECONDS = 3.0


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Site]:
    site = Site(tmp_path, "store", schema=SCHEMA.partition("INSERT")[0], doctypes=DOCTYPES)
    await site.open()
    yield site
    await site.close()


async def learned(store: Site, status: str) -> None:
    """Wait until the consumer's people are shown this status."""
    with closing(sqlite3.connect(store.state_file)) as state:
        query = "SELECT doctype, status FROM subscriptions"
        await until(
            lambda: state.execute(query).fetchall() == [("Invoice", status)], f"it is {status} here", SOON_SECONDS
        )


async def test_a_decision_is_learned_soon_wherever_the_subscriber_is_woken(hq: ProducerSite, store: Site) -> None:
    """It leaves what it is doing when it is woken: also when the answer that tells of the decision is just there."""
    key, secret = await hq.peers.create_key("store")
    settings = ProducerSettings(
        url=hq.server.url, api_key=key, api_secret=secret, use_same_name=True, doctypes=("Invoice",)
    )
    producers = Producers(store.state)
    await producers.upsert("hq", hq.server.url)
    subscriber = Subscriber(
        "hq",
        settings,
        Peer("hq", settings, (key, secret), wanted_doctypes(settings, {})),
        site=store.site,
        site_name="store",
        database=store.database,
        catalogue=store.catalogue,
        applier=store.applier,
        producers=producers,
        requests=Requests(store.state),
        sync_log=store.sync_log,
        mappings={},
        applied=lambda: None,
    )

    running = asyncio.create_task(subscriber.run())
    try:
        await learned(store, "Pending")
        for number in range(TIMES):
            if number % 2:
                await hq.peers.reject("store", ["Invoice"])
            else:
                await hq.approve("Invoice")
            await hq.log.wake()
            # Not to wait for anything: the subscriber is interrupted a little later each time, from before the answer
            # arrives to after all that follows from it.
            await asyncio.sleep(number * STEP_SECONDS)
            subscriber.wake()
            await learned(store, "Rejected" if number % 2 else "Approved")
        assert not running.done()
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await subscriber.close()
