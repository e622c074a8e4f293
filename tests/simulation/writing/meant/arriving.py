"""What becomes of one value at another site."""

from __future__ import annotations

from tests.simulation.sites import Site
from tests.simulation.writing.meant.triggers import Pair
from tests.support.database_url import Engine


async def arrives(pair: Pair, engine: Engine, declared: str, value: str, to: Engine, other: str) -> tuple[Site, str]:
    """What becomes of a value: the consumer, and the error of the document that was parked for it. The next arrives."""
    hq, store = await pair(
        engine,
        f"CREATE TABLE t (id INTEGER PRIMARY KEY, v {declared})",
        {"t": {}},
        to=to,
        there=f"CREATE TABLE t (id INTEGER PRIMARY KEY, v {other})",
    )
    hq.write(f"INSERT INTO t VALUES (1, {value})")
    hq.write("INSERT INTO t VALUES (2, NULL)")
    await store.pull_all(hq)
    await store.read_whole(hq, "t")
    errors = [error for _, error in await store.queue()]
    assert store.rows("SELECT v FROM t WHERE id = 2") == [(None,)]
    assert (store.rows("SELECT id FROM t WHERE id = 1") == [(1,)]) == (not errors)
    assert await hq.pull_all(store) == 0
    return store, "; ".join(errors)
