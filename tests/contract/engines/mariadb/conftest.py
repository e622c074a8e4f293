"""All of this folder is on MariaDB."""

from __future__ import annotations

import pytest


@pytest.fixture
def engine() -> str:
    return "mariadb"
