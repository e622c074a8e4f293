"""The daemon's process: what has to be settled before anything else is imported.

`streamd run` becomes this program (`python -m streamd.process FILE`).
"""

import sys

# structlog imports rich wherever it is installed. The daemon draws nothing, and is megabytes smaller without it.
sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # None is how Python spells “not to be had”


def main() -> int:
    """Run the daemon with the configuration file that the command line names. Returns the exit code."""
    import asyncio
    from pathlib import Path

    from streamd.lifecycle import supervisor

    return asyncio.run(supervisor.main(Path(sys.argv[-1])))


if __name__ == "__main__":
    sys.exit(main())
