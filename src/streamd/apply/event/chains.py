"""Events of one document within one transaction of its producer, where it changes its name: one event. Pure.

Two documents that exchange their names do so by way of a third name. Nobody outside that transaction ever saw it, and
what each of them held in between may be the other one's still.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from streamd.apply.event.folding import net_effect
from streamd.apply.event.incoming import Incoming
from streamd.apply.event.mapping import MappedType
from streamd.apply.source import Ref
from streamd.model import Catalogue, Operation


def joined(events: Sequence[Incoming], catalogue: Catalogue, mapped: Mapping[str, MappedType]) -> list[Incoming]:
    """These events, where several of one transaction that rename a document stand as one at the last one's place."""
    found: list[Incoming] = []
    for _, some in groupby(events, key=lambda each: each.event.tx):
        together = list(some)
        if sum(each.event.renamed_from is not None for each in together) > 1:
            together = _joined_in_one(together, catalogue, mapped)
        found += together
    return found


def _joined_in_one(
    events: Sequence[Incoming], catalogue: Catalogue, mapped: Mapping[str, MappedType]
) -> list[Incoming]:
    chains: list[list[int]] = []
    now: dict[Ref, list[int]] = {}
    for place, each in enumerate(events):
        event = each.event
        chain = now.pop((event.doctype, event.renamed_from or event.name), None)
        if chain is None:
            chains.append(chain := [])
        chain.append(place)
        now[(event.doctype, event.name)] = chain
    result: dict[int, Incoming] = dict(enumerate(events))
    for chain in chains:
        some = [events[place] for place in chain]
        if len(some) == 1 or all(each.event.renamed_from is None for each in some):
            continue
        net = net_effect(some, catalogue, mapped) if _are_updates(some) else None
        if net is None:
            return list(events)
        result = {place: each for place, each in result.items() if place not in chain} | {chain[-1]: net}
    if len(result) == len(events):
        return list(events)
    return [_at_once(result[place]) for place in sorted(result)]


def _at_once(incoming: Incoming) -> Incoming:
    return replace(incoming, at_once=incoming.event.renamed_from is not None)


def _are_updates(events: Sequence[Incoming]) -> bool:
    return all(each.event.operation == Operation.UPDATE and not each.event.enters and not each.fault for each in events)
