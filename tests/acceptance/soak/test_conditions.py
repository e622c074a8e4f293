"""A site that sees only what satisfies its condition, while daemons keep being killed. Long: run by `make soak`."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import pytest

from tests.acceptance.documents.test_conditions import Pair, make
from tests.support.matrix import ALIKE, CIRCLE, Engines
from tests.support.sites.site import Site
from tests.support.sites.world import Link, World

BUSY_SECONDS = 30.0

VIEW = (
    'SELECT i."id", c."name", i."country", i."total", l."item" FROM "Invoice" i '
    'JOIN "Customer" c ON c."id" = i."customer" LEFT JOIN "Line" l ON l."invoice" = i."id" '
    'WHERE i."country" = \'IN\' AND i."total" > 1000'
)


def view(site: Site, *, names: bool) -> list[tuple[object, ...]]:
    """What satisfies the condition, by what is the same at both sites; engines sort otherwise."""
    rows = [
        (number if names else None, name, country, float(total), item)
        for number, name, country, total, item in site.rows(VIEW)
    ]
    return sorted(rows, key=repr)


class Clerk:
    """Makes invoices, and changes what decides whether they satisfy the condition."""

    def __init__(self, site: Site, dice: random.Random) -> None:
        self.site = site
        self.dice = dice
        self.next = 100

    def act(self) -> None:
        invoices = [number for (number,) in self.site.rows('SELECT "id" FROM "Invoice"')]
        if not invoices or self.dice.random() < 0.25:
            self.sell()
        else:
            self.dice.choice((self.edit, self.edit, self.edit, self.line, self.renumber, self.cancel))(
                self.dice.choice(invoices)
            )

    def sell(self) -> None:
        self.next += 1
        country, total = self.dice.choice(("IN", "IN", "US")), self.dice.choice((10, 2000, 3000 + self.next))
        with self.site.write() as connection:
            connection.execute('INSERT INTO "Invoice" VALUES (?, 1, ?, ?, 123456)', (self.next, country, total))
            for index in range(self.dice.randint(0, 3)):
                line = (self.next * 10 + index, self.next, f"item {index}")
                connection.execute('INSERT INTO "Line" VALUES (?, ?, ?, 765432)', line)

    def edit(self, number: int) -> None:
        changed = self.dice.choice((("country", "IN"), ("country", "US"), ("total", 10), ("total", 5000 + number)))
        self.site.execute(f'UPDATE "Invoice" SET "{changed[0]}" = ? WHERE "id" = ?', changed[1], number)

    def line(self, number: int) -> None:
        self.site.execute(
            'UPDATE "Line" SET "item" = ? WHERE "invoice" = ?', f"changed {self.dice.randint(0, 99)}", number
        )

    def renumber(self, number: int) -> None:
        self.next += 1
        with self.site.write(deferred=True) as connection:
            connection.execute('UPDATE "Invoice" SET "id" = ? WHERE "id" = ?', (self.next, number))
            connection.execute('UPDATE "Line" SET "invoice" = ? WHERE "invoice" = ?', (self.next, number))

    def cancel(self, number: int) -> None:
        with self.site.write() as connection:
            connection.execute('DELETE FROM "Line" WHERE "invoice" = ?', (number,))
            connection.execute('DELETE FROM "Invoice" WHERE "id" = ?', (number,))


def keep_killing(pair: Pair, people: Sequence[Clerk], dice: random.Random, *, at_most: int) -> None:
    """They do up to so many things between two kills or starts; in the end both daemons run."""
    until = time.monotonic() + BUSY_SECONDS
    while time.monotonic() < until:
        for _ in range(dice.randint(1, at_most)):
            dice.choice(people).act()
        site = dice.choice((pair.hq, pair.store))
        if site.running:
            site.kill()
        else:
            site.start(wait=dice.random() < 0.5)
    for site in (pair.hq, pair.store):
        if not site.running:
            site.start()


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize("naming", [False, True], ids=["same_names", "named_here"])
@pytest.mark.parametrize("engines", [ALIKE, *CIRCLE], ids="-to-".join)
@pytest.mark.parametrize("seed", range(2))
def test_a_site_that_sees_only_what_satisfies_its_condition_ends_with_exactly_that(
    world: World, engines: Engines, seed: int, naming: bool
) -> None:
    pair = make(world, engines, "delete", naming=naming)
    dice = random.Random(seed)
    keep_killing(pair, [Clerk(pair.hq, dice)], dice, at_most=40)
    names = not naming
    world.eventually(lambda: view(pair.store, names=names) == view(pair.hq, names=names), "the view is exact", 60)
    all_of_it = 'SELECT count(*) FROM "Invoice"'
    satisfying = pair.hq.value(all_of_it + ' WHERE "country" = \'IN\' AND "total" > 1000')
    assert pair.store.value(all_of_it) == satisfying, "nothing is there that does not satisfy it"
    assert pair.store.rows("SELECT state, error FROM streamd_parked") == []


class Seller(Clerk):
    """Changes what came from headquarters; makes nothing new."""

    def act(self) -> None:
        invoices = [number for (number,) in self.site.rows('SELECT "id" FROM "Invoice"')]
        if invoices:
            self.dice.choice((self.edit, self.line, self.line, self.cancel))(self.dice.choice(invoices))


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize("naming", [False, True], ids=["same_names", "named_here"])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_edited_on_both_sides_of_a_condition_ends_as_one(world: World, seed: int, naming: bool) -> None:
    pair = make(world, ("sqlite", "sqlite"), "delete", naming=naming)
    world.connect(Link(pair.hq, pair.store, ["Invoice"]))
    dice = random.Random(seed)
    keep_killing(pair, [Clerk(pair.hq, dice), Seller(pair.store, dice)], dice, at_most=20)
    names = not naming
    world.eventually(lambda: view(pair.store, names=names) == view(pair.hq, names=names), "they end as one", 60)
    for site in (pair.hq, pair.store):
        assert site.rows("SELECT state, error FROM streamd_parked") == []
