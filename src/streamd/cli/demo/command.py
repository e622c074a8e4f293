"""`streamd demo`: two real sites in sync before your eyes."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from types import FrameType

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from streamd.cli.demo.sites import TABLES, DemoFailed, DemoSite, two_sites
from streamd.cli.demo.story import Step, everyday, story

STILL_SECONDS = 60.0
"""What is waited for has failed when nothing has moved for so long: neither a daemon's log nor a site's database."""
LONGEST_SECONDS = 300.0
"""And when so much time has passed, whatever moves. Each is multiplied by how much slower this machine is."""
USUAL_COMMAND_SECONDS = 1.0
"""How long a command of the demo takes on a machine that has nothing else to do, or less."""
LOOK_SECONDS = 0.002
"""How often the other database is looked at: what the shown delay is true to."""
PAUSE_SECONDS = 1.5
"""Between two changes, so that people can follow."""
SHOWN = 14
"""Changes that the table shows, at most."""


@click.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="A new folder for the two sites. Default: a new one below ./demo-sites.",
)
@click.option(
    "--once/--stay",
    default=lambda: os.environ.get("CI", "").lower() == "true",
    help="End when everything has arrived, or stay until Ctrl-C (default, unless CI=true).",
)
def demo(folder: Path | None, once: bool) -> None:
    """Show two sites in sync.

    This creates two SQLite databases of a small shop, starts a daemon at each, connects them, and makes changes at
    both. The exit code is 0 if everything arrived and the databases are equal.
    """
    console = Console(highlight=False, soft_wrap=True)
    folder = (folder or Path("demo-sites") / datetime.now().astimezone().strftime("%Y-%m-%d-%H%M%S")).absolute()
    if folder.exists():
        raise click.UsageError(f"{folder} exists already: name a new folder")
    try:
        with _ended_by_signals():
            hq, store = two_sites(folder)
            with _daemons(hq, store):
                _connect(console, hq, store)
                _show(console, hq, store, once)
    except DemoFailed as error:
        console.print(f"\n[bold red]The demo failed.[/] {error}", markup=True)
        console.print(f"The databases and the daemons' logs are in {folder}")
        sys.exit(1)


def _connect(console: Console, hq: DemoSite, store: DemoSite) -> None:
    """What a person does to connect two sites, said while it is done."""
    console.print(f"Two sites in [bold]{hq.folder}[/]: headquarters (hq) and a store, each with a SQLite database.")
    for site in (hq, store):
        site.streamd("install")
    store.subscribe(hq, ("Item", "Category", "Customer"))
    hq.subscribe(store, ("Invoice", "Customer"))
    console.print("Each site has a key for the other one, and names it in its TOML file.", style="dim")
    for site in (hq, store):
        site.start()
    for site, consumer in ((hq, store), (store, hq)):
        _until(partial(_asked, site), f"{consumer.name} asks {site.name} for documents", hq, store)
        site.streamd("consumers", "approve", consumer.name)
        console.print(f"{consumer.name} asked {site.name} for documents, and was approved there.", style="dim")
    for site in (hq, store):
        _until(partial(_all_approved, site), f"{site.name} knows that it is approved", hq, store)


def _show(console: Console, hq: DemoSite, store: DemoSite, once: bool) -> None:
    board = _Board(console)
    pause = 0.0 if once else PAUSE_SECONDS
    with board:
        for step in story(hq, store):
            board.add(step, _arrival(step))
            _pause(pause, hq, store)
    count = _equal_rows(hq, store)
    console.print(f"\n[bold green]Everything arrived:[/] {count} rows in {len(TABLES)} tables, equal at both sites.")
    _where_to_look(console, hq, store, stays=not once)
    if once:
        return
    console.print("The shops go on selling until you press [bold]Ctrl-C[/].\n")
    try:
        with board:
            for step in everyday(hq, store):
                board.add(step, _arrival(step))
                _pause(pause, hq, store)
    except KeyboardInterrupt:
        console.print(f"\nStopping the two daemons. Everything stays in {hq.folder}; remove it when you like.")


def _arrival(step: Step) -> float:
    """Make the change, and give the milliseconds from its commit until it is at the other site."""
    probes = step.make()
    committed = time.perf_counter()

    def arrived() -> bool:
        return all(step.source.rows(sql, *values) == step.target.rows(sql, *values) for sql, values in probes)

    _until(
        arrived,
        f"{step.what}, made at {step.source.name}, arrives at {step.target.name}",
        step.source,
        step.target,
    )
    return (time.perf_counter() - committed) * 1000


def _until(condition: Callable[[], bool], what: str, *sites: DemoSite) -> None:
    """Wait until something holds, as long as anything moves at these sites.

    Raises `DemoFailed` with the daemons' last words where nothing does.
    """
    waiting = Waiting(slowness(sites))
    while not condition():
        for site in sites:
            site.check_alive()
        why = waiting.over(time.monotonic(), lambda: [site.moved() for site in sites])
        if why:
            logs = "\n".join(f"--- the end of {site.log}\n{site.log_end()}" for site in sites)
            raise DemoFailed(f"This did not happen: {what} ({why}).\n{logs}")
        time.sleep(LOOK_SECONDS)


def slowness(sites: Sequence[DemoSite]) -> float:
    """How many times slower than usual this machine is, by the longest of the demo's own commands; 1 at least."""
    return max(1.0, *(site.longest_command for site in sites)) / USUAL_COMMAND_SECONDS


class Waiting:
    """How long to wait for something: while anything moves, and so much longer as the machine is slower."""

    def __init__(self, slower: float) -> None:
        self._still, self._longest = STILL_SECONDS * slower, LONGEST_SECONDS * slower
        self._began = self._moved_at = self._looked_at = time.monotonic()
        self._seen: object = None

    def over(self, now: float, moved: Callable[[], object]) -> str:
        """Why it is not worth waiting any longer, in words; nothing while it is.

        `moved` gives what differs from the last time wherever something moved. It is asked once a second.
        """
        if now - self._looked_at >= 1.0 or self._seen is None:
            self._looked_at, seen = now, moved()
            if seen != self._seen:
                self._seen, self._moved_at = seen, now
        if now - self._moved_at > self._still:
            return f"nothing moved for {self._still:.0f} seconds"
        if now - self._began > self._longest:
            return f"{self._longest:.0f} seconds are over"
        return ""


def _pause(seconds: float, *sites: DemoSite) -> None:
    time.sleep(seconds)
    for site in sites:
        site.check_alive()


def _asked(site: DemoSite) -> bool:
    return any(consumer["doctypes"] for consumer in site.json("consumers", "list"))


def _all_approved(site: DemoSite) -> bool:
    states = {state for producer in site.json("producers", "list") for state in producer["doctypes"].values()}
    return states == {"Approved"}


def _equal_rows(hq: DemoSite, store: DemoSite) -> int:
    """How many rows there are at each site. Raises `DemoFailed` if one differs."""
    count = 0
    for table in TABLES:
        query = f"SELECT * FROM {table} ORDER BY 1, 2"
        here, there = hq.rows(query), store.rows(query)
        if here != there:
            raise DemoFailed(f"{table} differs: hq has {here}, and the store {there}")
        count += len(here)
    return count


def _where_to_look(console: Console, hq: DemoSite, store: DemoSite, *, stays: bool) -> None:
    relative = os.path.relpath(hq.folder)
    script = Path(sys.executable).with_name("streamd")
    program = os.path.relpath(script) if script.exists() else f"{sys.executable} -m streamd"
    console.print(
        "The demo wrote to the two databases as any program does. Triggers noted the changes; the daemons\n"
        "carried them over HTTP, and wrote them to the other database, what they depend on first.\n"
    )
    console.print("Where to look:" if not stays else "Where to look, in another terminal:", style="bold")
    for command, meaning in (
        (f"{program} status --config {relative}/hq.toml", "how headquarters is doing"),
        (f"{program} log updates --config {relative}/store.toml", "what the store offered to others"),
        (f"{program} log syncs --config {relative}/hq.toml", "what headquarters did with it"),
        (f"{program} consumers list --config {relative}/hq.toml", "who may have what"),
        (f"sqlite3 {relative}/store.db", "the store's database: change something, and look at the other"),
        (f"less {relative}/hq.log", "what the daemon says"),
    ):
        console.print(f"  {command}", soft_wrap=True)
        console.print(f"      {meaning}", style="dim")
    console.print()


class _Board:
    """The table of changes: alive on a terminal, and a line for each elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows: list[tuple[str, str, str, str]] = []
        self._live: Live | None = None

    def __enter__(self) -> None:
        if self._console.is_terminal:
            self._rows = []
            self._live = Live(self._table(), console=self._console, auto_refresh=False)
            self._live.start()

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def add(self, step: Step, milliseconds: float) -> None:
        row = (f"{step.source.name} → {step.target.name}", step.what, f"{milliseconds:.0f} ms", step.notice)
        if self._live is None:
            notice = f" ({step.notice})" if step.notice else ""
            self._console.print(f"{row[0]:<12}  {row[1]}: arrived after {row[2]}{notice}", soft_wrap=True)
            return
        self._rows = [*self._rows, row][-SHOWN:]
        self._live.update(self._table(), refresh=True)

    def _table(self) -> Table:
        table = Table(title="Changes, as they arrive at the other site", title_justify="left", expand=True)
        table.add_column("from → to", no_wrap=True)
        table.add_column("change", ratio=3)
        table.add_column("arrived after", justify="right", no_wrap=True, style="green")
        table.add_column("what to notice", ratio=3, style="dim")
        for row in self._rows:
            table.add_row(*row)
        return table


@contextmanager
def _daemons(*sites: DemoSite) -> Iterator[None]:
    """Whatever happens inside, no daemon of these sites outlives it."""
    try:
        yield
    finally:
        for site in sites:
            site.terminate()
        for site in sites:
            site.wait()


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM, and the loss of the terminal, end the demo as Ctrl-C does: with its daemons."""

    def end(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
