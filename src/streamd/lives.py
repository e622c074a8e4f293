"""Which document is meant by a name that is used again. Pure.

Where a document is deleted or renamed and another one takes its name, the name begins another life; and so does each
name that a document gets by a rename. A life is told by the clock of the event that began it; the first one, which
hardly a name ever leaves, by `FIRST`. Each event says of which life it is. So an edit of the old document, made where
nobody had heard of the new one yet, is known for what it is when it comes: it follows the old one to the name that it
has now, or finds it deleted.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from streamd.model import Event, Life, Name, Record

FIRST = ""
"""The life of a name that was not used before, as far as is known where it begins."""

MOST = 16
"""How many lives of one name are remembered: the last ones."""


def is_over(record: Record) -> bool:
    """Whether the document that had the name last has it no more: it was deleted, or renamed."""
    return record.deleted_at is not None or record.renamed_to is not None


def was_here(record: Record, site: str, clock: str) -> bool:
    """Whether a document that came from another site than `site` has the name, and had it before this reading."""
    return not is_over(record) and record.source != site and record.clock < clock


def is_only_made(record: Record) -> bool:
    """Whether all that is remembered is when the document was made here: no other site has been heard of it."""
    return not (is_over(record) or record.seen or record.field_clocks or record.lives)


def life_of(record: Record | None) -> str:
    """The life in which the name is now, or was last."""
    return record.lives[-1].life if record is not None and record.lives else FIRST


def life_at(record: Record | None, clock: str) -> str:
    """The life in which the name was at a reading of the clock."""
    for each in reversed(record.lives if record is not None else ()):
        if each.since <= clock:
            return each.life
    return FIRST


def is_known(record: Record, life: str) -> bool:
    """Whether the life is one of the name's that are remembered. Of a name that was not used again any may be."""
    return not record.lives or any(each.life == life for each in record.lives)


def ended(record: Record, life: str) -> Life | None:
    """The life as it is remembered, where it is over, and another document has the name now."""
    if life == life_of(record):
        return None
    found = next((each for each in reversed(record.lives[:-1]) if each.life == life), None)
    return None if found is None or found.became == record.name else found


def with_ended(record: Record, life: str, clock: str, became: Name | None = None) -> Sequence[Life]:
    """The lives of the name with one more that is over: a document had it elsewhere only, which is deleted here, or is
    called otherwise."""
    if life == life_of(record):
        return record.lives
    lives = record.lives or (Life("", FIRST),)
    return (*lives[:-1], Life(clock, life, clock, became), lives[-1])[-MOST:]


def before(event: Event) -> tuple[Name, str | None]:
    """The name that the document had before the event, and of which life that is, as far as the event says."""
    return (event.name, event.life) if event.renamed_from is None else (event.renamed_from, event.old_life)


def begun(before: Record | None, name: Name, life: str, since: str, *, same: bool = False) -> Sequence[Life]:
    """The lives of `name` once a document has it whose life is `life`.

    `before` is what was remembered of the name until then. With `same`, a document that has the name goes on as
    that one.
    """
    if life == life_of(before):
        return before.lives if before is not None else ()
    now = Life(since, life)
    if before is None:
        return (Life("", FIRST, since, name), now) if same else (now,)
    is_alive = not is_over(before)
    lives = before.lives or (Life("", FIRST),)
    over = msgspec.structs.replace(
        lives[-1],
        until=since if is_alive else before.clock,
        became=name if is_alive and same else before.renamed_to,
    )
    return (*lives[:-1], over, now)[-MOST:]
