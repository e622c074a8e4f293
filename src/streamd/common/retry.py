"""All retry policies. Pauses are in seconds, grow exponentially, and have jitter."""

from __future__ import annotations

import random

from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_exponential, wait_random

from streamd.errors import StreamdError

TRANSIENT_FOR = 30.0
"""How long a retryable call is retried before its error is raised."""

PARKED_FIRST = 2.0
PARKED_LONGEST = 300.0
"""A parked event is retried after a few seconds, later at least every five minutes."""

TYPE_LONGEST = 60.0
"""A type that the database refuses is retried at least every minute."""

AWAY_FIRST = 0.5
"""The first pause when a producer does not answer. The longest is the producer's `retry_seconds`."""

LOOP_FIRST = 0.25
LOOP_LONGEST = 10.0
"""A loop of the daemon that failed starts again after a moment, later every ten seconds."""


def transient() -> AsyncRetrying:
    """Retry retryable errors, such as a busy database, for a bounded time; then raise the error itself."""
    return AsyncRetrying(
        retry=retry_if_exception(lambda error: isinstance(error, StreamdError) and error.retryable),
        wait=wait_exponential(multiplier=0.05, max=2) + wait_random(0, 0.1),
        stop=stop_after_delay(TRANSIENT_FOR),
        reraise=True,
    )


def parked_pause(attempts: int) -> float:
    """The pause before a parked event is retried after this many attempts."""
    return _pause(attempts, PARKED_FIRST, PARKED_LONGEST, jitter=1)


def type_pause(attempts: int) -> float:
    """The pause before a type is retried that the database refused this many times."""
    return _pause(attempts, PARKED_FIRST, TYPE_LONGEST, jitter=1)


def away_pause(failures: int, longest: float) -> float:
    """The pause before a producer is contacted again after this many failures in a row."""
    return min(_pause(failures, AWAY_FIRST, longest, jitter=AWAY_FIRST), longest)


def loop_pause(failures: int) -> float:
    """The pause before a loop starts again after this many failures in a row."""
    return _pause(failures, LOOP_FIRST, LOOP_LONGEST, jitter=LOOP_FIRST)


def _pause(attempt: int, first: float, longest: float, *, jitter: float) -> float:
    doublings = min(max(attempt - 1, 0), 30)
    return min(first * (1 << doublings), longest) + random.uniform(0, jitter)  # noqa: S311  # jitter is no secret
