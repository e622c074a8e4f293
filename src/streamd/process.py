"""The entry point of the daemon's process: `streamd run` executes `python -m streamd.process FILE`."""

import sys

# structlog imports rich if it is installed. The daemon does not need it, and saves megabytes without it.
sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # None makes the import fail


def main() -> int:
    """Run the daemon with the configuration file on the command line. Returns the exit code."""
    import asyncio
    from pathlib import Path

    from streamd.lifecycle import supervisor

    return asyncio.run(supervisor.main(Path(sys.argv[-1])))


if __name__ == "__main__":
    sys.exit(main())
