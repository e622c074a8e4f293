"""How much is requested at once, over a connection that breaks."""

from __future__ import annotations

from streamd.pull.peer import MAX_STREAK, RequestSize


def send(size: RequestSize, capacity: int) -> bool:
    """One request over a connection that breaks after `capacity`. Returns whether the answer was complete."""
    if size.current <= capacity:
        size.count_success()
        return True
    size.shrink(size.current)
    return False


def test_requests_shrink_down_to_one() -> None:
    size = RequestSize(1000)
    while size.shrink(size.current):
        pass
    assert size.current == 1
    assert not size.is_full


def test_the_received_part_shows_how_much_gets_through() -> None:
    size = RequestSize(4_000_000)
    assert size.shrink(size.current, 20_000)
    assert size.current == 10_000


def test_the_size_recovers_with_the_connection() -> None:
    size = RequestSize(1000)
    size.shrink(1000)
    for _ in range(2 * MAX_STREAK):
        size.count_success()
    assert size.is_full


def test_most_requests_get_through_a_connection_that_keeps_breaking() -> None:
    size = RequestSize(4_000_000)
    for _ in range(30):
        send(size, 20_000)
    assert sum(send(size, 20_000) for _ in range(400)) > 380
