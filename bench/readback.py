"""What reading back costs: how long a consumer in this process looks at what it wrote.

The clock stands in the one call that reads and compares. To take turns with a consumer that does not read back would
measure the disk's moods as well, which are larger. What an INSERT takes longer that returns its rows (PostgreSQL) is
not within it.
"""

from __future__ import annotations

import asyncio
import logging
import time
import tomllib
from pathlib import Path
from typing import Any
from unittest import mock

import structlog

from bench import shop
from bench.engines import open_shop, schema_of
from streamd.apply.write.verify import verify
from streamd.process import collect_seldom
from tests.simulation.sites import Site
from tests.support.database_url import Engine

PAGE = 500
"""Events of one page."""


def seconds(folder: Path, engines: tuple[Engine, Engine], invoices: int, lines: int) -> float:
    """The seconds that it takes to read these invoices again after they were written."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    collect_seldom()  # as the daemon does: the collector's pauses are nobody's share
    return asyncio.run(_seconds(folder, engines, invoices, lines))


async def _seconds(folder: Path, engines: tuple[Engine, Engine], invoices: int, lines: int) -> float:
    types = tomllib.loads(shop.CATALOGUE)["doctypes"]
    producer, consumer = (
        Site(folder, f"readback-{name}", schema=schema_of(engine), engine=engine, doctypes=types, offers=offers)
        for name, engine, offers in (("from", engines[0], None), ("to", engines[1], ()))
    )
    took = 0.0

    async def timed(*arguments: Any) -> object:
        nonlocal took
        began = time.perf_counter()
        try:
            return await verify(*arguments)
        finally:
            took += time.perf_counter() - began

    await producer.open()
    await consumer.open()
    try:
        writer = open_shop(producer.access.database)
        writer.write(list(shop.invoices(0, invoices, lines)))
        writer.close()
        await producer.capture.drain()
        with mock.patch("streamd.apply.segment.verify", timed):
            for _ in range(0, invoices, PAGE):
                await consumer.pull_from(producer, limit=PAGE)
    finally:
        await producer.close()
        await consumer.close()
    return took
