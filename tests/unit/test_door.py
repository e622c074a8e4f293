"""Who may be connected: strangers have few places and little time, and take neither from those who have a key."""

from __future__ import annotations

import pytest

from streamd.serve.connections.door import (
    HEAD_SECONDS,
    IDLE_SECONDS,
    KEY_CONNECTIONS,
    REQUEST_SECONDS,
    UNREAD_SECONDS,
    Door,
    Places,
    Visitor,
    places_for,
)


class Hall:
    """A door, the clock on its wall, and who was sent away."""

    def __init__(self, *, all: int = 20, strangers: int = 6, address: int = 4) -> None:
        self.now = 100.0
        self.door = Door(Places(all, strangers, address), now=lambda: self.now)
        self.ended: list[str] = []
        self.unread: dict[str, int] = {}

    def come(self, name: str, address: str = "far") -> Visitor:
        visitor = Visitor(address, lambda: self.ended.append(name), lambda: self.unread.get(name, 0))
        if not self.door.arrived(visitor):
            self.ended.append(f"no place for {name}")
        return visitor

    def consumer(self, name: str, key: str = "key", address: str = "near") -> Visitor:
        visitor = self.come(name, address)
        self.door.began(visitor)
        self.door.is_known(visitor, key)
        self.door.ended(visitor)
        return visitor

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.door.sweep()


@pytest.fixture
def hall() -> Hall:
    return Hall()


def test_one_address_has_so_many_places_for_strangers_and_the_newest_stay(hall: Hall) -> None:
    for number in range(10):
        hall.come(str(number))
    assert hall.ended == [str(number) for number in range(6)]
    assert len(hall.door) == 4


def test_where_many_addresses_come_the_most_crowded_one_gives_way(hall: Hall) -> None:
    for number in range(4):
        hall.come(f"far {number}")
    hall.come("other", "other")
    hall.come("third", "third")
    hall.come("honest", "near")
    assert hall.ended == ["far 0"]


def test_who_has_sent_a_whole_head_does_not_give_way_to_who_has_not(hall: Hall) -> None:
    asking = hall.come("asking")
    hall.door.began(asking)
    for number in range(50):
        hall.come(str(number))
    assert "asking" not in hall.ended
    hall.door.is_known(asking, "key")
    assert len(hall.door) == 4


def test_a_consumer_keeps_its_connection_whoever_knocks(hall: Hall) -> None:
    hall.consumer("store")
    for number in range(100):
        hall.come(str(number), f"address {number}")
    hall.later(HEAD_SECONDS + 1)
    assert "store" not in hall.ended
    assert len(hall.door) == 1


def test_consumers_behind_the_strangers_address_come_in_and_stay() -> None:
    hall = Hall(all=400)
    for number in range(300):
        hall.come(f"stranger {number}")
        hall.consumer(f"store {number}", f"key {number}", "far")
    assert [name for name in hall.ended if name.startswith(("store", "no place"))] == []
    assert len(hall.door) <= 304


def test_where_all_places_are_consumers_nobody_comes_in_and_nobody_goes(hall: Hall) -> None:
    for number in range(20):
        hall.consumer(f"store {number}", f"key {number}")
    hall.come("late")
    assert hall.ended == ["no place for late"]
    assert len(hall.door) == 20


def test_a_head_that_does_not_come_ends_the_connection(hall: Hall) -> None:
    hall.come("slow")
    hall.later(HEAD_SECONDS - 1)
    assert hall.ended == []
    hall.later(2)
    assert hall.ended == ["slow"]
    assert len(hall.door) == 0


def test_a_request_of_a_strangers_has_its_time_and_no_more(hall: Hall) -> None:
    visitor = hall.come("curious")
    hall.door.began(visitor)
    hall.unread["curious"] = 10_000
    for left in range(9_999, 0, -1000):
        hall.unread["curious"] = left
        hall.later(REQUEST_SECONDS / 8)
    assert hall.ended == ["curious"]


def test_a_long_poll_may_last_and_an_idle_connection_may_not(hall: Hall) -> None:
    store = hall.consumer("store")
    hall.door.began(store)
    hall.later(10_000)
    assert hall.ended == []
    hall.door.ended(store)
    hall.later(IDLE_SECONDS - 1)
    assert hall.ended == []
    hall.later(2)
    assert hall.ended == ["store"]


def test_an_answer_may_take_long_on_a_slow_line_as_long_as_something_moves(hall: Hall) -> None:
    hall.consumer("store")
    for left in range(1_000_000, 0, -20_000):
        hall.unread["store"] = left
        hall.later(UNREAD_SECONDS - 1)
    assert hall.ended == []
    hall.later(UNREAD_SECONDS + 1)
    assert hall.ended == ["store"], "nobody reads any more"


def test_one_key_has_so_many_connections_and_the_oldest_goes() -> None:
    hall = Hall(all=1000)
    for number in range(KEY_CONNECTIONS + 3):
        hall.consumer(str(number))
    assert hall.ended == ["0", "1", "2"]


def test_a_connection_that_a_proxy_shares_among_keys_counts_for_the_last_one(hall: Hall) -> None:
    shared = hall.consumer("proxy", "one")
    hall.door.is_known(shared, "other")
    assert len(hall.door) == 1
    hall.door.gone(shared)
    assert len(hall.door) == 0


def test_what_is_gone_is_not_ended_again_and_does_not_come_back(hall: Hall) -> None:
    visitor = hall.come("short")
    hall.door.gone(visitor)
    hall.door.gone(visitor)
    hall.door.is_known(visitor, "key")
    hall.later(HEAD_SECONDS + 1)
    assert hall.ended == []
    assert len(hall.door) == 0


def test_where_the_system_has_no_descriptor_a_stranger_goes(hall: Hall) -> None:
    hall.door.make_room()
    hall.consumer("store")
    hall.come("stranger")
    hall.door.make_room()
    hall.door.make_room()
    assert hall.ended == ["stranger"]


@pytest.mark.parametrize("descriptors", [256, 1024, 4096, 16_384, 1_000_000])
def test_descriptors_are_kept_for_databases_however_many_come(descriptors: int) -> None:
    places = places_for(descriptors)
    assert places.all <= descriptors - 128
    assert 0 < places.address <= places.strangers < places.all
