"""The benchmark: producer → HTTP → consumer, two real daemons on one machine. It asserts nothing.

`make bench`, `make bench PRODUCER=postgresql CONSUMER=mariadb`, or with other sizes:
`python -m bench.bench --producer mariadb --consumer mariadb --invoices 1000 --latency-seconds 5`.

Databases of PostgreSQL and MariaDB are on servers of the benchmark's own, with the servers' default settings and
durable commits, or on the running ones that `STREAMD_TEST_POSTGRESQL_URL` and `STREAMD_TEST_MARIADB_URL` name.
What each figure means is printed beside it. Daemons, servers, the writer and the reader share the machine's cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from rich.console import Console
from rich.table import Table

from bench import readback
from bench.engines import NAMES, bulk_way, version
from bench.stages import Bench
from tests.support import servers
from tests.support.database_url import Engine

Figure = tuple[str, float, str, str]
"""What it is, the value, its unit, and what it means."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--producer", choices=servers.ENGINES, default="sqlite", help="the producer's engine (sqlite)")
    parser.add_argument("--consumer", choices=servers.ENGINES, default="sqlite", help="the consumer's engine (sqlite)")
    parser.add_argument("--invoices", type=int, default=10_000, help="invoices, each a transaction (10000)")
    parser.add_argument("--lines", type=int, default=5, help="lines of each invoice (5)")
    parser.add_argument("--updates", type=int, default=2000, help="updates of a single row, each a transaction (2000)")
    parser.add_argument("--latency-seconds", type=float, default=20, help="how long to measure latency (20)")
    parser.add_argument("--json", type=Path, default=Path("bench.json"), help="where to write the figures")
    parser.add_argument("--folder", type=Path, help="where the sites are made, and stay; default: a temporary one")
    arguments = parser.parse_args()
    engines: tuple[Engine, Engine] = (arguments.producer, arguments.consumer)
    try:
        for engine in set(engines):
            servers.start_durable(engine)
        with tempfile.TemporaryDirectory(prefix="streamd-bench-") as temporary:
            folder = arguments.folder or Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            sizes = Sizes(arguments.invoices, arguments.lines, arguments.updates, arguments.latency_seconds)
            figures = run(folder, engines, sizes)
        machine = _machine(engines)
    except (pytest.skip.Exception, pytest.fail.Exception) as missing:
        sys.exit(str(missing))
    finally:
        servers.stop_servers()
    _print(engines, figures)
    arguments.json.write_text(
        json.dumps(
            {
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
                "producer": engines[0],
                "consumer": engines[1],
                "machine": machine,
                "sizes": {"invoices": arguments.invoices, "lines": arguments.lines, "updates": arguments.updates},
                "figures": {
                    name: {"value": round(value, 3), "unit": unit, "meaning": meaning}
                    for name, value, unit, meaning in figures
                },
            },
            indent=2,
        )
        + "\n",
        encoding="utf-8",
    )
    print(f"Written to {arguments.json}")


class Sizes(NamedTuple):
    """How much is measured."""

    invoices: int
    lines: int
    updates: int
    latency_seconds: float


def run(folder: Path, engines: tuple[Engine, Engine], sizes: Sizes) -> list[Figure]:
    """All measurements, one after the other, on sites in `folder`."""
    invoices, lines, updates, latency_seconds = sizes
    updates = min(updates, invoices)
    rows = invoices * (lines + 1)
    bench = Bench(folder, engines, lines, say=lambda text: print(f"… {text}", file=sys.stderr, flush=True))
    try:
        bench.connect()
        without, with_triggers = bench.write_both(invoices)
        capture = bench.capture(invoices)
        serve = bench.serve(invoices)
        apply = bench.apply(invoices)
        end_to_end = bench.catch_up(invoices)
        delays = bench.latency(latency_seconds)
        peaks = bench.peaks()
        bare_updates, captured_updates = bench.change_both(updates)
        plain = bench.plain(invoices)
    finally:
        bench.close()
    read = readback.seconds(folder, engines, invoices, lines)
    ordered = sorted(delays)
    return [
        ("capture", rows / capture, "rows/s", "change table → Event Update Log; the consumer is down"),
        (
            "serve",
            rows / serve,
            "rows/s",
            "log → pages, to a client that keeps nothing",
        ),
        ("apply", rows / apply, "rows/s", "a complete log → rows: pull and write; both daemons run"),
        (
            "end to end",
            rows / end_to_end,
            "rows/s",
            "from nothing captured until every row is there; both daemons run",
        ),
        (
            "reading back",
            read / (end_to_end - read) * 100,
            "%",
            "more time from end to end, since each written row is read again",
        ),
        (
            "plain load",
            rows / plain,
            "rows/s",
            f"the same rows into the consumer's engine by {bulk_way(engines[1])}, in one transaction",
        ),
        ("end to end, of plain", plain / end_to_end * 100, "%", "the two above"),
        ("writes without triggers", invoices / without, "tx/s", "the user's own: an invoice with its lines"),
        ("writes with triggers", invoices / with_triggers, "tx/s", "the same, captured; the two alternate"),
        ("slowdown of writes", (with_triggers / without - 1) * 100, "%", "more time with triggers than without"),
        ("updates without triggers", updates / bare_updates, "tx/s", "the user's own: one column of one invoice"),
        ("updates with triggers", updates / captured_updates, "tx/s", "the same, captured; the two alternate"),
        ("slowdown of updates", (captured_updates / bare_updates - 1) * 100, "%", "more time with triggers"),
        (
            "latency p50",
            statistics.median(ordered) * 1000,
            "ms",
            f"commit → visible, {len(ordered)} changes, 10 a second",
        ),
        ("latency p99", ordered[int(len(ordered) * 0.99)] * 1000, "ms", "the same"),
        ("latency max", ordered[-1] * 1000, "ms", "the same"),
        ("peak memory, producer", peaks["producer"], "MB", "resident, over the whole run"),
        ("peak memory, consumer", peaks["consumer"], "MB", "resident, over the whole run"),
    ]


def _print(engines: tuple[Engine, Engine], figures: list[Figure]) -> None:
    table = Table(title=f"{NAMES[engines[0]]} → HTTP → {NAMES[engines[1]]}", title_justify="left")
    table.add_column("what")
    table.add_column("figure", justify="right", style="bold")
    table.add_column("unit")
    table.add_column("meaning", style="dim")
    for name, value, unit, meaning in figures:
        table.add_row(name, f"{value:,.0f}" if value >= 100 else f"{value:,.1f}", unit, meaning)
    Console().print(table)


def _machine(engines: tuple[Engine, Engine]) -> dict[str, object]:
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{engine: version(servers.fresh_database(engine)) for engine in sorted(set(engines))},
        "system": f"{platform.system()} {platform.machine()}",
    }


if __name__ == "__main__":
    main()
