"""The command line: one small file per group of verbs. click and rich are imported below here only."""

from __future__ import annotations

import os


def main() -> None:
    """The entry point of the `streamd` program."""
    try:
        from streamd.cli.main import main as work

        work()
    except KeyboardInterrupt:  # during the imports: nothing was begun, so that there is nothing to tidy up
        os._exit(130)


__all__ = ["main"]
