"""Suggests known names for an unknown one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def similar_names(name: str, names: Iterable[str]) -> list[str]:
    """At most three names that are spelled similarly, best first. Case is ignored."""
    by_fold = {candidate.casefold(): candidate for candidate in names}
    return [by_fold[fold] for fold in difflib.get_close_matches(name.casefold(), by_fold, n=3, cutoff=0.7)]


def did_you_mean(name: str, names: Sequence[str], otherwise: str) -> str:
    """A hint for an unknown name: similar names, else `otherwise` and a list of known names."""
    close = similar_names(name, names)
    if close:
        return f"did you mean {' or '.join(close)}?"
    shown = ", ".join(sorted(names)[:12]) + (", …" if len(names) > 12 else "")
    are = "is" if len(names) == 1 else "are"
    return f"{otherwise}: there {are} {shown}" if names else otherwise
