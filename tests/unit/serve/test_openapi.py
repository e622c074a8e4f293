"""The documented models match what is sent, although there are two encoders."""

from __future__ import annotations

import json

import msgspec
import pytest

from streamd.model import DocumentId, Event, LinkId, Origin, RowId
from streamd.serve.openapi import ENDPOINTS, build_document
from streamd.wire import (
    Documents,
    DocumentsAnswer,
    EventsPage,
    EventsRequest,
    FetchedDocument,
    NameParts,
    Page,
    WantedDoctype,
)

SITE = "11111111-1111-4111-8111-111111111111"
LOG = "22222222-2222-4222-8222-222222222222"

FULL = Event(
    sequence=7,
    nonce="00ff",
    tx=3,
    doctype="Invoice",
    name=(1, "é", 2.5),
    operation="update",
    clock="000000000001.0000.111111111111",
    at=1,
    data=msgspec.Raw(b'{"changed":{"total":"1.10"}}'),
    last_in_tx=False,
    renamed_from=("old",),
    origin=Origin(SITE, LOG, 4, (SITE,)),
    enters=True,
    id=DocumentId((1, "é", 2.5), "c", SITE),
    links=(LinkId("Item", ("x",), DocumentId(("x",)), SITE),),
    rows={"lines": [(70, RowId(7001, SITE))]},
    birth=SITE,
)
MINIMAL = Event(8, "00ff", 3, "Invoice", (2,), "delete", "", 1)


def test_an_encoded_page_matches_the_documented_model() -> None:
    encoded = msgspec.json.encode(Page([FULL, MINIMAL], "next", 8, {"Invoice": "Approved"}))
    page = EventsPage.model_validate_json(encoded)
    for event, documented in zip([FULL, MINIMAL], page.events, strict=True):
        for field in msgspec.structs.fields(Event):
            sent = json.loads(msgspec.json.encode(getattr(event, field.name)))
            shown = getattr(documented, field.name)
            if field.name == "origin" and shown:
                shown = shown.model_dump()
            if field.name == "id" and shown:
                shown = shown.model_dump()
            if field.name == "links":
                shown = [link.model_dump(exclude_defaults=True) for link in shown]
            if field.name == "rows":
                shown = json.loads(json.dumps(shown))
            assert shown == sent, field.name
    assert {field.name for field in msgspec.structs.fields(Event)} == set(type(page.events[0]).model_fields)
    assert {field.name for field in msgspec.structs.fields(Page)} == set(EventsPage.model_fields)


def test_encoded_documents_match_the_documented_model() -> None:
    document = FetchedDocument("Invoice", (1,), msgspec.Raw(b'{"id":1}'), "")
    answer = DocumentsAnswer.model_validate_json(msgspec.json.encode(Documents([document], "cursor")))
    assert answer.model_dump(exclude_defaults=True) == {
        "documents": [{"doctype": "Invoice", "name": [1], "data": {"id": 1}, "clock": ""}],
        "as_of": "cursor",
    }


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
    assert named <= set(schemas)
    assert "$defs" not in text


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (EventsRequest, '{"wait_seconds": NaN}'),
        (EventsRequest, '{"wait_seconds": 1e999}'),
        (EventsRequest, '{"limit": 1' + "0" * 400 + "}"),
        (EventsRequest, '{"cursor": "\\ud800"}'),
        (EventsRequest, '{"x":' + "[" * 5000 + "]" * 5000 + "}"),
        (WantedDoctype, '{"doctype": "a\\u0000b"}'),
        (WantedDoctype, '{"doctype": "\\u001b[31mred"}'),
    ],
)
def test_invalid_values_are_refused(model: type[EventsRequest], text: str) -> None:
    with pytest.raises(ValueError, match="validation error"):
        model.model_validate_json(text)


def test_names_contain_only_numbers_and_text() -> None:
    from pydantic import TypeAdapter

    names = TypeAdapter(NameParts)
    assert names.validate_json('[1, 2.5, "a"]') == [1, 2.5, "a"]
    for wrong in ("[]", "[null]", "[true]", "[[1]]", "[NaN]", "[1e999]", '{"a":1}'):
        with pytest.raises(ValueError, match="validation error"):
            names.validate_json(wrong)
