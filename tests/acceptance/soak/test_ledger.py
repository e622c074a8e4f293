"""Sites whose users create, edit, rename, link, delete and use numbers again, while their daemons are killed.

The test keeps a ledger of its own: what users did to which document, known by a text that only the test gives. In the
end each site has to hold what the ledger says, whatever numbers the documents have there. Long: run by `make soak`.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from streamd.capture.forming import APART_MS
from tests.support.access import Connection
from tests.support.sites.site import Site
from tests.support.sites.world import Link, World

TRANSACTIONS = int(os.environ.get("STREAMD_SOAK_TRANSACTIONS", "5000"))
SETTLED = float(os.environ.get("STREAMD_SOAK_SETTLED", "240"))
APART_SECONDS = 2 * APART_MS / 1000
SITES = 4
RANGE = 1_000_000
TYPES = ("Person", "Invoice")

EDITED = ", ".join(f'"c{number}" INTEGER NOT NULL DEFAULT 0' for number in range(SITES))
SCHEMA = f"""
CREATE TABLE "Person" ("id" INTEGER PRIMARY KEY, "uid" TEXT NOT NULL, "shared" INTEGER, {EDITED});
CREATE TABLE "Invoice" ("id" INTEGER PRIMARY KEY, "uid" TEXT NOT NULL, "shared" INTEGER, {EDITED},
    "person" INTEGER NOT NULL REFERENCES "Person" ("id") ON UPDATE CASCADE);
CREATE TABLE "Line" ("id" INTEGER PRIMARY KEY, "uid" TEXT NOT NULL, "quantity" INTEGER NOT NULL,
    "invoice" INTEGER NOT NULL REFERENCES "Invoice" ("id") ON UPDATE CASCADE);
CREATE INDEX "person_uid" ON "Person" ("uid");
CREATE INDEX "invoice_uid" ON "Invoice" ("uid");
CREATE INDEX "line_invoice" ON "Line" ("invoice")
"""

CATALOGUE = """
[doctypes.Person]
[doctypes.Invoice]
[doctypes.Invoice.children.lines]
table = "Line"
parent_key = "invoice"
"""

TOPOLOGIES: dict[str, Sequence[tuple[int, int]]] = {
    # (consumer, producer)
    "pair": [(0, 1), (1, 0)],
    "hub": [(0, 1), (1, 0), (0, 2), (2, 0), (0, 3), (3, 0)],
    "ring": [(1, 0), (2, 1), (0, 2)],
}
NAMED: dict[str, frozenset[int]] = {
    "same_names": frozenset(),
    "own_names_at_one": frozenset({0}),
    "own_names_at_all": frozenset(range(SITES)),
}
"""The sites that give numbers of their own to documents which come from others."""


@dataclass
class Told:
    """What users did to one document. `shared` are the values that the column got that all of them edit.

    `people` are those that an invoice linked to. Which of them wins is a matter of clocks: where a person gets another
    number, a foreign key changes the link as well, and that may be later than the edit of another site.
    """

    kind: str
    maker: int
    edits: list[int] = field(default_factory=lambda: [0] * SITES)
    shared: set[int | None] = field(default_factory=lambda: {None})
    people: set[str] = field(default_factory=lambda: {""})
    lines: dict[str, int] = field(default_factory=dict)
    is_spare: bool = False
    is_deleted: bool = False


class Users:
    """The users of all sites, who write down what they did."""

    def __init__(self, connections: Sequence[Connection], dice: random.Random, naming: frozenset[int]) -> None:
        """At the sites `naming` the database counts. The others have a range each, since they share numbers."""
        self._connections = connections
        self._dice = dice
        self._naming = naming
        self._count = 0
        self._freed: list[dict[str, list[tuple[int, float]]]] = [{"Person": [], "Invoice": []} for _ in connections]
        self._next = [1 for _ in connections]
        self.ledger: dict[str, Told] = {}

    def act(self) -> None:
        """One transaction at one site."""
        place = self._dice.randrange(len(self._connections))
        action = self._dice.choice(
            (
                *(self.meet, self.meet, self.meet_spare, self.sell, self.sell, self.sell),
                *(self.edit, self.edit, self.edit, self.share, self.share, self.repoint),
                *(self.line, self.line, self.drop_line, self.rename, self.rename, self.leave, self.leave, self.cancel),
            )
        )
        connection = self._connections[place]
        connection.execute("BEGIN IMMEDIATE")
        told = action(place, connection)
        connection.execute("COMMIT")
        if told is not None:
            told()

    # Documents

    def meet(self, place: int, connection: Connection) -> Any:
        return self._made(place, connection, "Person")

    def meet_spare(self, place: int, connection: Connection) -> Any:
        """Somebody to whom nobody ever links, so that anybody may be gone."""
        return self._made(place, connection, "Person", is_spare=True)

    def sell(self, place: int, connection: Connection) -> Any:
        person = self._anyone(connection)
        if person is None:
            return None
        lines = {self._uid(place): self._dice.randint(1, 9) for _ in range(self._dice.randint(0, 3))}
        return self._made(place, connection, "Invoice", people={person}, lines=lines)

    def _made(self, place: int, connection: Connection, kind: str, **more: Any) -> Any:
        uid = self._uid(place)
        told = Told(kind, place, **more)
        columns: dict[str, Any] = {"id": self._number(place, connection, kind), "uid": uid}
        for person in told.people - {""}:
            columns["person"] = self._id(connection, "Person", person)
        marks = ", ".join("?" for _ in columns)
        names = ", ".join(f'"{name}"' for name in columns)
        connection.execute(f'INSERT INTO "{kind}" ({names}) VALUES ({marks})', tuple(columns.values()))
        for line, quantity in told.lines.items():
            self._put_line(place, connection, columns["id"], line, quantity)
        return lambda: self.ledger.__setitem__(uid, told)

    def _put_line(self, place: int, connection: Connection, invoice: int, uid: str, quantity: int) -> None:
        number = self._fresh(place, connection, "Line")
        connection.execute(
            'INSERT INTO "Line" ("id", "uid", "quantity", "invoice") VALUES (?, ?, ?, ?)',
            (number, uid, quantity, invoice),
        )

    def rename(self, place: int, connection: Connection) -> Any:
        kind = self._dice.choice(TYPES)
        uid = self._any(connection, kind)
        if uid is None:
            return None
        old, new = self._id(connection, kind, uid), self._number(place, connection, kind)
        connection.execute(f'UPDATE "{kind}" SET "id" = ? WHERE "id" = ?', (new, old))
        return lambda: self._free(place, kind, old)

    def leave(self, place: int, connection: Connection) -> Any:
        """Somebody to whom nobody links is deleted, at any site; the number is used again, perhaps at once."""
        spare = [uid for uid in self._some(connection, "Person") if self.ledger[uid].is_spare]
        if not spare:
            return None
        uid = self._dice.choice(spare)
        number = self._id(connection, "Person", uid)
        connection.execute('DELETE FROM "Person" WHERE "id" = ?', (number,))
        return lambda: self._ended(place, uid, number)

    def cancel(self, place: int, connection: Connection) -> Any:
        uid = self._any(connection, "Invoice")
        if uid is None or self._dice.random() < 0.5:
            return None
        number = self._id(connection, "Invoice", uid)
        connection.execute('DELETE FROM "Line" WHERE "invoice" = ?', (number,))
        connection.execute('DELETE FROM "Invoice" WHERE "id" = ?', (number,))
        return lambda: self._ended(place, uid, number)

    def _ended(self, place: int, uid: str, number: int) -> None:
        self.ledger[uid].is_deleted = True
        self._free(place, self.ledger[uid].kind, number)

    # Edits

    def edit(self, place: int, connection: Connection) -> Any:
        """A column that only this site's users edit: no edit of it may be lost."""
        kind = self._dice.choice(TYPES)
        uid = self._any(connection, kind)
        if uid is None:
            return None
        value = self.ledger[uid].edits[place] + 1
        connection.execute(f'UPDATE "{kind}" SET "c{place}" = ? WHERE "uid" = ?', (value, uid))
        return lambda: self.ledger[uid].edits.__setitem__(place, value)

    def share(self, place: int, connection: Connection) -> Any:
        """A column that all sites edit: one of the values has to win everywhere."""
        kind = self._dice.choice(TYPES)
        uid = self._any(connection, kind)
        if uid is None:
            return None
        value = self._dice.randrange(RANGE)
        connection.execute(f'UPDATE "{kind}" SET "shared" = ? WHERE "uid" = ?', (value, uid))
        return lambda: self.ledger[uid].shared.add(value)

    def repoint(self, place: int, connection: Connection) -> Any:
        """An invoice gets another person, at the site that made it."""
        uid, person = self._own_invoice(place, connection), self._anyone(connection)
        if uid is None or person is None:
            return None
        number = self._id(connection, "Person", person)
        connection.execute('UPDATE "Invoice" SET "person" = ? WHERE "uid" = ?', (number, uid))
        return lambda: self.ledger[uid].people.add(person)

    def line(self, place: int, connection: Connection) -> Any:
        """A line is added or changed, at the site that made the invoice."""
        uid = self._own_invoice(place, connection)
        if uid is None:
            return None
        lines, quantity = self.ledger[uid].lines, self._dice.randint(10, 99)
        if lines and self._dice.random() < 0.6:
            line = self._dice.choice(sorted(lines))
            connection.execute('UPDATE "Line" SET "quantity" = ? WHERE "uid" = ?', (quantity, line))
        else:
            line = self._uid(place)
            self._put_line(place, connection, self._id(connection, "Invoice", uid), line, quantity)
        return lambda: lines.__setitem__(line, quantity)

    def drop_line(self, place: int, connection: Connection) -> Any:
        uid = self._own_invoice(place, connection)
        if uid is None or not self.ledger[uid].lines:
            return None
        line = self._dice.choice(sorted(self.ledger[uid].lines))
        connection.execute('DELETE FROM "Line" WHERE "uid" = ?', (line,))
        return lambda: self.ledger[uid].lines.pop(line)

    # What is there

    def _uid(self, place: int) -> str:
        self._count += 1
        return f"{place}-{self._count}"

    def _some(self, connection: Connection, kind: str) -> list[str]:
        """A few documents as they are at this site, at random: what users see there."""
        low, high = connection.execute(f'SELECT min(rowid), max(rowid) FROM "{kind}"').fetchall()[0]
        if low is None:
            return []
        start = self._dice.randint(low, high)
        rows = connection.execute(f'SELECT "uid" FROM "{kind}" WHERE "id" >= ? ORDER BY "id" LIMIT 20', (start,))
        return [uid for (uid,) in rows.fetchall()]

    def _any(self, connection: Connection, kind: str) -> str | None:
        found = self._some(connection, kind)
        return self._dice.choice(found) if found else None

    def _anyone(self, connection: Connection) -> str | None:
        linked = [uid for uid in self._some(connection, "Person") if not self.ledger[uid].is_spare]
        return self._dice.choice(linked) if linked else None

    def _own_invoice(self, place: int, connection: Connection) -> str | None:
        own = [uid for uid in self._some(connection, "Invoice") if self.ledger[uid].maker == place]
        return self._dice.choice(own) if own else None

    def _id(self, connection: Connection, kind: str, uid: str) -> int:
        return int(connection.execute(f'SELECT "id" FROM "{kind}" WHERE "uid" = ?', (uid,)).fetchall()[0][0])

    # Numbers

    def _number(self, place: int, connection: Connection, kind: str) -> int:
        """A number that a document of this site had and none has now, or a new one."""
        # SQLite does not tell transactions apart that follow at once: a row that goes and comes is one that changed.
        freed = [each for each in self._freed[place][kind] if time.monotonic() - each[1] > APART_SECONDS]
        if freed and self._dice.random() < 0.7:
            number, at = self._dice.choice(freed)
            self._freed[place][kind].remove((number, at))
            if connection.execute(f'SELECT 1 FROM "{kind}" WHERE "id" = ?', (number,)).fetchall() == []:
                return number
        return self._fresh(place, connection, kind)

    def _fresh(self, place: int, connection: Connection, kind: str) -> int:
        if place not in self._naming:
            self._next[place] += 1
            return place * RANGE + self._next[place]
        return int(connection.execute(f'SELECT coalesce(max("id"), 0) + 1 FROM "{kind}"').fetchall()[0][0])

    def _free(self, place: int, kind: str, number: int) -> None:
        """Where sites share the numbers, only the one that gave a number uses it again."""
        if place in self._naming or number // RANGE == place:
            self._freed[place][kind].append((number, time.monotonic()))


def here(site: Site, *, numbers: bool) -> dict[str, Any]:
    """What a site holds, by the texts that the test gave; with `numbers`, also the documents' numbers."""
    edits = ", ".join(f'd."c{number}"' for number in range(SITES))
    queries = (
        f'SELECT "uid", "id", "shared", \'\', {edits} FROM "Person" d',
        f'SELECT d."uid", d."id", d."shared", p."uid", {edits} FROM "Invoice" d'
        ' LEFT JOIN "Person" p ON p."id" = d."person"',
        'SELECT d."uid", l."uid", "quantity" FROM "Line" l JOIN "Invoice" d ON d."id" = "invoice"',
    )
    with site.connection() as connection:
        connection.execute("BEGIN")  # all of one moment
        people, invoices, lines = (connection.execute(query).fetchall() for query in queries)
        connection.execute("COMMIT")
    found: dict[str, Any] = {}
    for uid, number, shared, person, *edited in (*people, *invoices):
        assert uid not in found, f"{site.name} has {uid} twice"
        found[uid] = (number if numbers else 0, shared, edited, person, {})
    for uid, line, quantity in lines:
        assert line not in found[uid][4], f"{site.name} has line {line} twice"
        found[uid][4][line] = quantity
    return found


def as_told(ledger: dict[str, Told], found: dict[str, Any], name: str) -> None:
    """Assert that a site holds what the ledger says."""
    living = {uid: told for uid, told in ledger.items() if not told.is_deleted}
    missing, others = sorted(living.keys() - found.keys()), sorted(found.keys() - living.keys())
    assert not missing, f"{name}: {len(missing)} are missing, such as {missing[:5]}"
    assert not others, f"{name}: {len(others)} should not be there, such as {others[:5]}"
    for uid, told in living.items():
        _, shared, edits, person, lines = found[uid]
        is_here, is_told = (edits, lines), (told.edits, told.lines)
        assert is_here == is_told, f"{name}: {uid} is {is_here}, and should be {is_told}"
        assert person in told.people, f"{name}: {uid} links to {person}, and should to one of {told.people}"
        assert shared in told.shared, f"{name}: {uid}"


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "naming",
    [
        "same_names",
        # Not solved: edits of an invoice are parked where keys of lines that two sites gave meet. Nothing is lost.
        *(pytest.param(name, marks=pytest.mark.xfail(strict=False)) for name in list(NAMED)[1:]),
    ],
)
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_every_site_ends_with_what_the_ledger_says(world: World, topology: str, naming: str) -> None:
    links = TOPOLOGIES[topology]
    names = [f"site{number}" for number in range(1 + max(map(max, links)))]
    sites = [world.site(name, CATALOGUE) for name in names]
    for site in sites:
        for statement in SCHEMA.split(";"):
            site.execute(statement)
    world.connect(
        *(
            Link(sites[consumer], sites[producer], TYPES, {"use_same_name": consumer not in NAMED[naming]})
            for consumer, producer in links
        )
    )
    dice = random.Random(f"{topology} {naming}")
    with ExitStack() as opened:
        connections = [opened.enter_context(site.connection()) for site in sites]
        users = Users(connections, dice, NAMED[naming])
        for _ in range(TRANSACTIONS):
            users.act()
            chance = dice.random()
            if chance < 0.02:
                disturb(dice.choice(sites), dice)
            elif chance < 0.3:
                time.sleep(dice.random() * 0.02)  # users are no faster, and daemons see what others did
    for site in sites:
        if not site.running:
            site.start(wait=False)
    for site in sites:
        site.wait_until_up()

    def settled() -> bool:
        for site in sites:
            parked = site.rows("SELECT doctype, name, error FROM streamd_parked")
            assert not parked, f"{site.name}: {parked[:3]}"
        found = [here(site, numbers=not NAMED[naming]) for site in sites]
        for site, each in zip(sites, found, strict=True):
            as_told(users.ledger, each, site.name)
            assert each == found[0], f"{site.name} and {sites[0].name} differ"
        return True

    world.eventually(settled, "each site holds what the ledger says", timeout=SETTLED)


def disturb(site: Site, dice: random.Random) -> None:
    """Kill a daemon, or begin one that was killed."""
    if not site.running:
        site.start(wait=False)
    elif dice.random() < 0.5:
        site.kill()
