"""Keys, handshakes and decisions, on every engine that can keep the state."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

import pytest
from sqlalchemy import select

from streamd.errors import InvalidRequest, NotFound, StreamdError
from streamd.store.engine import State
from streamd.store.peers import Peers
from streamd.store.schema import metadata
from streamd.update_log import UpdateLog
from tests.support.sites.serving import CONSUMER, OTHER, entry

OFFERS = frozenset({"Invoice", "Customer"})


@dataclass(frozen=True)
class Wish:
    doctype: str
    unsubscribe: bool = False
    condition: str = ""
    lookups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Hello:
    """A handshake."""

    doctypes: tuple[Wish, ...]
    site: str = CONSUMER
    name: str = "Store 1"
    version: str = "0.1.0"
    trial: bool = False


def hello(*doctypes: str, site: str = CONSUMER) -> Hello:
    return Hello(tuple(Wish(each) for each in doctypes), site)


@pytest.fixture
def peers(state: State) -> Peers:
    return Peers(state)


async def statuses(peers: Peers, consumer: str = "store") -> dict[str, str]:
    return {row.doctype: row.status for row in await peers.approvals(consumer)}


async def intervals(peers: Peers) -> dict[str, int]:
    """The store's approved types, with the sequences after which it may read them."""
    rows = await peers.approvals("store")
    return {row.doctype: row.from_sequence or 0 for row in rows if row.status == "Approved"}


async def opened(peers: Peers) -> set[str]:
    """The store's approved types, and those that their approvals open."""
    rows = [row for row in await peers.approvals("store") if row.status == "Approved"]
    return {row.doctype for row in rows}.union(*(row.opens for row in rows))


async def test_only_the_hash_of_a_secret_is_stored(peers: Peers, state: State) -> None:
    api_key, secret = await peers.create_key("store")
    assert len(secret) * 6 >= 256
    async with state.read() as connection:
        rows = [(await connection.execute(select(table))).all() for table in metadata.sorted_tables]
    dump = repr(rows)
    assert api_key in dump
    assert secret not in dump


async def test_a_credential_is_the_right_secret_for_the_right_key(peers: Peers) -> None:
    api_key, secret = await peers.create_key("store")
    other_key, other_secret = await peers.create_key("till")
    assert await peers.authenticate(api_key, secret) == "store"
    for wrong in [(api_key, other_secret), (other_key, secret), ("unknown", secret), (api_key, ""), ("", "")]:
        assert await peers.authenticate(*wrong) is None
    for hostile in ("\x00", "é", "a" * 10_000, "\udc80", "' OR 1=1 --"):
        assert await peers.authenticate(hostile, hostile) is None


async def test_keys_are_rotated_through_two_active_ones(peers: Peers) -> None:
    old, old_secret = await peers.create_key("store")
    new, new_secret = await peers.create_key("store")
    with pytest.raises(StreamdError, match="2 active keys") as refused:
        await peers.create_key("store")
    assert "keys revoke" in refused.value.hint
    await peers.create_key("till")
    assert await peers.authenticate(old, old_secret) == await peers.authenticate(new, new_secret) == "store"
    await peers.revoke_key(old)
    assert await peers.authenticate(old, old_secret) is None
    assert await peers.standing(old) is None
    assert await peers.authenticate(new, new_secret) == "store"
    await peers.create_key("store")
    assert [key.active for key in await peers.keys() if key.consumer == "store"] == [False, True, True]


async def test_revoking_an_unknown_key_is_said(peers: Peers) -> None:
    with pytest.raises(NotFound, match="no key nonsense"):
        await peers.revoke_key("nonsense")


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "\x1b[31m", "x" * 141])
async def test_a_name_that_no_terminal_should_show_gets_no_key(peers: Peers, name: str) -> None:
    with pytest.raises(StreamdError, match="is not a valid name"):
        await peers.create_key(name)


async def test_use_is_noted_but_not_written_at_every_request(peers: Peers) -> None:
    api_key, secret = await peers.create_key("store")
    await peers.authenticate(api_key, secret)
    (first,) = await peers.keys()
    assert first.last_used_at is not None
    await peers.authenticate(api_key, secret)
    assert await peers.keys() == [first]


async def test_a_handshake_makes_pending_what_it_names_and_unsubscribes_what_it_does_not(peers: Peers) -> None:
    rows = await peers.register("store", hello("Invoice", "Customer"), {"Invoice": ["Customer"]})
    assert [(row.doctype, row.status, row.opens) for row in rows] == [
        ("Customer", "Pending", ()),
        ("Invoice", "Pending", ("Customer",)),
    ]
    await peers.approve("store", None, offers=OFFERS)
    await peers.register("store", Hello((Wish("Invoice", unsubscribe=True),)), {})
    assert await statuses(peers) == {"Invoice": "Unsubscribed", "Customer": "Unsubscribed"}
    await peers.register("store", hello("Invoice"), {})
    assert await statuses(peers) == {"Invoice": "Pending", "Customer": "Unsubscribed"}


async def test_another_condition_has_to_be_approved_anew_and_begins_there(peers: Peers, state: State) -> None:
    log = UpdateLog(state)
    head = await log.begin()
    india = Hello((Wish("Invoice", condition="doc.country == 'IN'", lookups=("Lead", "Customer")),))
    (asked,) = await peers.register("store", india, {})
    assert (asked.status, asked.condition, asked.lookups) == ("Pending", "doc.country == 'IN'", ("Customer", "Lead"))
    await peers.approve("store", None, offers=OFFERS)
    assert (await peers.register("store", india, {}))[0].status == "Approved"
    await log.append(1, "", [entry("Invoice", 1)], log=head.log)
    (asked,) = await peers.register("store", hello("Invoice"), {})
    assert (asked.status, asked.condition, asked.lookups) == ("Pending", "", ())
    (approved,) = await peers.approve("store", None, offers=OFFERS)
    assert (approved.from_sequence, approved.resumed) == (1, True)


async def test_only_the_approval_that_cannot_be_judged_is_suspended(peers: Peers) -> None:
    await peers.register("store", Hello((Wish("Invoice", condition="doc.gone"), Wish("Customer"))), {})
    (_, before) = await peers.approve("store", None, offers=OFFERS)
    await peers.suspend("store", replace(before, condition="doc.another"))
    assert await statuses(peers) == {"Customer": "Approved", "Invoice": "Approved"}
    await peers.suspend("store", before)
    assert await statuses(peers) == {"Customer": "Approved", "Invoice": "Pending"}
    (again,) = await peers.approve("store", None, offers=OFFERS)
    assert again.resumed


async def test_what_was_never_decided_does_not_pile_up(peers: Peers) -> None:
    for turn in range(3):
        names = [f"made up {turn} {number}" for number in range(900)]
        rows = await peers.register("store", hello(*names, "Invoice"), {})
    assert len(rows) <= 1001
    assert "Invoice" in {row.doctype for row in rows}


async def test_one_site_is_one_consumer(peers: Peers) -> None:
    await peers.register("store", hello("Invoice"), {})
    with pytest.raises(InvalidRequest, match="under another name") as other_name:
        await peers.register("till", hello("Invoice"), {})
    with pytest.raises(InvalidRequest, match="is another site") as other_site:
        await peers.register("store", hello("Invoice", site=OTHER), {})
    for refused in (other_name.value, other_site.value):
        assert (refused.status, refused.code) == (409, "duplicate_site")
    assert [consumer.name for consumer in await peers.consumers()] == ["store"]


async def test_approval_begins_at_the_logs_end(peers: Peers, state: State) -> None:
    log = UpdateLog(state)
    head = await log.begin()
    await log.append(1, "", [entry("Invoice", 1), entry("Invoice", 2)], log=head.log)
    await peers.register("store", hello("Invoice", "Customer"), {})
    (approved,) = await peers.approve("store", ["Invoice"], offers=OFFERS)
    assert (approved.log, approved.from_sequence, approved.status) == (head.log, 2, "Approved")
    await log.append(2, "", [entry("Invoice", 3)], log=head.log)
    assert await peers.approve("store", ["Invoice"], offers=OFFERS) == []
    assert await intervals(peers) == {"Invoice": 2}
    assert await peers.approved_doctypes() == {"Invoice"}


async def test_an_approval_opens_what_its_links_name(peers: Peers) -> None:
    await peers.register("store", hello("Invoice", "Customer"), {"Invoice": ["Employee"]})
    assert await opened(peers) == set()
    await peers.approve("store", ["Invoice"], offers=OFFERS)
    assert await opened(peers) == {"Invoice", "Employee"}


async def test_a_type_that_was_not_offered_for_a_while_needs_no_second_approval(peers: Peers) -> None:
    asked = hello("Invoice")
    await peers.register("store", asked, {"Invoice": ["Customer", "Employee"]})
    await peers.approve("store", None, offers=OFFERS)
    await peers.register("store", asked, {})
    await peers.register("store", asked, {"Invoice": ["Customer", "Employee"]})
    assert await statuses(peers) == {"Invoice": "Approved"}
    await peers.register("store", asked, {})
    await peers.register("store", asked, {"Invoice": ["Customer", "Employee", "Salary"]})
    assert await statuses(peers) == {"Invoice": "Pending"}


async def test_what_is_not_offered_cannot_be_approved(peers: Peers) -> None:
    await peers.register("store", hello("Invoice", "Payroll"), {})
    with pytest.raises(StreamdError, match="requests Payroll, but this site does not offer it"):
        await peers.approve("store", ["Payroll"], offers=OFFERS)
    assert [row.doctype for row in await peers.approve("store", None, offers=OFFERS)] == ["Invoice"]
    with pytest.raises(StreamdError, match="requests Payroll, but this site does not offer it"):
        await peers.approve("store", None, offers=OFFERS)
    await peers.reject("store", ["Payroll"])
    assert (await statuses(peers))["Payroll"] == "Rejected"


async def test_what_was_unsubscribed_cannot_be_approved(peers: Peers) -> None:
    await peers.register("store", Hello((Wish("Invoice", unsubscribe=True),)), {})
    with pytest.raises(StreamdError, match="has unsubscribed from Invoice"):
        await peers.approve("store", ["Invoice"], offers=OFFERS)


async def test_decisions_about_what_is_not_there_say_so(peers: Peers) -> None:
    with pytest.raises(NotFound, match="no consumer nobody"):
        await peers.approve("nobody", None, offers=OFFERS)
    await peers.register("store", hello("Invoice"), {})
    with pytest.raises(NotFound, match="has not requested Customer") as refused:
        await peers.approve("store", ["Customer"], offers=OFFERS)
    assert "Invoice" in refused.value.hint
    await peers.reject("store", None)
    with pytest.raises(NotFound, match="store has no Pending types"):
        await peers.approve("store", None, offers=OFFERS)
    with pytest.raises(NotFound, match="no consumer nobody"):
        await peers.remove("nobody")


async def test_a_rejected_type_can_be_approved_and_an_approved_one_rejected(peers: Peers) -> None:
    await peers.register("store", hello("Invoice"), {})
    for _ in range(2):
        await peers.reject("store", ["Invoice"])
        assert await intervals(peers) == {}
        await peers.approve("store", ["Invoice"], offers=OFFERS)
        assert await intervals(peers) == {"Invoice": 0}


async def test_removing_a_consumer_takes_its_keys_and_approvals(peers: Peers) -> None:
    api_key, secret = await peers.create_key("store")
    kept_key, kept_secret = await peers.create_key("till")
    await peers.register("store", hello("Invoice"), {})
    await peers.register("till", hello("Invoice", site=OTHER), {})
    await peers.approve("store", None, offers=OFFERS)
    await peers.remove("store")
    assert await peers.authenticate(api_key, secret) is None
    assert await peers.authenticate(kept_key, kept_secret) == "till"
    assert [consumer.name for consumer in await peers.consumers()] == ["till"]
    assert await peers.approvals("store") == []
    assert await peers.approved_doctypes() == set()
    await peers.register("store", hello("Invoice", site=CONSUMER), {})
    assert await statuses(peers) == {"Invoice": "Pending"}


async def test_an_acknowledgement_only_ever_grows(peers: Peers) -> None:
    await peers.register("store", hello("Invoice"), {})
    for sequence, log in [(5, "first"), (3, "first"), (9, "first"), (2, "second")]:
        await peers.acknowledge("store", sequence, log)
    (consumer,) = await peers.consumers()
    assert (consumer.acknowledged, consumer.acknowledged_log) == (2, "second")
    await peers.acknowledge("store", 1, "second")
    assert (await peers.consumers())[0].acknowledged == 2


async def test_sites_that_share_a_state_database_do_not_see_each_other(peers: Peers, neighbour: State) -> None:
    api_key, secret = await peers.create_key("store")
    await peers.register("store", hello("Invoice"), {})
    await peers.approve("store", None, offers=OFFERS)
    others = Peers(neighbour)
    assert await others.authenticate(api_key, secret) is None
    assert await others.standing(api_key) is None
    assert await others.consumers() == []
    assert await others.approved_doctypes() == set()
    with pytest.raises(NotFound):
        await others.revoke_key(api_key)
    with pytest.raises(NotFound):
        await others.remove("store")
    assert await peers.approved_doctypes() == {"Invoice"}


async def test_a_third_key_is_refused_also_to_those_who_ask_at_the_same_moment(state: State, other: State) -> None:
    asked = [Peers(each).create_key("store") for each in (state, other) for _ in range(4)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(answer, tuple) for answer in answers) == 2
    assert all(isinstance(answer, tuple) or "2 active keys" in str(answer) for answer in answers), answers


async def test_of_two_handshakes_at_the_same_moment_each_is_kept(state: State, other: State) -> None:
    await asyncio.gather(
        Peers(state).register("store", hello("Invoice", site=CONSUMER), {}),
        Peers(other).register("till", hello("Invoice", site=OTHER), {}),
        Peers(other).register("store", hello("Invoice", site=CONSUMER), {}),
    )
    assert [consumer.name for consumer in await Peers(state).consumers()] == ["store", "till"]
