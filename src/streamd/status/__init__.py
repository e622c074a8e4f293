"""How a site is doing, as one value: for the command line, and for whatever else shows it."""

from streamd.status.judging import MAX_AGE, STARTING_OR_ELSEWHERE, Limits, attention
from streamd.status.reading import is_running, read_status
from streamd.status.values import Completeness, ConsumerStatus, Life, ProducerStatus, Status, TypeStatus

__all__ = [
    "MAX_AGE",
    "STARTING_OR_ELSEWHERE",
    "Completeness",
    "ConsumerStatus",
    "Life",
    "Limits",
    "ProducerStatus",
    "Status",
    "TypeStatus",
    "attention",
    "is_running",
    "read_status",
]
