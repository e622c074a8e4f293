"""The benchmark: SQLite → HTTP → SQLite, two real daemons on one machine. It asserts nothing.

`make bench`, or with other sizes: `python -m bench.bench --invoices 1000 --latency-seconds 5`.
What each figure means is printed beside it. Two daemons, the writer and the reader share the machine's cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import stages
from bench.stages import Bench

Figure = tuple[str, float, str, str]
"""What it is, the value, its unit, and what it means."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--invoices", type=int, default=10_000, help="invoices, each a transaction (10000)")
    parser.add_argument("--lines", type=int, default=5, help="lines of each invoice (5)")
    parser.add_argument("--latency-seconds", type=float, default=20, help="how long to measure latency (20)")
    parser.add_argument("--json", type=Path, default=Path("bench.json"), help="where to write the figures")
    parser.add_argument("--folder", type=Path, help="where the sites are made, and stay; default: a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="streamd-bench-") as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        figures = run(folder, arguments.invoices, arguments.lines, arguments.latency_seconds)
    _print(figures)
    arguments.json.write_text(
        json.dumps(
            {
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
                "machine": _machine(),
                "sizes": {"invoices": arguments.invoices, "lines": arguments.lines},
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


def run(folder: Path, invoices: int, lines: int, latency_seconds: float) -> list[Figure]:
    """All measurements, one after the other, on sites in `folder`."""
    rows = invoices * (lines + 1)
    bench = Bench(folder, lines, say=lambda text: print(f"… {text}", file=sys.stderr, flush=True))
    try:
        bench.connect()
        without, with_triggers = bench.write_both(invoices)
        capture = bench.capture(invoices)
        serve = bench.serve(invoices)
        apply = bench.apply(invoices)
        end_to_end = bench.catch_up(invoices)
        delays = bench.latency(latency_seconds)
        peaks = bench.peaks()
    finally:
        bench.close()
    plain = stages.plain(folder / "plain.db", invoices, lines)
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
        ("plain executemany", rows / plain, "rows/s", "the same rows into the same tables, in one transaction"),
        ("end to end, of plain", plain / end_to_end * 100, "%", "the two above"),
        ("writes without triggers", invoices / without, "tx/s", "the user's own: an invoice with its lines"),
        ("writes with triggers", invoices / with_triggers, "tx/s", "the same, captured; the two alternate"),
        ("slowdown of writes", (with_triggers / without - 1) * 100, "%", "the two above"),
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


def _print(figures: list[Figure]) -> None:
    table = Table(title="SQLite → HTTP → SQLite", title_justify="left")
    table.add_column("what")
    table.add_column("figure", justify="right", style="bold")
    table.add_column("unit")
    table.add_column("meaning", style="dim")
    for name, value, unit, meaning in figures:
        table.add_row(name, f"{value:,.0f}" if value >= 100 else f"{value:,.1f}", unit, meaning)
    Console().print(table)


def _machine() -> dict[str, object]:
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.machine()}",
    }


if __name__ == "__main__":
    main()
