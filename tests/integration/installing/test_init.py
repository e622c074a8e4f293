"""`streamd init` suggests a configuration for a database that is there."""

from __future__ import annotations

import os
import stat
from contextlib import closing

from streamd.settings import load
from tests.integration.installing.shop import Shop


def test_init_writes_a_complete_file_that_can_be_used_as_it_is(shop: Shop) -> None:
    shop.streamd("init", "shop.db")
    settings = load(shop.config)
    assert settings.site.name == "shop"
    assert set(settings.doctypes) == {"Customer", "Invoice", "InvoiceLine", "Member", "Fee", "odd name, 'quoted'"}
    shop.streamd("install")
    shop.streamd("check")


def test_init_suggests_child_tables_and_says_why(shop: Shop) -> None:
    shop.streamd("init", "shop.db")
    text = shop.config.read_text(encoding="utf-8")
    reason, _, *lines = text[text.index("# Do the rows of InvoiceLine") :].splitlines()[:5]
    assert "its name begins with Invoice" in reason
    text = text.replace("\n[doctypes.InvoiceLine]\n", "\n")
    for line in lines:
        text = text.replace(line, line.removeprefix("# "), 1)
    shop.config.write_text(text, encoding="utf-8")
    assert load(shop.config).doctypes["Invoice"].children["lines"].table == "InvoiceLine"
    shop.streamd("install")
    shop.streamd("check")


def test_init_says_why_a_table_is_left_out(shop: Shop) -> None:
    shop.streamd("init", "shop.db")
    assert "# Log is left out" in shop.config.read_text(encoding="utf-8")


def test_init_of_a_frappe_site_leaves_the_types_to_its_own_metadata(shop: Shop) -> None:
    with closing(shop.connect()) as connection:
        for table in ("tabDocType", "tabDocField", "tabSales Invoice"):
            connection.execute(f'CREATE TABLE "{table}" (name VARCHAR(140) PRIMARY KEY)')
    shop.streamd("init", "shop.db")
    settings = load(shop.config)
    assert (settings.site.catalog, settings.site.offers, settings.doctypes) == ("frappe", (), {})
    assert "Sales Invoice" in shop.config.read_text(encoding="utf-8")


def test_init_does_not_overwrite_a_file(shop: Shop) -> None:
    shop.config.write_text("mine", encoding="utf-8")
    assert "--force" in shop.streamd("init", "shop.db", code=1).stderr
    assert shop.config.read_text(encoding="utf-8") == "mine"
    shop.streamd("init", "shop.db", "--force", "--name", "till 7")
    assert load(shop.config).site.name == "till 7"


def test_the_file_is_for_its_owner_alone(shop: Shop) -> None:
    shop.streamd("init", "sqlite:///shop.db")
    assert stat.S_IMODE(os.stat(shop.config).st_mode) == 0o600


def test_init_of_a_database_that_is_not_there_writes_nothing(shop: Shop) -> None:
    assert "no database" in shop.streamd("init", "nothing.db", code=1).stderr
    assert not shop.config.exists()
    assert not (shop.folder / "nothing.db").exists()


def test_a_new_identity_makes_a_clone_another_site(installed: Shop) -> None:
    before = installed.json("status")["site"]
    installed.streamd("keys", "create", "--for", "store")
    said = installed.streamd("init", "--new-identity").stdout
    after = installed.json("status")
    assert after["site"] != before
    assert after["site"] in said
    assert installed.json("keys", "list") == [], "keys were given out by the original"
