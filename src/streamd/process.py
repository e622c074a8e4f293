"""The entry point of the daemon's process: `streamd run` executes `python -m streamd.process FILE`."""

import gc
import sys

# structlog imports rich if it is installed. The daemon does not need it, and saves megabytes without it.
sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # None makes the import fail


COLLECT_EVERY = 20_000
"""Objects more than before, after which Python looks for what refers to itself in a circle. Its own choice is 700."""


def collect_seldom() -> None:
    """Let Python's collector look seldom, and never at what is imported: a page of events is objects by the thousand.

    None of them refers to itself in a circle. To look at all of them time and again took a quarter of a catch-up.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY, 20, 20)


def main() -> int:
    """Run the daemon with the configuration file on the command line. Returns the exit code."""
    import asyncio
    from pathlib import Path

    from streamd.lifecycle import supervisor

    collect_seldom()
    return asyncio.run(supervisor.main(Path(sys.argv[-1])))


if __name__ == "__main__":
    sys.exit(main())
