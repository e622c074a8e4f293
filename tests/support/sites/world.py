"""All sites of one test: makes, connects, copies and ends them, and reports on them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from tests.support import servers
from tests.support.compare import contained_rows, same_rows
from tests.support.database_url import DatabaseUrl, Engine
from tests.support.polling import eventually
from tests.support.sites.site import Producer, Site
from tests.support.sites.wanted import Wanted, wanted

T = TypeVar("T")


class Link(NamedTuple):
    """A subscription of one site to types of another."""

    consumer: Site
    producer: Site
    doctypes: Sequence[str | Wanted]
    settings: dict[str, Any] | None = None
    """More of the producer's table in the consumer's file."""

    @property
    def there(self) -> set[str]:
        """What the producer calls the types."""
        return {wanted(doctype).there for doctype in self.doctypes}


class World:
    """The sites of one test, below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sites: list[Site] = []

    def site(
        self, name: str, catalogue: str, template: DatabaseUrl | None = None, *, engine: Engine | None = None
    ) -> Site:
        """A new site; its database is a copy of `template`, or else an empty one of `engine`."""
        engine = engine or (template.engine if template is not None else "sqlite")
        site = Site(self.folder / name, name, catalogue, template, engine=engine)
        self.sites.append(site)
        return site

    def copy(self, templates: Sequence[Site]) -> list[Site]:
        """Copies of stopped sites, connected among themselves as the templates are, on ports of their own."""
        copies: dict[str, Site] = {}
        for template in templates:
            assert not template.running, "only stopped sites can be copied"
            shutil.copytree(template.folder, self.folder / template.name)
            made = Site(
                self.folder / template.name,
                template.name,
                template.catalogue,
                template.access.database,
                engine=template.engine,
            )
            made.log.unlink(missing_ok=True)
            made.offers, made.extra = template.offers, template.extra
            copies[template.name] = made
        for template in templates:
            copies[template.name].producers = {
                name: replace(producer, site=copies[name], settings=dict(producer.settings))
                for name, producer in template.producers.items()
            }
        for made in copies.values():
            made.write_config()
            self.sites.append(made)
        return list(copies.values())

    def subscribe(self, *links: Link) -> None:
        """Make a key at each producer, put it into the consumer's file, start all, and wait for Pending."""
        sites = [site for site in self.sites if any(site in (link.consumer, link.producer) for link in links)]
        for site in sites:
            site.write_config()
            if not site.installed:
                site.cli("install")
        for link in links:
            consumer, producer = link.consumer, link.producer
            key = producer.json("keys", "create", "--for", consumer.name)
            consumer.producers[producer.name] = Producer(
                producer, key["api_key"], key["api_secret"], tuple(link.doctypes), settings=link.settings or {}
            )
        for site in sites:
            site.stop()
            site.start(wait=False)
        for site in sites:
            site.wait_until_up()
        for link in links:
            self.eventually(
                lambda link=link: link.there <= set(approvals(link.producer, link.consumer)),
                f"{link.producer.name} lists what {link.consumer.name} asks for",
            )

    def connect(self, *links: Link) -> None:
        """Subscribe, approve, and wait until each consumer knows that it is approved."""
        self.subscribe(*links)
        for link in links:
            link.producer.cli("consumers", "approve", link.consumer.name)
        for link in links:
            self.eventually(
                lambda link=link: all(
                    subscriptions(link.consumer, link.producer).get(wanted(doctype).doctype) == "Approved"
                    for doctype in link.doctypes
                ),
                f"{link.consumer.name} knows that it is approved at {link.producer.name}",
            )

    def eventually(self, condition: Callable[[], T], what: str, timeout: float = 10.0) -> T:
        """Wait for a condition; a failure shows status, parked events and logs of every site."""
        return eventually(condition, what, timeout=timeout, report=self.report)

    def equal(self, one: Site, other: Site, tables: dict[str, str], timeout: float = 10.0) -> None:
        """Wait until two sites have equal rows."""
        self.eventually(
            lambda: same_rows(one, other, tables),
            f"{one.name} and {other.name} are equal in {list(tables)}",
            timeout,
        )

    def contained(self, part: Site, whole: Site, tables: dict[str, str], timeout: float = 10.0) -> None:
        """Wait until each row of `part` is in `whole`."""
        self.eventually(lambda: contained_rows(part, whole, tables), f"{part.name} is a part of {whole.name}", timeout)

    def caught_up(self, consumer: Site, producer: Site, timeout: float = 10.0) -> None:
        """Wait until all that the producer's users committed was applied, or parked."""

        def done() -> bool:
            waiting = producer.access.waiting_changes()
            assert waiting == 0, f"{producer.name} has yet to capture {waiting} changes"
            # What is taken there is logged a moment later.
            taken = producer.value("SELECT batch FROM streamd_capture")
            log, logged = producer.state_rows("SELECT log, batch FROM log_head")[0]
            assert logged == taken, f"{producer.name} has yet to log batch {taken}"
            # What has been at the consumer is not for it.
            site = consumer.value("SELECT site FROM streamd_site")
            (last,) = producer.state_rows(
                "SELECT coalesce(max(sequence), 0) FROM update_log WHERE path NOT LIKE '%' || ? || '%'", site
            )[0]
            place = consumer.rows(
                "SELECT log, sequence FROM streamd_checkpoint WHERE producer = ?",
                producer.value("SELECT site FROM streamd_site"),
            )
            assert place, f"{consumer.name} has applied nothing of {producer.name} yet"
            assert place[0][0] == log, f"{consumer.name} reads another log of {producer.name}"
            assert place[0][1] >= last, f"{consumer.name} applied up to {place[0][1]} of {last}"
            return True

        self.eventually(done, f"{consumer.name} has everything of {producer.name}", timeout)

    def report(self) -> str:
        return "\n".join(site.report() for site in self.sites)

    def stop(self) -> None:
        """End every daemon in the proper way."""
        for site in self.sites:
            site.stop()

    def close(self) -> None:
        """End whatever still runs."""
        for site in self.sites:
            site.kill()

    def drop(self) -> None:
        """Drop the databases of its sites on servers: nobody copies these sites any more."""
        for site in self.sites:
            if site.engine != "sqlite":
                servers.drop_database(site.access.database)


def approvals(producer: Site, consumer: Site) -> dict[str, str]:
    """What the producer's operator decided for a consumer: type → status."""
    rows = producer.state_rows("SELECT doctype, status FROM approvals WHERE consumer = ?", consumer.name)
    return dict(rows)


def subscriptions(consumer: Site, producer: Site) -> dict[str, str]:
    """What the consumer knows of its subscriptions at a producer: type → status."""
    rows = consumer.state_rows("SELECT doctype, status FROM subscriptions WHERE producer = ?", producer.name)
    return dict(rows)


def update_log(site: Site, doctype: str | None = None) -> list[tuple[Any, ...]]:
    """(sequence, doctype, name, operation) of a site's Event Update Log, in order."""
    where, values = ("WHERE doctype = ?", (doctype,)) if doctype else ("", ())
    return site.state_rows(
        f"SELECT sequence, doctype, name, operation FROM update_log {where} ORDER BY sequence", *values
    )


def nothing_synced_twice(consumer: Site) -> None:
    """Assert that no event stands twice as Synced in the sync log, and that each document's are in order.

    Documents that came for the sake of others, and events that were applied later than they came, have an order
    of their own.
    """
    rows = consumer.state_rows(
        "SELECT producer, doctype, remote_docname, sequence, update_type, note FROM sync_log"
        " WHERE status = 'Synced' AND (batch IS NULL OR batch NOT IN (SELECT id FROM sync_batch)) ORDER BY id"
    )
    seen: set[tuple[Any, ...]] = set()
    last: dict[tuple[Any, ...], int] = {}
    for *event, note in rows:
        assert tuple(event) not in seen, f"{consumer.name}: synced twice: {event}"
        seen.add(tuple(event))
        if note.startswith(("needed by", "applied later")):
            continue
        document, sequence = tuple(event[:3]), event[3]
        before = last.get(document, 0)
        assert before <= sequence, f"{consumer.name}: out of order: {event} after {before}"
        last[document] = sequence
