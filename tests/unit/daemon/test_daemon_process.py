"""What the daemon's process carries with it."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import json, sys
import streamd.process
import streamd.lifecycle.daemon
print(json.dumps([name for name in ("click", "rich", "alembic") if sys.modules.get(name) is not None]))
"""


def test_the_daemon_carries_neither_click_nor_rich_nor_alembic() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
