"""What a person may have meant by a name that is not there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def near(name: str, names: Iterable[str]) -> list[str]:
    """The names that could have been meant, best first, three at most. Case does not count."""
    by_fold = {candidate.casefold(): candidate for candidate in names}
    return [by_fold[fold] for fold in difflib.get_close_matches(name.casefold(), by_fold, n=3, cutoff=0.7)]


def did_you_mean(name: str, names: Sequence[str], otherwise: str) -> str:
    """The hint for a name that is not there."""
    close = near(name, names)
    if close:
        return f"did you mean {' or '.join(close)}?"
    shown = ", ".join(sorted(names)[:12]) + (", …" if len(names) > 12 else "")
    are = "is" if len(names) == 1 else "are"
    return f"{otherwise}: there {are} {shown}" if names else otherwise
