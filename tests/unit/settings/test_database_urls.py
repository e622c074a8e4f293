"""Which URLs may stand in the configuration, what is said of others, and that nobody learns a password."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from streamd.db import open_site
from streamd.errors import ConfigurationError, SiteError, StateError
from streamd.settings import database_url, load, shown_url, state_url
from streamd.store.engine import State

SITES = [
    "sqlite:///shop.db",
    "postgresql://me:hush@db.example:5433/shop?sslmode=require",
    "postgres://me@db/shop",
    "postgresql:///shop?host=/run/postgresql",
    "mariadb://me:hush@db/_1a2b3c",
    "mysql://me:hush@db/shop",
]

REFUSED = {
    "postgresql+asyncpg://me:hush@db/shop": "leave the driver to streamd",
    "mariadb+asyncmy://me:hush@db/shop": "leave the driver to streamd",
    "oracle://me:hush@db/shop": "no database that streamd knows",
    "postgresql://me:hush@db": "names no database on its server",
    "mariadb://me:hush@db/": "names no database on its server",
    "postgresql://db:hush/shop": "its port is no number",
    "postgresql://me:hush@db/shop/more": "has a path",
    "mariadb://me:hush@db:70000/shop": "ports are 1 to 65535",
    "http://me:hush@db/shop": "no database that streamd knows",
    "sqlite://": "names no file",
    "sqlite:///:memory:": "names no file",
    "shop-hush.db": "is no database URL",
}


@pytest.mark.parametrize("url", SITES)
def test_a_site_is_of_any_engine(url: str) -> None:
    assert database_url(url).database


@pytest.mark.parametrize("url", SITES)
def test_the_state_is_kept_by_some(url: str) -> None:
    if url.startswith(("mariadb", "mysql")):
        with pytest.raises(ValueError, match=r"cannot keep the state: use sqlite:///file\.db or postgresql://"):
            state_url(url)
    else:
        assert state_url(url).database


@pytest.mark.parametrize(("url", "words"), REFUSED.items())
def test_what_is_wrong_is_said_without_the_password(url: str, words: str) -> None:
    for url_of in (database_url, state_url):
        with pytest.raises(ValueError, match=f"{words}|cannot keep the state") as told:
            url_of(url)
        assert "hush" not in str(told.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:hush@db.example:5433/shop", "postgresql://me:***@db.example:5433/shop"),
        ("postgresql://me:hu%40sh%2F@db/shop", "postgresql://me:***@db/shop"),
        ("postgresql://me@db/shop?password=hush&sslmode=require", "postgresql://me@db/shop"),
        ("mariadb://me:hush@db/shop", "mariadb://me:***@db/shop"),
        ("sqlite:////srv/site/shop.db", "sqlite:////srv/site/shop.db"),
        ("me:hush", "a database URL that cannot be read"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert shown_url(url) == shown
    assert shown_url(shown) == shown or "cannot be read" in shown


def write(folder: Path, site: str, state: str) -> Path:
    path = folder / "streamd.toml"
    path.write_text(f'[site]\nname = "hq"\ndatabase = "{site}"\n[state]\ndatabase = "{state}"\n')
    return path


def test_one_file_cannot_be_both_however_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for state in ("sqlite:///shop.db", "sqlite:///./shop.db", f"sqlite:///{tmp_path}/below/../shop.db"):
        with pytest.raises(ConfigurationError, match="is the site's own database"):
            load(write(tmp_path, "sqlite:///shop.db", state))


def test_one_postgresql_database_may_be_both(tmp_path: Path) -> None:
    url = "postgresql://me:hush@db/shop"
    assert load(write(tmp_path, url, url)).state.database == url


def test_the_short_name_of_postgresql_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "postgres://me@db/shop", "postgres://me@db/state")
    assert load(path).site.database == "postgresql://me@db/shop"
    monkeypatch.setenv("STREAMD_STATE__DATABASE", "postgres://me@db/other")
    assert load(path).state.database == "postgresql://me@db/other"


def test_a_fault_in_the_file_does_not_show_the_password(tmp_path: Path) -> None:
    path = write(tmp_path, "postgresql+psycopg://me:hush@db/shop", "mariadb://me:hush@db/state")
    with pytest.raises(ConfigurationError) as told:
        load(path)
    assert "hush" not in str(told.value)
    assert [problem.where for problem in told.value.problems] == ["site.database", "state.database"]


def test_a_password_with_an_at_sign_is_said_and_not_shown() -> None:
    with pytest.raises(ValueError, match="%40") as raised:
        database_url("postgresql://u:secret@w@127.0.0.1/db")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("module", "says"),
    [
        ("asyncpg", "pip install asyncpg"),
        ("streamd.db.tail", "streamd.db.tail cannot be imported"),
        ("msgspec", "install streamd again"),
    ],
)
def test_only_a_driver_that_is_missing_is_called_so(monkeypatch: pytest.MonkeyPatch, module: str, says: str) -> None:
    for loaded in [name for name in sys.modules if name.startswith("streamd.db.postgresql")]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SiteError) as told:
        open_site("postgresql://me@db/shop")
    assert says in str(told.value)
    assert ("the driver for PostgreSQL" in str(told.value)) == (module == "asyncpg")


async def test_a_folder_is_said_to_be_one(tmp_path: Path) -> None:
    site = open_site(f"sqlite:///{tmp_path}")
    with pytest.raises(SiteError, match="is a folder"):
        await site.tables()
    state = State(f"sqlite:///{tmp_path}", "site")
    with pytest.raises(StateError, match="is a folder"):
        await state.revision()
    await site.close()
    await state.close()
