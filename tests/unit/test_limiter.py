"""Requests are counted per owner, and the count is forgotten at a steady pace."""

from __future__ import annotations

import pytest

from streamd.errors import InvalidRequest
from streamd.serve.connections.authentication import Limiter


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def spend(limiter: Limiter, owner: str, count: int) -> None:
    for _ in range(count):
        limiter.take(owner)


def test_one_request_too_many_is_refused_and_says_when_to_come_back(clock: Clock) -> None:
    limiter = Limiter(30, now=clock)
    spend(limiter, "a", 30)
    with pytest.raises(InvalidRequest) as refused:
        limiter.take("a")
    assert (refused.value.status, refused.value.code) == (429, "too_many_requests")
    assert refused.value.retry_after == 2
    clock.seconds += refused.value.retry_after
    limiter.take("a")


def test_owners_do_not_pay_for_each_other(clock: Clock) -> None:
    limiter = Limiter(10, now=clock)
    spend(limiter, "a", 10)
    limiter.take("b")


def test_quiet_time_is_not_saved_up_beyond_one_minute(clock: Clock) -> None:
    limiter = Limiter(10, now=clock)
    limiter.take("a")
    clock.seconds += 3600
    spend(limiter, "a", 10)
    assert limiter.seconds_until_allowed("a") > 0


def test_the_table_stays_small_however_many_come(clock: Clock) -> None:
    limiter = Limiter(10, max_buckets=50, now=clock)
    for number in range(1000):
        limiter.take(str(number))
    assert len(limiter) == 50
    spend(limiter, "999", 9)
    assert limiter.seconds_until_allowed("999") > 0, "the last one is remembered"
