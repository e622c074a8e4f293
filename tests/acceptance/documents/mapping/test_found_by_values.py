"""Documents that are found by their values are mapped in turn."""

from __future__ import annotations

import pytest

from tests.acceptance.documents.mapping.sites import IDENTITY
from tests.support.database_url import Engine
from tests.support.matrix import ONE_PAIR
from tests.support.sites.wanted import Wanted
from tests.support.sites.world import Link, World

DEALS_THERE = """
CREATE TABLE "Region" ("code" INTEGER PRIMARY KEY, "title" VARCHAR(40));
CREATE TABLE "Person" ("code" INTEGER PRIMARY KEY, "full_name" VARCHAR(40), "region" VARCHAR(40));
CREATE TABLE "Article" ("code" INTEGER PRIMARY KEY, "label" VARCHAR(40));
CREATE TABLE "Deal" ("code" INTEGER PRIMARY KEY, "person" VARCHAR(40));
CREATE TABLE "Deal Row" ("code" INTEGER PRIMARY KEY, "deal" INTEGER NOT NULL REFERENCES "Deal" ("code"),
    "article" VARCHAR(40), "pieces" INTEGER)
"""

DEALS_HERE = """
CREATE TABLE "Territory" ("id" {identity}, "territory_name" VARCHAR(40));
CREATE TABLE "Lead" ("id" {identity}, "lead_name" VARCHAR(40), "territory" INTEGER REFERENCES "Territory" ("id"));
CREATE TABLE "Item" ("id" {identity}, "item_name" VARCHAR(40));
CREATE TABLE "Opportunity" ("id" INTEGER PRIMARY KEY, "party" INTEGER REFERENCES "Lead" ("id"));
CREATE TABLE "Opportunity Item" ("id" INTEGER PRIMARY KEY, "parent" INTEGER NOT NULL REFERENCES "Opportunity" ("id"),
    "item" INTEGER REFERENCES "Item" ("id"), "qty" INTEGER)
"""

DEALS_CATALOGUE_THERE = """
[doctypes.Region]
[doctypes.Person]
[doctypes.Article]
[doctypes.Deal]
[doctypes.Deal.children.rows]
table = "Deal Row"
parent_key = "deal"
"""

DEALS_CATALOGUE_HERE = """
[doctypes.Territory]
[doctypes.Lead]
[doctypes.Item]
[doctypes.Opportunity]
[doctypes.Opportunity.children.items]
table = "Opportunity Item"
parent_key = "parent"

[mappings.territory]
local_doctype = "Territory"
remote_doctype = "Region"
fields = [{ local_fieldname = "territory_name", remote_fieldname = "title" }]

[mappings.lead]
local_doctype = "Lead"
remote_doctype = "Person"
[[mappings.lead.fields]]
local_fieldname = "lead_name"
remote_fieldname = "full_name"
[[mappings.lead.fields]]
local_fieldname = "territory"
remote_fieldname = "region"
mapping_type = "Document"
mapping = "territory"
remote_value_filters = { title = "region" }

[mappings.item]
local_doctype = "Item"
remote_doctype = "Article"
fields = [{ local_fieldname = "item_name", remote_fieldname = "label" }]

[mappings.rows]
local_doctype = "Opportunity Item"
remote_doctype = "Deal Row"
[[mappings.rows.fields]]
local_fieldname = "qty"
remote_fieldname = "pieces"
[[mappings.rows.fields]]
local_fieldname = "item"
remote_fieldname = "article"
mapping_type = "Document"
mapping = "item"
remote_value_filters = { label = "article" }

[mappings.opportunity]
local_doctype = "Opportunity"
remote_doctype = "Deal"
[[mappings.opportunity.fields]]
local_fieldname = "party"
remote_fieldname = "person"
mapping_type = "Document"
mapping = "lead"
remote_value_filters = { full_name = "person" }
[[mappings.opportunity.fields]]
local_fieldname = "items"
remote_fieldname = "rows"
mapping_type = "Child Table"
mapping = "rows"
"""

DEALS = (
    'SELECT o."id", l."lead_name", t."territory_name", r."qty", i."item_name" FROM "Opportunity" o '
    'JOIN "Lead" l ON l."id" = o."party" LEFT JOIN "Territory" t ON t."id" = l."territory" '
    'LEFT JOIN "Opportunity Item" r ON r."parent" = o."id" LEFT JOIN "Item" i ON i."id" = r."item" ORDER BY r."id"'
)


@pytest.mark.parametrize("engines", ONE_PAIR)
def test_what_is_found_by_its_values_is_mapped_in_turn_and_so_are_links_of_child_rows(
    world: World, engines: tuple[Engine, Engine]
) -> None:
    there = world.site("there", DEALS_CATALOGUE_THERE, engine=engines[0])
    here = world.site("here", DEALS_CATALOGUE_HERE, engine=engines[1])
    for site, schema in ((there, DEALS_THERE), (here, DEALS_HERE)):
        for statement in schema.format(identity=IDENTITY[site.engine]).split(";"):
            site.execute(statement)
    there.execute("INSERT INTO \"Region\" VALUES (1, 'North'), (2, 'South')")
    there.execute("INSERT INTO \"Person\" VALUES (1, 'Ada', 'North'), (2, 'Eve', 'South')")
    there.execute("INSERT INTO \"Article\" VALUES (5, 'tea'), (6, 'cup'), (7, 'pot')")
    here.execute('INSERT INTO "Item" ("item_name") VALUES (\'ours\')')
    wanted = Wanted("Opportunity", {"mapping": "opportunity", "use_same_name": True}, "Deal")
    world.connect(Link(here, there, [wanted], {"use_same_name": False}))

    def shows(*expected: tuple[object, ...]) -> None:
        world.eventually(lambda: here.rows(DEALS) == list(expected), f"{expected} arrived")

    with there.write() as connection:
        connection.execute("INSERT INTO \"Deal\" VALUES (1, 'Ada')")
        connection.execute("INSERT INTO \"Deal Row\" VALUES (10, 1, 'tea', 2)")
    shows((1, "Ada", "North", 2, "tea"))
    with there.write() as connection:
        connection.execute('UPDATE "Deal Row" SET "article" = \'cup\' WHERE "code" = 10')
        connection.execute("INSERT INTO \"Deal Row\" VALUES (11, 1, 'tea', 3)")
    shows((1, "Ada", "North", 2, "cup"), (1, "Ada", "North", 3, "tea"))
    there.execute('UPDATE "Deal" SET "person" = \'Eve\' WHERE "code" = 1')
    shows((1, "Eve", "South", 2, "cup"), (1, "Eve", "South", 3, "tea"))
    assert here.value('SELECT count(*) FROM "Item"') == 3, "what was found before is not made again"
    there.execute("INSERT INTO \"Deal Row\" VALUES (12, 1, 'sofa', 1)")
    world.eventually(lambda: "sofa" in str(here.rows("SELECT error FROM streamd_parked")), "nothing has that label")
    there.execute("INSERT INTO \"Article\" VALUES (8, 'sofa')")
    shows((1, "Eve", "South", 2, "cup"), (1, "Eve", "South", 3, "tea"), (1, "Eve", "South", 1, "sofa"))
