"""What the process imports that others are forked from (`forked.py`): whatever a command or a daemon may need."""

from __future__ import annotations

import gc
import importlib
import pkgutil

import streamd

PROGRAMS = {"streamd.__main__", "streamd.process"}
"""They are not for importing. The second one forbids rich, which commands need."""

LATE = (
    "aiosqlite.core",
    "alembic.command",
    "asyncmy.connection",
    "asyncpg.connection",
    "rich.console",
    "rich.table",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.dialects.sqlite.aiosqlite",
)
"""What streamd imports when it comes to need it."""

for name in (module.name for module in pkgutil.walk_packages(streamd.__path__, "streamd.")):
    if name not in PROGRAMS:
        importlib.import_module(name)
for name in LATE:
    importlib.import_module(name)

# Nobody looks again at what is there already: so forks do not copy it.
gc.collect()
gc.freeze()
