"""Reads a type as databases declare it: `numeric(38,20)`, `varchar(100)`, `bigint(20) unsigned`. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from streamd.model import Kind

_DECLARED = re.compile(
    r"\s*(?P<word>[a-z][a-z0-9_ ]*)\s*(?:\(\s*(?P<first>\d+)\s*(?:,\s*(?P<second>-?\d+)\s*)?\))?\s*"
    r"(?P<unsigned>unsigned)?(?P<rest>.*)",
    re.DOTALL,
)
_BITS = {"tinyint": 8, "smallint": 16, "int2": 16, "mediumint": 24, "bigint": 64, "int8": 64, "oid": 33}
"""Sizes of whole numbers. Any other word is one of 32 bits, which SQLite's are not; there the sizes do not count."""

_WORDS = re.compile(r"\s*(enum|set)\s*\(", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Declared:
    """What a column's type says of its values. None: nothing, or no limit.

    `digits` and `scale`: of decimals, all of them and those behind the point; `length`: of text or bytes;
    `whole_numbers`: the least and the most that an integer can be; `words`: the type lists its values.
    """

    kind: Kind
    digits: int | None = None
    scale: int | None = None
    length: int | None = None
    whole_numbers: tuple[int, int] = (0, 0)
    words: str = ""

    @property
    def before_point(self) -> int | None:
        """How many digits a number may have before its point."""
        if self.kind == Kind.INTEGER:
            return len(str(self.whole_numbers[1]))
        return None if self.digits is None else self.digits - (self.scale or 0)


def declared(kind: Kind, text: str) -> Declared:
    """What `text` says, as some database has declared a column of this kind."""
    if _WORDS.match(text):
        return Declared(kind, words=text)
    found = _DECLARED.fullmatch(text.lower())
    word = found["word"].strip() if found is not None else ""
    first = int(found["first"]) if found is not None and found["first"] else None
    if kind == Kind.DECIMAL and first is not None:
        return Declared(kind, digits=first, scale=int((found and found["second"]) or 0))
    if kind in (Kind.TEXT, Kind.BYTES):
        return Declared(kind, length=first)
    if kind == Kind.INTEGER:
        if word == "bit":
            return Declared(kind, whole_numbers=(0, 2 ** (first or 1) - 1))
        unsigned = found is not None and (found["unsigned"] is not None or "unsigned" in word)
        bits = _BITS.get(word.replace("unsigned", "").strip(), 32)
        return Declared(kind, whole_numbers=(0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1))
    return Declared(kind)
