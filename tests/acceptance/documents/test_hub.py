"""Two stores that know only headquarters: what one makes goes through there to the other, and not back."""

from __future__ import annotations

from tests.acceptance.conftest import Templates
from tests.support.compare import same_rows
from tests.support.sites.chinook import ALL, CATALOGUE, add_invoice, delete_invoice
from tests.support.sites.world import Link, World, update_log


def test_what_one_store_makes_reaches_the_other_through_headquarters(world: World, templates: Templates) -> None:
    hq = world.site("hq", CATALOGUE, templates.full)
    stores = [world.site(name, CATALOGUE, templates.full) for name in ("east", "west")]
    east, west = stores
    doctypes = ["Invoice", "Customer", "Genre"]
    world.connect(*(Link(store, hq, doctypes) for store in stores), *(Link(hq, store, doctypes) for store in stores))
    add_invoice(east, 1001)
    add_invoice(west, 2001)
    world.equal(east, west, ALL)
    west.execute("UPDATE Invoice SET Total = 1.23 WHERE InvoiceId = 1001")
    east.execute("UPDATE Invoice SET BillingCity = 'Ulm' WHERE InvoiceId = 2001")
    world.equal(east, west, ALL)
    delete_invoice(hq, 2001)
    world.equal(east, hq, ALL)
    world.equal(east, west, ALL)

    # A genre follows all of it on each way: what comes after it was caused by nobody.
    for number, site in enumerate((east, hq, west, east)):
        site.execute("INSERT INTO Genre VALUES (?, 'marker')", 900 + number)
        world.equal(east, west, {"Genre": "1"})
        world.equal(east, hq, {"Genre": "1"})
    for site in (hq, east, west):
        events = [(name, operation) for _, _, name, operation in update_log(site, "Invoice")]
        assert sorted(events) == sorted(set(events)), f"{site.name} logged an edit more than once: {events}"
    assert same_rows(east, west, ALL)
