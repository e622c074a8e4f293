"""What a daemon says and logs of gaps, and a migration that forgets triggers."""

from __future__ import annotations

from typing import Any

from tests.acceptance.conftest import Pair
from tests.support.sites.site import Site

NOTICED_SECONDS = 5.0
"""How soon a change of the schema has to be noticed: a daemon looks every 2 seconds."""

CITY = "SELECT BillingCity FROM Invoice WHERE InvoiceId = ?"


def said(site: Site, event: str) -> list[dict[str, Any]]:
    return [line for line in site.log_lines() if line.get("event") == event]


def begun_anew(pair: Pair, site: Site, because: str, count: int = 1, timeout: float = NOTICED_SECONDS) -> None:
    """Wait until the daemon has noticed, and runs again, as it has `count` times before."""
    pair.world.eventually(
        lambda: (
            [line for line in said(site, "restarting") if because in str(line["because"])]
            and len(said(site, "running")) > count
        ),
        f"{site.name} notices: {because}",
        timeout,
    )


def gaps(consumer: Site, doctype: str) -> list[tuple[str, str]]:
    """(status, error) of what the consumer's sync log says of missing changes."""
    return consumer.state_rows(
        "SELECT status, error FROM sync_log WHERE update_type = 'gap' AND doctype = ? ORDER BY id", doctype
    )


def logged_gaps(producer: Site, doctype: str) -> list[str]:
    return [
        data
        for (data,) in producer.state_rows(
            "SELECT data FROM update_log WHERE operation = 'gap' AND doctype = ? ORDER BY sequence", doctype
        )
    ]


def repaired(pair: Pair, doctype: str, why: str) -> None:
    """Wait until the gap is in the producer's log, with its reason, and closed at the consumer."""
    pair.world.eventually(
        lambda: any(why in data for data in logged_gaps(pair.hq, doctype)), f"the log says: {why}", NOTICED_SECONDS
    )
    pair.world.eventually(
        lambda: gaps(pair.store, doctype) and {status for status, _ in gaps(pair.store, doctype)} == {"Synced"},
        f"the gap of {doctype} is repaired",
        timeout=20,
    )
