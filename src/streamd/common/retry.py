"""Every waiting policy, named. Pauses are in seconds, grow exponentially, and have jitter."""

from __future__ import annotations

from typing import Any

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_delay, wait_exponential, wait_random

from streamd.errors import StreamdError

TRANSIENT_FOR = 30.0
"""How long something that may succeed by itself is tried again before its error is reported."""

PARKED_FIRST = 2.0
PARKED_LONGEST = 300.0
"""A parked event is tried again after a few seconds, and later every five minutes at the latest."""

TYPE_LONGEST = 60.0
"""A type that the database refuses as a whole is tried again every minute at the latest."""

AWAY_FIRST = 0.5
"""The first pause after a producer did not answer; the longest is the producer's `retry_seconds`."""

LOOP_FIRST = 0.25
LOOP_LONGEST = 10.0
"""A loop of the daemon that failed begins again after a moment, and later every ten seconds."""


def transient() -> AsyncRetrying:
    """Try again what is retryable (a busy database), for a bounded time; then raise the error itself."""
    return AsyncRetrying(
        retry=retry_if_exception(lambda error: isinstance(error, StreamdError) and error.retryable),
        wait=wait_exponential(multiplier=0.05, max=2) + wait_random(0, 0.1),
        stop=stop_after_delay(TRANSIENT_FOR),
        reraise=True,
    )


def parked_pause(attempts: int) -> float:
    """How long a parked event rests after so many attempts."""
    return _pause(wait_exponential(multiplier=PARKED_FIRST, max=PARKED_LONGEST) + wait_random(0, 1), attempts)


def away_pause(failures: int, longest: float) -> float:
    """How long to wait for a producer after so many failures in a row."""
    policy = wait_exponential(multiplier=AWAY_FIRST, max=longest) + wait_random(0, AWAY_FIRST)
    return min(_pause(policy, failures), longest)


def type_pause(attempts: int) -> float:
    """How long a type rests that the database refused as a whole so many times."""
    return _pause(wait_exponential(multiplier=PARKED_FIRST, max=TYPE_LONGEST) + wait_random(0, 1), attempts)


def loop_pause(failures: int) -> float:
    """How long a loop of the daemon rests after so many failed turns in a row."""
    policy = wait_exponential(multiplier=LOOP_FIRST, max=LOOP_LONGEST) + wait_random(0, LOOP_FIRST)
    return _pause(policy, failures)


def _pause(policy: Any, attempt: int) -> float:
    state = RetryCallState(retry_object=None, fn=None, args=(), kwargs={})  # type: ignore[arg-type]  # only the number counts
    state.attempt_number = max(attempt, 1)
    return float(policy(state))
