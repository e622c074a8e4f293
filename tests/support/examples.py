"""Fewer examples of a property where one takes long: `@SITES`, `@SERVERS`. The profiles are in `tests/conftest.py`."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings

SITES = settings(max_examples=settings.default.max_examples // 4)
"""An example is the life of two sites on SQLite."""
SERVERS = settings(
    max_examples=settings.default.max_examples // 25,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # making an example smaller would take minutes
    suppress_health_check=list(HealthCheck),
)
"""An example makes tables, or whole databases, on servers."""
