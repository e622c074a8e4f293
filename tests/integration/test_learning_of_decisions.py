"""A consumer learns of approvals and rejections, whatever it is doing when the answer arrives."""

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
from streamd.store.producers import Producers, SubscribedType
from tests.simulation.sites import Site
from tests.support.sites.serving import DOCTYPES, SCHEMA, ProducerSite, until

TIMES = 60
STEP_SECONDS = 0.0005
SOON_SECONDS = 3.0


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Site]:
    site = Site(tmp_path, "store", schema=SCHEMA.partition("INSERT")[0], doctypes=DOCTYPES)
    await site.open()
    yield site
    await site.close()


async def wait_for_status(store: Site, status: str) -> None:
    """Wait until the consumer's state database has this status."""
    with closing(sqlite3.connect(store.state_file)) as state:
        query = "SELECT doctype, status FROM subscriptions"
        await until(
            lambda: state.execute(query).fetchall() == [("Invoice", status)], f"it is {status} here", SOON_SECONDS
        )


class InterruptedProducers(Producers):
    """Wakes the subscriber each time after it stored a decision."""

    subscriber: Subscriber

    async def set_subscriptions(self, name: str, states: Iterable[SubscribedType]) -> None:
        states = list(states)
        news = [each.status for each in states] != [each.status for each in await self.subscriptions(name)]
        await super().set_subscriptions(name, states)
        if news:
            self.subscriber.wake()
            await asyncio.sleep(SOON_SECONDS)  # cancelled: a wake-up interrupts the turn


async def make_subscriber(store: Site, hq: ProducerSite, producers: Producers) -> Subscriber:
    key, secret = await hq.peers.create_key("store")
    settings = ProducerSettings(
        url=hq.server.url, api_key=key, api_secret=secret, use_same_name=True, doctypes=("Invoice",)
    )
    await producers.upsert("hq", hq.server.url)
    subscriber = Subscriber(
        "hq",
        store.settings.model_copy(update={"producers": {"hq": settings}}),
        Peer("hq", settings, (key, secret), wanted_doctypes(settings, {})),
        database=store.database,
        catalogue=store.catalogue,
        applier=store.applier,
        state=store.state,
        on_applied=lambda: None,
    )
    subscriber.producers = producers
    return subscriber


async def test_an_approval_is_logged_once_even_if_the_subscriber_is_interrupted(hq: ProducerSite, store: Site) -> None:
    producers = InterruptedProducers(store.state)
    producers.subscriber = await make_subscriber(store, hq, producers)
    with structlog.testing.capture_logs() as logged:
        running = asyncio.create_task(Loop("pull", producers.subscriber.turn).run())
        try:
            await wait_for_status(store, "Pending")
            await hq.approve("Invoice")
            await hq.log.wake()
            await until(
                lambda: any(line["event"] == "approved" and "producer" in line for line in logged), "it is logged"
            )
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
    assert len([line for line in logged if line["event"] == "approved" and "producer" in line]) == 1


async def test_a_decision_is_learned_soon_even_if_the_subscriber_is_woken_meanwhile(
    hq: ProducerSite, store: Site
) -> None:
    """A wake-up interrupts the subscriber, possibly just when the answer with the decision arrives."""
    subscriber = await make_subscriber(store, hq, Producers(store.state))

    running = asyncio.create_task(Loop("pull", subscriber.turn).run())
    try:
        await wait_for_status(store, "Pending")
        for number in range(TIMES):
            if number % 2:
                await hq.peers.reject("store", ["Invoice"])
            else:
                await hq.approve("Invoice")
            await hq.log.wake()
            # Not a wait: the subscriber is interrupted a little later each time, from before the answer arrives to
            # after the decision is processed.
            await asyncio.sleep(number * STEP_SECONDS)
            subscriber.wake()
            await wait_for_status(store, "Rejected" if number % 2 else "Approved")
        assert not running.done()
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await subscriber.close()
