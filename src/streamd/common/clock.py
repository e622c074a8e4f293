"""The hybrid logical clock, which orders edits of one field made at two sites.

After Kulkarni, Demirbas, Madappa, Avva, Leone: *Logical Physical Clocks and Consistent Snapshots in
Globally Distributed Databases* (2014). A reading is the text `milliseconds.counter.site`, in hexadecimal of fixed
width. Readings compare as text, in databases too, and the site breaks ties.

A change made after its site has seen another change always has the later reading, whatever the wall clocks show.
"""

from __future__ import annotations

from collections.abc import Iterable

ZERO = ""
"""Earlier than every reading."""

MAX_AHEAD_MS = 300_000
"""A peer whose clock is further ahead than 5 minutes is reported, because its edits would win for that long."""


def reading(milliseconds: int, counter: int, site: str) -> str:
    """A reading of the clock of `site` (a UUID)."""
    return f"{milliseconds:012x}.{counter:04x}.{site.replace('-', '')[:12]}"


def milliseconds_of(clock: str) -> int:
    """The wall-clock part of a reading, in milliseconds since 1970; 0 for `ZERO`."""
    return int(clock[:12], 16) if clock else 0


def tick(last: str, wall_ms: int, site: str) -> str:
    """The next reading of `site`'s clock: later than `last`, and not before the wall clock."""
    last_ms = milliseconds_of(last)
    if wall_ms > last_ms:
        return reading(wall_ms, 0, site)
    counter = int(last[13:17], 16) + 1 if last else 0
    if counter > 0xFFFF:
        return reading(last_ms + 1, 0, site)
    return reading(last_ms, counter, site)


def latest(readings: Iterable[str]) -> str:
    """The latest of some readings; `ZERO` if there are none."""
    return max(readings, default=ZERO)


def made_at(clock: str, site: str) -> bool:
    """Whether a reading comes from the clock of `site` (a UUID)."""
    return bool(clock) and clock.endswith("." + site.replace("-", "")[:12])


def is_reading(text: str) -> bool:
    """Whether `text` has the form of a reading. A hostile peer may send anything."""
    parts = text.split(".")
    return [len(part) for part in parts] == [12, 4, 12] and all(
        character in "0123456789abcdef" for part in parts for character in part
    )
