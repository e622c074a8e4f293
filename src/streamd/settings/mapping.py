"""What Document Type Mappings say of types, before anything is known of their columns. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from streamd.settings.models import MappingSettings, SubscribedDoctype


def remote_doctype(entry: SubscribedDoctype, mappings: Mapping[str, MappingSettings]) -> str:
    """What the producer calls a type that we subscribe to."""
    mapping = mappings.get(entry.mapping) if entry.mapping else None
    return entry.doctype if mapping is None else mapping.remote_doctype


def looked_up(mapping: str, mappings: Mapping[str, MappingSettings]) -> frozenset[str]:
    """The producer's types of which this mapping, or one inside it, finds documents by their values."""
    found: set[str] = set()
    seen: set[str] = set()
    waiting = [mapping]
    while waiting:
        name = waiting.pop()
        if name in seen or name not in mappings:
            continue
        seen.add(name)
        for field in mappings[name].fields:
            if field.mapping is not None:
                waiting.append(field.mapping)
                if field.mapping_type == "Document" and field.default_value is None and field.mapping in mappings:
                    found.add(mappings[field.mapping].remote_doctype)
    return frozenset(found)
