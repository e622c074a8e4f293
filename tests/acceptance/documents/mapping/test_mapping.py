"""Sites that call the same things otherwise: the ancestor's own example, with real daemons."""

from __future__ import annotations

import re
import signal
from typing import NamedTuple

import pytest

from tests.acceptance.documents.mapping.sites import IDENTITY
from tests.support.matrix import in_matrix
from tests.support.sites.site import Site
from tests.support.sites.wanted import Wanted
from tests.support.sites.world import Link, World

THERE = """
CREATE TABLE "Address" ("name" VARCHAR(40) PRIMARY KEY, "country" VARCHAR(40));
CREATE TABLE "OneHash Lead" ("name" VARCHAR(40) PRIMARY KEY, "full_name" VARCHAR(100), "phone" VARCHAR(40),
    "country" VARCHAR(40), "secret" VARCHAR(40));
CREATE TABLE "OneHash Opportunity" ("name" VARCHAR(40) PRIMARY KEY, "subject" VARCHAR(100), "full_name" VARCHAR(100),
    "phone" VARCHAR(40), "address" VARCHAR(40) REFERENCES "Address" ("name"), "amount" NUMERIC(10,2),
    "internal" VARCHAR(40));
CREATE TABLE "Position" ("number" INTEGER PRIMARY KEY, "opportunity" VARCHAR(40) NOT NULL
    REFERENCES "OneHash Opportunity" ("name"), "article" VARCHAR(40), "pieces" INTEGER, "remark" VARCHAR(40))
"""

HERE = """
CREATE TABLE "Lead" ("id" {identity}, "lead_name" VARCHAR(100) NOT NULL, "mobile" VARCHAR(40));
CREATE TABLE "Opportunity" ("code" VARCHAR(40) PRIMARY KEY, "title" VARCHAR(100) NOT NULL,
    "party_name" INTEGER REFERENCES "Lead" ("id"), "source" VARCHAR(40) NOT NULL, "amount" NUMERIC(10,2));
CREATE TABLE "Opportunity Item" ("id" INTEGER PRIMARY KEY, "parent" VARCHAR(40) NOT NULL
    REFERENCES "Opportunity" ("code"), "item" VARCHAR(40), "qty" INTEGER, "unit" VARCHAR(40) NOT NULL)
"""

CATALOGUE_THERE = """
[doctypes.Address]
[doctypes."OneHash Lead"]
exclude = ["secret"]
[doctypes."OneHash Opportunity"]
[doctypes."OneHash Opportunity".children.positions]
table = "Position"
parent_key = "opportunity"
"""

CATALOGUE_HERE = """
[doctypes.Lead]
[doctypes.Opportunity]
[doctypes.Opportunity.children.items]
table = "Opportunity Item"
parent_key = "parent"

[mappings."Lead from OneHash"]
local_doctype = "Lead"
remote_doctype = "OneHash Lead"
[[mappings."Lead from OneHash".fields]]
local_fieldname = "lead_name"
remote_fieldname = "full_name"
[[mappings."Lead from OneHash".fields]]
local_fieldname = "mobile"
remote_fieldname = "phone"

[mappings."Opportunity rows"]
local_doctype = "Opportunity Item"
remote_doctype = "Position"
[[mappings."Opportunity rows".fields]]
local_fieldname = "item"
remote_fieldname = "article"
[[mappings."Opportunity rows".fields]]
local_fieldname = "qty"
remote_fieldname = "pieces"
[[mappings."Opportunity rows".fields]]
local_fieldname = "unit"
default_value = "piece"

[mappings."Opportunity from OneHash"]
local_doctype = "Opportunity"
remote_doctype = "OneHash Opportunity"
[[mappings."Opportunity from OneHash".fields]]
local_fieldname = "title"
remote_fieldname = "subject"
default_value = "Unknown"
[[mappings."Opportunity from OneHash".fields]]
local_fieldname = "source"
default_value = "OneHash"
[[mappings."Opportunity from OneHash".fields]]
local_fieldname = "items"
remote_fieldname = "positions"
mapping_type = "Child Table"
mapping = "Opportunity rows"
[[mappings."Opportunity from OneHash".fields]]
local_fieldname = "party_name"
remote_fieldname = "full_name"
mapping_type = "Document"
mapping = "Lead from OneHash"
remote_value_filters = { full_name = "full_name", phone = "eval:doc.phone", country = "eval:doc.address.country" }
"""

WANTED = Wanted("Opportunity", {"mapping": "Opportunity from OneHash", "use_same_name": True}, "OneHash Opportunity")


class Pair(NamedTuple):
    """The site that the opportunities are made at, and the one that maps them."""

    world: World
    there: Site
    here: Site

    def opportunity(self, name: str) -> list[tuple[object, ...]]:
        """Title, lead, source and amount of an opportunity here."""
        return self.here.rows(
            'SELECT o."title", l."lead_name", l."mobile", o."source", o."amount" FROM "Opportunity" o '
            'LEFT JOIN "Lead" l ON l."id" = o."party_name" WHERE o."code" = ?',
            name,
        )

    def items(self, name: str) -> list[tuple[object, ...]]:
        return self.here.rows(
            'SELECT "item", "qty", "unit" FROM "Opportunity Item" WHERE "parent" = ? ORDER BY "id"', name
        )

    def parked(self) -> list[tuple[object, ...]]:
        return self.here.rows("SELECT doctype, state, error FROM streamd_parked")

    def shows(self, name: str, *expected: object) -> None:
        """Wait until the opportunity here is this."""

        def as_expected() -> bool:
            found = [
                tuple(str(value) if value is not None else None for value in row) for row in self.opportunity(name)
            ]
            assert found == [expected], f"{found} instead of {expected}"
            return True

        self.world.eventually(as_expected, f"{name} has arrived as it should be")


@pytest.fixture(params=[("sqlite", "sqlite"), *in_matrix(("postgresql", "mariadb"))], ids="-to-".join)
def pair(world: World, request: pytest.FixtureRequest) -> Pair:
    there_engine, here_engine = request.param
    there = world.site("onehash", CATALOGUE_THERE, engine=there_engine)
    here = world.site("hq", CATALOGUE_HERE, engine=here_engine)
    for site, schema in ((there, THERE), (here, HERE)):
        for statement in schema.format(identity=IDENTITY[site.engine]).split(";"):
            site.execute(statement)
    there.execute("INSERT INTO \"Address\" VALUES ('home', 'India'), ('away', 'Chile')")
    leads = [("L1", "Ada", "1", "India"), ("L2", "Ada", "2", "India"), ("L3", "Ada", "1", "Chile")]
    for lead in leads:
        there.execute('INSERT INTO "OneHash Lead" VALUES (?, ?, ?, ?, ?)', *lead, "not for you")
    world.connect(Link(here, there, [WANTED], {"use_same_name": False}))
    return Pair(world, there, here)


def offer(
    site: Site, name: str, subject: str | None, *, lead: str = "Ada", phone: str = "1", address: str = "home"
) -> None:
    """An opportunity with two positions."""
    with site.write() as connection:
        connection.execute(
            'INSERT INTO "OneHash Opportunity" VALUES (?, ?, ?, ?, ?, 12.50, ?)',
            (name, subject, lead, phone, address, "internal"),
        )
        for number, (article, pieces) in enumerate((("tea", 2), ("cup", 3))):
            key = int(name.removeprefix("O")) * 10 + number
            connection.execute(
                'INSERT INTO "Position" VALUES (?, ?, ?, ?, ?)', (key, name, article, pieces, "no remark")
            )


def test_an_opportunity_comes_with_the_lead_that_is_found_by_name_phone_and_country(pair: Pair) -> None:
    there = pair.there
    offer(there, "O1", "A deal")
    pair.shows("O1", "A deal", "Ada", "1", "OneHash", "12.50" if pair.here.engine == "mariadb" else "12.5")
    assert pair.items("O1") == [("tea", 2, "piece"), ("cup", 3, "piece")]
    assert pair.here.value('SELECT count(*) FROM "Lead"') == 1, "the one Ada of three"

    a_missing_value_gets_its_default(pair)
    updates_of_fields_and_rows_go_through_the_mapping(pair)
    another_lead_is_looked_for_when_what_finds_it_changes(pair)
    what_is_not_mapped_changes_nothing(pair)
    no_lead_or_several_park_the_opportunity_until_there_is_one(pair)
    a_deletion_goes_through_the_mapping(pair)


def a_missing_value_gets_its_default(pair: Pair) -> None:
    offer(pair.there, "O2", None)
    pair.world.eventually(lambda: [row[0] for row in pair.opportunity("O2")] == ["Unknown"], "the default stands here")
    pair.there.execute('UPDATE "OneHash Opportunity" SET "subject" = ? WHERE "name" = ?', "Known", "O2")
    pair.world.eventually(lambda: [row[0] for row in pair.opportunity("O2")] == ["Known"], "the value came")
    pair.there.execute('UPDATE "OneHash Opportunity" SET "subject" = NULL WHERE "name" = ?', "O2")
    pair.world.eventually(lambda: [row[0] for row in pair.opportunity("O2")] == ["Unknown"], "it is gone again")


def updates_of_fields_and_rows_go_through_the_mapping(pair: Pair) -> None:
    with pair.there.write() as connection:
        connection.execute('UPDATE "OneHash Opportunity" SET "subject" = \'A better deal\' WHERE "name" = \'O1\'')
        connection.execute('UPDATE "Position" SET "pieces" = 20 WHERE "number" = 10')
        connection.execute('DELETE FROM "Position" WHERE "number" = 11')
        connection.execute("INSERT INTO \"Position\" VALUES (15, 'O1', 'pot', 1, NULL)")
    pair.world.eventually(
        lambda: pair.items("O1") == [("tea", 20, "piece"), ("pot", 1, "piece")], "the rows are as they are there"
    )
    assert pair.opportunity("O1")[0][0] == "A better deal"
    pair.there.execute('DELETE FROM "Position" WHERE "opportunity" = ?', "O1")
    pair.world.eventually(lambda: pair.items("O1") == [], "an emptied table is empty here")


def another_lead_is_looked_for_when_what_finds_it_changes(pair: Pair) -> None:
    pair.there.execute('UPDATE "OneHash Opportunity" SET "phone" = ? WHERE "name" = ?', "2", "O1")
    pair.world.eventually(lambda: pair.opportunity("O1")[0][2] == "2", "it links to the Ada with the other phone")
    pair.there.execute(
        'UPDATE "OneHash Opportunity" SET "phone" = ?, "address" = ? WHERE "name" = ?', "1", "away", "O1"
    )
    pair.world.eventually(lambda: pair.here.value('SELECT count(*) FROM "Lead"') == 3, "and to the Ada in Chile")


def what_is_not_mapped_changes_nothing(pair: Pair) -> None:
    before = [(pair.opportunity(name), pair.items(name)) for name in ("O1", "O2")]
    assert before[1][1], "it has rows"
    with pair.there.write() as connection:
        connection.execute('UPDATE "OneHash Opportunity" SET "internal" = \'else\' WHERE "name" = \'O1\'')
        connection.execute('UPDATE "Position" SET "remark" = \'else\' WHERE "opportunity" = \'O2\'')
    pair.world.caught_up(pair.here, pair.there)
    assert pair.parked() == []
    assert [(pair.opportunity(name), pair.items(name)) for name in ("O1", "O2")] == before
    left_out = pair.here.json("status")["producers"][0]["unmapped"]
    assert set(left_out["Opportunity"]) == {"phone", "address", "internal", "positions/remark"}
    said = f"{len(left_out['Opportunity'])} fields of Opportunity not mapped, and left out"
    assert said in pair.here.cli("status")


def no_lead_or_several_park_the_opportunity_until_there_is_one(pair: Pair) -> None:
    offer(pair.there, "O3", "Too early", lead="Grace", phone="7")

    def is_parked(why: str) -> bool:
        return any(re.search(why, str(error)) for _, state, error in pair.parked() if state == "parked")

    pair.world.eventually(lambda: is_parked("OneHash Lead.*Grace.*none"), "it waits for a Lead that is not there")
    assert pair.opportunity("O3") == []
    pair.there.execute("INSERT INTO \"OneHash Lead\" VALUES ('L7', 'Grace', '7', 'India', NULL)")
    pair.world.eventually(lambda: pair.parked() == [], "it healed by itself", timeout=30)
    assert pair.opportunity("O3")[0][1] == "Grace"

    pair.there.execute("INSERT INTO \"OneHash Lead\" VALUES ('L8', 'Grace', '7', 'India', NULL)")
    offer(pair.there, "O4", "Which one?", lead="Grace", phone="7")
    pair.world.eventually(lambda: is_parked("OneHash Lead.*Grace.*several"), "two fit, so none is taken")
    pair.there.execute('DELETE FROM "OneHash Lead" WHERE "name" = \'L8\'')
    pair.world.eventually(lambda: pair.parked() == [], "it healed when one was left", timeout=30)


def a_deletion_goes_through_the_mapping(pair: Pair) -> None:
    with pair.there.write() as connection:
        connection.execute('DELETE FROM "Position" WHERE "opportunity" = \'O4\'')
        connection.execute('DELETE FROM "OneHash Opportunity" WHERE "name" = \'O4\'')
    pair.world.eventually(lambda: pair.opportunity("O4") == [] and pair.items("O4") == [], "it is gone here as well")
    assert "not for you" not in repr(pair.there.state_rows("SELECT * FROM update_log"))
    assert "not for you" not in repr(pair.here.state_rows("SELECT * FROM sync_log"))


@pytest.mark.parametrize("pair", [("sqlite", "sqlite")], indirect=True, ids=["sqlite"])
def test_an_edited_mapping_counts_after_a_reload_and_parked_events_go_through_it(pair: Pair) -> None:
    pair.here.execute(
        "CREATE TRIGGER no BEFORE INSERT ON Opportunity WHEN NEW.source <> 'edited' "
        "BEGIN SELECT raise(ABORT, 'only edited ones'); END"
    )
    offer(pair.there, "O1", "A deal")
    pair.world.eventually(lambda: "only edited ones" in repr(pair.parked()), "it is parked")
    pair.here.catalogue = pair.here.catalogue.replace('default_value = "OneHash"', 'default_value = "edited"')
    pair.here.write_config()
    assert pair.here.process is not None
    pid = pair.here.process.pid
    pair.here.process.send_signal(signal.SIGHUP)
    offer(pair.there, "O2", "Another deal")
    pair.shows("O2", "Another deal", "Ada", "1", "edited", "12.5")
    pair.here.cli("resync", "--all")
    pair.shows("O1", "A deal", "Ada", "1", "edited", "12.5")
    pair.world.eventually(lambda: pair.parked() == [], "nothing is parked any more")
    assert pair.here.process.pid == pid, "without a restart"
