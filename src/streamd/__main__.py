"""`python -m streamd` is the same as `streamd`."""

from __future__ import annotations

import os

if __name__ == "__main__":
    try:
        from streamd.cli import main

        main()
    except KeyboardInterrupt:  # so early that nothing was begun: there is nothing to tidy up
        os._exit(130)
