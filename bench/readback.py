"""What reading back costs: the same pages written by two consumers in one process, one of which does not read back.

They take turns page by page, so that whatever else the machine does slows both.
"""

from __future__ import annotations

import asyncio
import time
import tomllib
from pathlib import Path
from unittest import mock

from bench import shop
from bench.engines import open_shop, schema_of
from tests.simulation.sites import Site
from tests.support.database_url import Engine

PAGE = 500
"""Events that are written between two turns."""


def seconds(folder: Path, engines: tuple[Engine, Engine], invoices: int, lines: int) -> tuple[float, float]:
    """The seconds that these invoices take: without reading back, and with it."""
    return asyncio.run(_seconds(folder, engines, invoices, lines))


async def _seconds(folder: Path, engines: tuple[Engine, Engine], invoices: int, lines: int) -> tuple[float, float]:
    types = tomllib.loads(shop.CATALOGUE)["doctypes"]
    producer, *consumers = (
        Site(folder, f"readback-{name}", schema=schema_of(engine), engine=engine, doctypes=types, offers=offers)
        for name, engine, offers in (
            ("from", engines[0], None),
            ("without", engines[1], ()),
            ("with", engines[1], ()),
        )
    )
    every = (producer, *consumers)
    for site in every:
        await site.open()
    try:
        writer = open_shop(producer.access.database)
        writer.write(list(shop.invoices(0, invoices, lines)))
        writer.close()
        await producer.capture.drain()
        took = [0.0, 0.0]
        for turn in range(-(-invoices // PAGE)):
            for index in (0, 1) if turn % 2 else (1, 0):
                took[index] += await _page(consumers[index], producer, reads_back=index == 1)
    finally:
        for site in every:
            await site.close()
    return took[0], took[1]


async def _page(consumer: Site, producer: Site, *, reads_back: bool) -> float:
    async def nothing(*_: object) -> dict[object, str]:
        return {}

    began = time.perf_counter()
    if reads_back:
        await consumer.pull_from(producer, limit=PAGE)
    else:
        with mock.patch("streamd.apply.segment.verify", nothing):
            await consumer.pull_from(producer, limit=PAGE)
    return time.perf_counter() - began
