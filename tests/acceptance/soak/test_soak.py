"""Two sites with busy users and daemons that keep being killed. Long: left out of `make test`, run by `make soak`."""

from __future__ import annotations

import random
import sqlite3
import time

import pytest

from tests.acceptance.conftest import Pair
from tests.support.sites.chinook import ALL, add_invoice, delete_invoice, line_id
from tests.support.sites.site import Site

BUSY_SECONDS = 45.0


class User:
    """Somebody at one site who does all sorts of things; the ids of what is made here are of this site alone."""

    def __init__(self, site: Site, first: int, dice: random.Random) -> None:
        self.site = site
        self.dice = dice
        self.next = first
        self.mine: list[int] = []

    def act(self) -> None:
        """Do one thing. What the database forbids (a row is gone meanwhile) is not done."""
        action = self.dice.choice(
            (
                self.sell,
                self.sell,
                self.price,
                self.price,
                self.address,
                self.line,
                self.cancel,
                self.renumber,
                self.listen,
            )
        )
        try:
            action()
        except sqlite3.IntegrityError:
            return

    def sell(self) -> None:
        self.next += 1
        self.mine.append(self.next)
        tracks = [self.dice.randint(1, 3503) for _ in range(self.dice.randint(0, 6))]
        add_invoice(self.site, self.next, customer=self.dice.randint(1, 59), tracks=tracks)

    def any_invoice(self) -> int:
        rows = self.site.rows("SELECT InvoiceId FROM Invoice WHERE InvoiceId > 412 ORDER BY random() LIMIT 1")
        return int(rows[0][0]) if rows else 0

    def price(self) -> None:
        self.site.execute(
            "UPDATE Track SET UnitPrice = ? WHERE TrackId = ?", self.dice.random(), self.dice.randint(1, 20)
        )

    def address(self) -> None:
        column = self.dice.choice(("BillingCity", "BillingAddress", "Total"))
        value = self.dice.randint(0, 999)
        self.site.execute(f"UPDATE Invoice SET {column} = ? WHERE InvoiceId = ?", value, self.any_invoice())

    def line(self) -> None:
        invoice, index = self.any_invoice(), self.dice.randint(0, 5)
        if self.dice.random() < 0.5:
            self.site.execute(
                "UPDATE InvoiceLine SET Quantity = ? WHERE InvoiceLineId = ?",
                self.dice.randint(1, 9),
                line_id(invoice, index),
            )
        else:
            self.site.execute("DELETE FROM InvoiceLine WHERE InvoiceLineId = ?", line_id(invoice, index))

    def cancel(self) -> None:
        delete_invoice(self.site, self.any_invoice())

    def renumber(self) -> None:
        if not self.mine:
            return
        old = self.mine.pop(self.dice.randrange(len(self.mine)))
        self.next += 1
        with self.site.write() as connection:
            connection.execute("PRAGMA defer_foreign_keys = ON")
            connection.execute("UPDATE Invoice SET InvoiceId = ? WHERE InvoiceId = ?", (self.next, old))
            connection.execute("UPDATE InvoiceLine SET InvoiceId = ? WHERE InvoiceId = ?", (self.next, old))

    def listen(self) -> None:
        playlist, track = self.dice.randint(1, 18), self.dice.randint(1, 50)
        if self.dice.random() < 0.5:
            self.site.execute("INSERT INTO PlaylistTrack VALUES (?, ?)", playlist, track)
        else:
            self.site.execute("DELETE FROM PlaylistTrack WHERE PlaylistId = ? AND TrackId = ?", playlist, track)


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(5))
def test_busy_sites_whose_daemons_keep_being_killed_end_equal(twins: Pair, seed: int) -> None:
    dice = random.Random(seed)
    users = [User(twins.hq, 10_000, dice), User(twins.store, 50_000, dice)]
    twins.start()
    until = time.monotonic() + BUSY_SECONDS
    while time.monotonic() < until:
        for _ in range(dice.randint(1, 60)):
            dice.choice(users).act()
        site = dice.choice((twins.hq, twins.store))
        if site.running:
            if dice.random() < 0.7:
                site.kill()
            else:
                site.wait_until_up()
                site.stop()
        else:
            site.start(wait=dice.random() < 0.5)
    for site in (twins.hq, twins.store):
        if not site.running:
            site.start()
    twins.world.equal(twins.hq, twins.store, ALL, timeout=60)
    twins.world.caught_up(twins.hq, twins.store)
    twins.world.caught_up(twins.store, twins.hq)
    for site in (twins.hq, twins.store):
        twins.world.eventually(
            lambda site=site: site.value("SELECT count(*) FROM streamd_parked") == 0, f"{site.name} parks nothing"
        )
