"""How much to ask a producer for at once, so that it passes a line that breaks. Pure."""

from __future__ import annotations

PATIENCE = 4
"""So many answers in a row have to come whole before more is asked for again."""

MOST_PATIENCE = 64


class Portion:
    """A size: what a broken transfer shows to be too much is halved, and it grows again while answers come whole.

    What makes it break again as soon as it has grown is tried more and more seldom.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = most
        self._passed = 0
        self._patience = PATIENCE

    @property
    def is_whole(self) -> bool:
        """Whether nothing that broke limits it."""
        return self.size >= self.most

    def broke(self, asked: int, arrived: int = 0) -> bool:
        """So much was asked for, `arrived` of it came before the line broke. Returns whether less can be asked for."""
        before = min(self.size, asked)
        self.size = max(min(before, arrived or before) // 2, 1)
        self._passed = 0
        self._patience = min(2 * self._patience, MOST_PATIENCE)
        return self.size < before

    def passed(self) -> None:
        """An answer came whole."""
        if self.is_whole:
            return
        self._passed += 1
        if self._passed >= self._patience:
            self._passed = 0
            self.size = min(2 * self.size, self.most)
            if self.is_whole:
                self._patience = PATIENCE
