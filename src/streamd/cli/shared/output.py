"""How commands print: tables that people can read and pipe, and JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import click
import msgspec

F = TypeVar("F", bound=Callable[..., Any])

NARROWEST_PIPE = 160
"""Columns of a table that is not read on a terminal, at least; it grows with what it holds."""

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead.")


def print_json(value: object) -> None:
    """Print JSON for programs. Times (`at`, `…_at`) are written as ISO 8601 in UTC."""
    click.echo(msgspec.json.format(msgspec.json.encode(_plain(value), enc_hook=str), indent=2).decode())


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """Print a table, one line per row where it is piped; `empty` is said if there are no rows."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        click.echo(empty)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    terminal = sys.stdout.isatty()
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=not terminal)
    texts = [[_text(value) for value in row] for row in rows]
    for row in texts:
        table.add_row(*(Text(text) for text in row))
    if terminal:
        console = Console(highlight=False)
    else:
        widths = [max(len(text) for text in texts_of) for texts_of in zip(columns, *texts, strict=True)]
        # Twice the length: some characters take two columns.
        console = Console(highlight=False, width=max(NARROWEST_PIPE, 2 * sum(widths) + 4 * len(widths)))
    with console.capture() as printed:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in printed.get().splitlines()))


def moment(at: int | None) -> str:
    """A time in ms since 1970 as people read it, in their own zone."""
    if at is None:
        return "never"
    return datetime.fromtimestamp(at / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def clock_time(at: int | None, now: int) -> str:
    """A time in ms since 1970 as people read it, in their own zone; with its date, unless that is `now`'s."""
    if at is None:
        return "never"
    when, today = (datetime.fromtimestamp(each / 1000).astimezone() for each in (at, now))
    return when.strftime("%H:%M:%S" if when.date() == today.date() else "%Y-%m-%d %H:%M:%S")


def ago(at: int | None, now: int) -> str:
    """How long ago that was, roughly; both in ms since 1970."""
    if at is None:
        return "never"
    seconds = max(now - at, 0) // 1000
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def short(text: str, limit: int = 100) -> str:
    """The first line of a text, cut where a table would burst."""
    line = text.strip().splitlines()[0] if text.strip() else ""
    return line if len(line) <= limit else line[: limit - 1] + "…"


def count(number: int, singular: str, plural: str = "") -> str:
    """`1 key`, `2 keys`."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _plain(value: object, key: str = "") -> Any:
    if (key == "at" or key.endswith("_at")) and isinstance(value, int):
        return datetime.fromtimestamp(value / 1000, UTC).isoformat(timespec="milliseconds")
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    elif isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    if isinstance(value, dict):
        return {str(inner): _plain(part, str(inner)) for inner, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
