"""Requests are counted per owner, in token buckets that refill at a steady rate."""

from __future__ import annotations

import pytest

from streamd.errors import InvalidRequest
from streamd.serve.connections.authentication import Limiter


class Clock:
    """A clock that the test moves."""

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


def test_a_request_over_the_limit_is_refused_with_the_time_to_retry(clock: Clock) -> None:
    limiter = Limiter(30, now=clock)
    spend(limiter, "a", 30)
    with pytest.raises(InvalidRequest) as refused:
        limiter.take("a")
    assert (refused.value.status, refused.value.code) == (429, "too_many_requests")
    assert refused.value.retry_after == 2
    clock.seconds += refused.value.retry_after
    limiter.take("a")


def test_owners_have_separate_limits(clock: Clock) -> None:
    limiter = Limiter(10, now=clock)
    spend(limiter, "a", 10)
    limiter.take("b")


def test_unused_requests_do_not_accumulate_beyond_one_minute(clock: Clock) -> None:
    limiter = Limiter(10, now=clock)
    limiter.take("a")
    clock.seconds += 3600
    spend(limiter, "a", 10)
    assert limiter.seconds_until_allowed("a") > 0


def test_the_number_of_buckets_is_limited(clock: Clock) -> None:
    limiter = Limiter(10, max_buckets=50, now=clock)
    for number in range(1000):
        limiter.take(str(number))
    assert len(limiter) == 50
    spend(limiter, "999", 9)
    assert limiter.seconds_until_allowed("999") > 0, "the last owner is still tracked"
