"""A model of sites that share documents: whatever is made, renamed, deleted and linked to, an id means one document.

Sites are dictionaries, logs are lists, and the ids are the product's (`streamd.identity`). One may name what it
gets itself, and all pass on what they get. An application keeps its own links right, as foreign keys do.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from streamd.common.values import DocumentId
from streamd.identity import Identities, Identity

CUSTOMER = "Customer"


@dataclass
class Event:
    """`path` are the sites that it has been at; `who` is for the test alone: which document it really is."""

    what: str
    id: DocumentId
    name: str
    clock: str
    path: tuple[str, ...]
    who: str = ""
    birth: str = ""
    invoice: str = ""


@dataclass
class Site:
    name: str
    own_names: bool
    customers: dict[str, str] = field(default_factory=dict)
    born: dict[str, str] = field(default_factory=dict)
    invoices: dict[str, str] = field(default_factory=dict)
    ids: Identities = field(default_factory=Identities)
    log: list[Event] = field(default_factory=list)
    read: dict[str, int] = field(default_factory=dict)
    parked: list[Event] = field(default_factory=list)
    given: int = 0

    def id_here(self, event: Event) -> DocumentId:
        """The event's id as this site knows it: with the site of its birth, or without.

        It may have come by both ways: through a site that names documents itself, and past that.
        """
        plain = DocumentId(event.id.name, event.id.clock)
        qualified = DocumentId(event.id.name, event.id.clock, event.birth)
        if event.birth == self.name:
            return plain
        if self.ids.row(CUSTOMER, qualified) is not None:
            return qualified
        row, here = self.ids.row(CUSTOMER, plain), self.ids.name_of(CUSTOMER, plain)
        if (row is not None and row.gone_at) or (here is not None and self.born.get(str(here[0])) == event.birth):
            return plain
        return qualified if self.own_names or event.id.site else plain

    def apply(self, event: Event) -> bool:
        """Whether it could be applied."""
        id = self.id_here(event)
        here = self.ids.name_of(CUSTOMER, id)
        name = None if here is None else str(here[0])
        if self.ids.is_gone(CUSTOMER, id):
            return event.what != "bill"
        if event.what == "make":
            if name in self.customers:
                return True
            return self._take(event, id)
        if name is None or name not in self.customers:
            return False
        if event.what == "bill":
            self.invoices[event.invoice] = name
        elif event.what == "delete":
            if name in self.invoices.values():
                return False
            del self.customers[name]
            self.ids.put(Identity(CUSTOMER, id, (name,), event.clock, 1))
        elif event.what == "rename" and not self.own_names:
            return self._rename(event, id, name)
        self._log(event, id, name)
        return True

    def _take(self, event: Event, id: DocumentId) -> bool:
        name = event.name
        if self.own_names:
            self.given += 1
            name = f"{self.name}-{self.given}"
        if name in self.customers:
            return False
        self.customers[name], self.born[name] = event.who, event.birth
        self.ids.put(Identity(CUSTOMER, id, (name,), event.clock))
        self._log(event, id, name)
        return True

    def _rename(self, event: Event, id: DocumentId, name: str) -> bool:
        row = self.ids.row(CUSTOMER, id)
        if row is not None and row.clock > event.clock:
            return True
        if event.name in self.customers:
            return name == event.name
        self.move(name, event.name)
        self.ids.put(Identity(CUSTOMER, id, (event.name,), event.clock))
        self._log(event, id, event.name)
        return True

    def move(self, old: str, new: str) -> None:
        self.customers[new], self.born[new] = self.customers.pop(old), self.born.pop(old)
        self.invoices = {invoice: new if name == old else name for invoice, name in self.invoices.items()}

    def _log(self, event: Event, id: DocumentId, name: str) -> None:
        self.log.append(
            Event(event.what, id, name, event.clock, (*event.path, self.name), event.who, event.birth, event.invoice)
        )


class SitesThatShareDocuments(RuleBasedStateMachine):
    @initialize(own=st.sampled_from(["", "c"]), count=st.integers(2, 3))
    def begin(self, own: str, count: int) -> None:
        self.sites = {name: Site(name, name == own) for name in "abc"[:count]}
        if own and count == 2:
            self.sites["b"].own_names = True
        self.clock = 0
        self.meant: dict[str, str] = {}

    def _now(self) -> str:
        self.clock += 1
        return f"{self.clock:06}"

    def _site(self, number: int) -> Site:
        return list(self.sites.values())[number % len(self.sites)]

    @rule(number=st.integers(0, 2), which=st.integers(0, 1))
    def make(self, number: int, which: int) -> None:
        site, clock = self._site(number), self._now()
        name = f"{site.name}{which}"
        if name not in site.customers:
            site.customers[name], site.born[name] = f"{site.name} {clock}", site.name
            id = site.ids.made(CUSTOMER, (name,), clock)
            site.log.append(Event("make", id, name, clock, (site.name,), site.customers[name], site.name))

    @rule(number=st.integers(0, 2), which=st.integers(0, 5), to=st.integers(0, 1))
    def rename(self, number: int, which: int, to: int) -> None:
        site, clock = self._site(number), self._now()
        new = f"{site.name}{to}"
        if site.customers and new not in site.customers:
            old = sorted(site.customers)[which % len(site.customers)]
            id = site.ids.renamed(CUSTOMER, (old,), (new,), clock)
            site.move(old, new)
            site.log.append(Event("rename", id, new, clock, (site.name,), site.customers[new], site.born[new]))

    @rule(number=st.integers(0, 2), which=st.integers(0, 5))
    def delete(self, number: int, which: int) -> None:
        site, clock = self._site(number), self._now()
        free = sorted(site.customers.keys() - set(site.invoices.values()))
        if free:
            name = free[which % len(free)]
            id = site.ids.deleted(CUSTOMER, (name,), clock, 1)
            site.log.append(
                Event("delete", id, name, clock, (site.name,), site.customers.pop(name), site.born.pop(name))
            )

    @rule(number=st.integers(0, 2), which=st.integers(0, 5))
    def bill(self, number: int, which: int) -> None:
        site, clock = self._site(number), self._now()
        if site.customers:
            name = sorted(site.customers)[which % len(site.customers)]
            id = site.ids.of(CUSTOMER, (name,))
            assert id is not None
            invoice = f"{site.name} {clock}"
            site.invoices[invoice] = name
            self.meant[invoice] = site.customers[name]
            site.log.append(
                Event("bill", id, name, clock, (site.name,), site.customers[name], site.born[name], invoice)
            )

    @rule(number=st.integers(0, 2), other=st.integers(0, 2), most=st.integers(1, 4))
    def pull(self, number: int, other: int, most: int) -> None:
        site, producer = self._site(number), self._site(other)
        if site is producer:
            return
        begin = site.read.get(producer.name, 0)
        for event in producer.log[begin : begin + most]:
            if site.name not in event.path and not site.apply(event):
                site.parked.append(event)
        site.read[producer.name] = min(begin + most, len(producer.log))

    @rule(number=st.integers(0, 2))
    def heal(self, number: int) -> None:
        site = self._site(number)
        site.parked = [event for event in site.parked if not site.apply(event)]

    @invariant()
    def links_lead_to_the_documents_that_they_meant(self) -> None:
        for site in getattr(self, "sites", {}).values():
            for invoice, name in site.invoices.items():
                assert site.customers[name] == self.meant[invoice], (site.name, invoice)

    @invariant()
    def a_document_is_at_a_site_once(self) -> None:
        for site in getattr(self, "sites", {}).values():
            assert len(set(site.customers.values())) == len(site.customers), site


SitesThatShareDocuments.TestCase.settings = settings(
    max_examples=settings.default.max_examples, stateful_step_count=40, derandomize=settings.default.derandomize
)
TestSitesThatShareDocuments = SitesThatShareDocuments.TestCase
