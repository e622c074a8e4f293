"""The OpenAPI document describes every message and error, and invalid messages are refused."""

from __future__ import annotations

import json

import msgspec
import pytest

from streamd.serve.openapi import ENDPOINTS, build_document
from streamd.wire import EventsRequest, HandshakeRequest, NameParts, WantedDoctype


def test_every_endpoint_is_documented_with_its_answers_and_errors() -> None:
    described = build_document()
    assert set(described["paths"]) == {endpoint.path for endpoint in ENDPOINTS}
    for endpoint in ENDPOINTS:
        (operation,) = described["paths"][endpoint.path].values()
        assert {str(status) for status in endpoint.errors} | {"200"} == set(operation["responses"])
        assert ("security" in operation) == (endpoint.request is not None)


def test_every_reference_in_the_document_resolves() -> None:
    text = json.dumps(build_document())
    schemas = build_document()["components"]["schemas"]
    named = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert {"Event", "FetchedDocument", "ErrorAnswer"} <= named <= set(schemas)
    assert "$defs" not in text


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (EventsRequest, '{"wait_seconds": NaN}'),
        (EventsRequest, '{"wait_seconds": 1e999}'),
        (EventsRequest, '{"limit": 1' + "0" * 400 + "}"),
        (EventsRequest, '{"limit": true}'),
        (EventsRequest, '{"limit": 0}'),
        (EventsRequest, '{"cursor": "\\ud800"}'),
        (EventsRequest, '{"x":' + "[" * 5000 + "]" * 5000 + "}"),
        (WantedDoctype, '{"doctype": "a\\u0000b"}'),
        (WantedDoctype, '{"doctype": "a\\n"}'),
        (WantedDoctype, '{"doctype": ""}'),
        (WantedDoctype, '{"doctype": "\\u001b[31mred"}'),
        (WantedDoctype, '{"doctype": "a", "condition": "\\u001b[31mred"}'),
        (HandshakeRequest, '{"protocols": [], "site": "x", "name": "a", "doctypes": []}'),
    ],
)
def test_invalid_values_are_refused(model: type[msgspec.Struct], text: str) -> None:
    with pytest.raises((msgspec.DecodeError, RecursionError)):
        msgspec.json.decode(text, type=model)


def test_names_contain_only_numbers_and_text() -> None:
    read = msgspec.json.Decoder(NameParts).decode
    assert read('[1, 2.5, "a"]') == (1, 2.5, "a")
    for wrong in ("[]", "[null]", "[true]", "[[1]]", "[NaN]", "[1e999]", '{"a":1}'):
        with pytest.raises(msgspec.DecodeError):
            read(wrong)
    for number in (float("inf"), float("nan")):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert((number,), NameParts)
