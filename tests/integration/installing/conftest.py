"""A bare shop, and an installed one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.installing.shop import Shop


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.delenv("STREAMD_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    return Shop(tmp_path)


@pytest.fixture
def installed(shop: Shop) -> Shop:
    shop.streamd("init", "shop.db")
    shop.streamd("install")
    return shop
