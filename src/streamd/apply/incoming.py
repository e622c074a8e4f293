"""Decodes events as they arrive."""

from __future__ import annotations

from typing import Any

import msgspec

from streamd.apply.plan import Incoming
from streamd.model import Difference, Event, Operation
from streamd.wire import read_json

_DIFFERENCE = msgspec.json.Decoder(Difference, float_hook=float)


def decode(event: Event, producer_site: str, log: str) -> Incoming:
    """An event with its data as values; data that cannot be read is None, and the event will be parked for it."""
    data: Any
    try:
        data = (_DIFFERENCE.decode if event.operation == Operation.UPDATE else read_json)(bytes(event.data))
    except msgspec.DecodeError:
        data = None
    return Incoming(event, data, producer_site, log)
