"""The entry point of the daemon's process: `streamd run` executes `python -m streamd.process FILE`."""

import gc
import sys

# structlog imports rich if it is installed. The daemon does not need it, and saves megabytes without it.
sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # None makes the import fail

COLLECT_EVERY = 20_000
"""New objects after which Python looks for reference cycles. Its default is 700."""


def reduce_garbage_collection() -> None:
    """Make the garbage collector run rarely, and never on imported modules.

    A page of events is thousands of objects without reference cycles. Scanning them took a quarter of a catch-up.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY, 20, 20)


def main() -> int:
    """Run the daemon with the configuration file on the command line. Returns the exit code."""
    import asyncio
    from pathlib import Path

    from streamd.lifecycle import supervisor

    reduce_garbage_collection()
    return asyncio.run(supervisor.main(Path(sys.argv[-1])))


if __name__ == "__main__":
    sys.exit(main())
