"""Two sites that run."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import Pair
from tests.support.sites.chinook import NEW, add_invoice


@pytest.fixture
def started(pair: Pair) -> Pair:
    """Both daemons run; one invoice has travelled."""
    pair.start()
    add_invoice(pair.hq, 1001)
    pair.world.equal(pair.hq, pair.store, NEW)
    return pair
