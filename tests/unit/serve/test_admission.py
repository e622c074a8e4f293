"""Unauthenticated connections get few places and little time, and never displace a consumer."""

from __future__ import annotations

import pytest

from streamd.serve.connections.admission import (
    HEAD_SECONDS,
    IDLE_SECONDS,
    MAX_KEY_CONNECTIONS,
    REQUEST_SECONDS,
    UNREAD_SECONDS,
    Admission,
    Connection,
    ConnectionLimits,
    limits_for,
)


class Site:
    """Admission with a clock that the test moves, and the connections that were closed."""

    def __init__(self, *, total: int = 20, unauthenticated: int = 6, per_address: int = 4) -> None:
        self.now = 100.0
        self.admission = Admission(ConnectionLimits(total, unauthenticated, per_address), now=lambda: self.now)
        self.closed: list[str] = []
        self.unsent: dict[str, int] = {}

    def connect(self, name: str, address: str = "far") -> Connection:
        connection = Connection(address, lambda: self.closed.append(name), lambda: self.unsent.get(name, 0))
        if not self.admission.admit(connection):
            self.closed.append(f"no room for {name}")
        return connection

    def connect_consumer(self, name: str, key: str = "key", address: str = "near") -> Connection:
        connection = self.connect(name, address)
        self.admission.begin_request(connection)
        self.admission.authenticate(connection, key)
        self.admission.end_request(connection)
        return connection

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.admission.close_overdue()


@pytest.fixture
def site() -> Site:
    return Site()


def test_an_address_has_a_limit_of_unauthenticated_connections_and_the_newest_stay(site: Site) -> None:
    for number in range(10):
        site.connect(str(number))
    assert site.closed == [str(number) for number in range(6)]
    assert len(site.admission) == 4


def test_a_full_server_evicts_from_the_busiest_address(site: Site) -> None:
    for number in range(4):
        site.connect(f"far {number}")
    site.connect("other", "other")
    site.connect("third", "third")
    site.connect("honest", "near")
    assert site.closed == ["far 0"]


def test_a_connection_with_a_complete_head_is_not_evicted_for_one_without(site: Site) -> None:
    asking = site.connect("asking")
    site.admission.begin_request(asking)
    for number in range(50):
        site.connect(str(number))
    assert "asking" not in site.closed
    site.admission.authenticate(asking, "key")
    assert len(site.admission) == 4


def test_a_flood_of_connections_does_not_evict_a_consumer(site: Site) -> None:
    site.connect_consumer("store")
    for number in range(100):
        site.connect(str(number), f"address {number}")
    site.wait(HEAD_SECONDS + 1)
    assert "store" not in site.closed
    assert len(site.admission) == 1


def test_consumers_behind_a_flooding_address_get_in_and_stay() -> None:
    site = Site(total=400)
    for number in range(300):
        site.connect(f"anonymous {number}")
        site.connect_consumer(f"store {number}", f"key {number}", "far")
    assert [name for name in site.closed if name.startswith(("store", "no room"))] == []
    assert len(site.admission) <= 304


def test_a_server_full_of_consumers_admits_no_one_and_evicts_no_one(site: Site) -> None:
    for number in range(20):
        site.connect_consumer(f"store {number}", f"key {number}")
    site.connect("late")
    assert site.closed == ["no room for late"]
    assert len(site.admission) == 20


def test_a_connection_without_a_complete_head_is_closed_in_time(site: Site) -> None:
    site.connect("slow")
    site.wait(HEAD_SECONDS - 1)
    assert site.closed == []
    site.wait(2)
    assert site.closed == ["slow"]
    assert len(site.admission) == 0


def test_an_unauthenticated_request_is_closed_after_its_time_even_if_data_flows(site: Site) -> None:
    connection = site.connect("curious")
    site.admission.begin_request(connection)
    site.unsent["curious"] = 10_000
    for left in range(9_999, 0, -1000):
        site.unsent["curious"] = left
        site.wait(REQUEST_SECONDS / 8)
    assert site.closed == ["curious"]


def test_a_long_poll_stays_open_and_an_idle_connection_is_closed(site: Site) -> None:
    store = site.connect_consumer("store")
    site.admission.begin_request(store)
    site.wait(10_000)
    assert site.closed == []
    site.admission.end_request(store)
    site.wait(IDLE_SECONDS - 1)
    assert site.closed == []
    site.wait(2)
    assert site.closed == ["store"]


def test_a_slow_consumer_stays_connected_while_it_reads(site: Site) -> None:
    site.connect_consumer("store")
    for left in range(1_000_000, 0, -20_000):
        site.unsent["store"] = left
        site.wait(UNREAD_SECONDS - 1)
    assert site.closed == []
    site.wait(UNREAD_SECONDS + 1)
    assert site.closed == ["store"], "the consumer stopped reading"


def test_a_key_has_a_limit_of_connections_and_the_oldest_is_evicted() -> None:
    site = Site(total=1000)
    for number in range(MAX_KEY_CONNECTIONS + 3):
        site.connect_consumer(str(number))
    assert site.closed == ["0", "1", "2"]


def test_a_connection_that_a_proxy_shares_counts_for_the_last_key(site: Site) -> None:
    shared = site.connect_consumer("proxy", "one")
    site.admission.authenticate(shared, "other")
    assert len(site.admission) == 1
    site.admission.remove(shared)
    assert len(site.admission) == 0


def test_a_removed_connection_is_not_closed_again_and_does_not_return(site: Site) -> None:
    connection = site.connect("short")
    site.admission.remove(connection)
    site.admission.remove(connection)
    site.admission.authenticate(connection, "key")
    site.wait(HEAD_SECONDS + 1)
    assert site.closed == []
    assert len(site.admission) == 0


def test_running_out_of_descriptors_evicts_an_unauthenticated_connection(site: Site) -> None:
    site.admission.evict_oldest()
    site.connect_consumer("store")
    site.connect("anonymous")
    site.admission.evict_oldest()
    site.admission.evict_oldest()
    assert site.closed == ["anonymous"]


@pytest.mark.parametrize("descriptors", [256, 1024, 4096, 16_384, 1_000_000])
def test_descriptors_stay_reserved_for_databases(descriptors: int) -> None:
    limits = limits_for(descriptors)
    assert limits.total <= descriptors - 128
    assert 0 < limits.per_address <= limits.unauthenticated < limits.total
