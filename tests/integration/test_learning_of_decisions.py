"""A consumer learns what a producer's operator decides, whatever it was doing when the answer came."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterable
from contextlib import closing, suppress
from pathlib import Path

import pytest
import structlog

from streamd.lifecycle.loops import Loop
from streamd.lifecycle.subscriber import Subscriber
from streamd.pull import Peer, wanted_doctypes
from streamd.settings import ProducerSettings
from streamd.store.heartbeat import Requests
from streamd.store.producers import Producers, SubscribedType
from streamd.store.unread_columns import UnreadColumns
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


class InterruptedProducers(Producers):
    """The subscriber is woken as soon as it wrote down what an operator decided, each time that one did."""

    subscriber: Subscriber

    async def set_subscriptions(self, name: str, states: Iterable[SubscribedType]) -> None:
        states = list(states)
        news = [each.status for each in states] != [each.status for each in await self.subscriptions(name)]
        await super().set_subscriptions(name, states)
        if news:
            self.subscriber.wake()
            await asyncio.sleep(SOON_SECONDS)  # is cancelled: being woken ends what it does


async def subscribed(store: Site, hq: ProducerSite, producers: Producers) -> Subscriber:
    key, secret = await hq.peers.create_key("store")
    settings = ProducerSettings(
        url=hq.server.url, api_key=key, api_secret=secret, use_same_name=True, doctypes=("Invoice",)
    )
    await producers.upsert("hq", hq.server.url)
    return Subscriber(
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
        unread=UnreadColumns(store.state),
        sync_log=store.sync_log,
        mappings={},
        applied=lambda: None,
    )


async def test_an_approval_is_said_once_also_when_the_subscriber_is_interrupted_as_it_learns(
    hq: ProducerSite, store: Site
) -> None:
    producers = InterruptedProducers(store.state)
    producers.subscriber = await subscribed(store, hq, producers)
    with structlog.testing.capture_logs() as said:
        running = asyncio.create_task(Loop("pull", producers.subscriber.turn).run())
        try:
            await learned(store, "Pending")
            await hq.approve("Invoice")
            await hq.log.wake()
            await until(lambda: any(line["event"] == "approved" and "producer" in line for line in said), "it is said")
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
    assert len([line for line in said if line["event"] == "approved" and "producer" in line]) == 1


async def test_a_decision_is_learned_soon_wherever_the_subscriber_is_woken(hq: ProducerSite, store: Site) -> None:
    """It leaves what it is doing when it is woken: also when the answer that tells of the decision is just there."""
    subscriber = await subscribed(store, hq, Producers(store.state))

    running = asyncio.create_task(Loop("pull", subscriber.turn).run())
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
