"""The endpoints, and the OpenAPI document that is generated from them and from the messages in `wire.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from streamd import __version__
from streamd.wire import (
    API,
    END,
    Documents,
    DocumentsRequest,
    ErrorAnswer,
    EventsRequest,
    FindRequest,
    HandshakeAnswer,
    HandshakeRequest,
    HealthAnswer,
    NamesAnswer,
    NamesRequest,
    Page,
)

_REFERENCE = "#/components/schemas/{name}"

ERRORS = {
    400: "The request is invalid; the message names the field.",
    401: "No valid API key and secret.",
    408: "The body did not arrive in time.",
    409: "The consumer must send a handshake first, or is registered as another site.",
    410: "The cursor no longer fits the log: a resync is required.",
    413: "The request, or what it asks for, is too large.",
    415: "The body is not plain JSON.",
    429: "Too many requests; wait for `Retry-After` seconds.",
    503: "The site is busy or starting; wait for `Retry-After` seconds.",
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint of the API. An endpoint without a `request` needs no key, and is read with GET."""

    name: str
    summary: str
    answer: type[msgspec.Struct] | None
    request: type[msgspec.Struct] | None = None

    @property
    def path(self) -> str:
        return f"{API}/{self.name}"

    @property
    def errors(self) -> list[int]:
        """The statuses of its errors. Only the log's cursors can require a resync (410)."""
        if self.request is None:
            return [429]
        return [status for status in ERRORS if status != 410 or self.answer is Page]


ENDPOINTS = (
    Endpoint("health", "Reports whether this site works.", HealthAnswer),
    Endpoint("openapi.json", "This document.", None),
    Endpoint(
        "handshake",
        "Registers a consumer and the document types that it subscribes to.",
        HandshakeAnswer,
        HandshakeRequest,
    ),
    Endpoint(
        "events",
        "Returns the next approved entries of the Event Update Log; can wait for new ones (long poll).",
        Page,
        EventsRequest,
    ),
    Endpoint(
        "documents",
        "Returns documents as they are now: of approved types, and documents that these link to.",
        Documents,
        DocumentsRequest,
    ),
    Endpoint("names", "Lists the names of all documents of an approved type, in pages.", NamesAnswer, NamesRequest),
    Endpoint(
        "find",
        "Looks up documents by the values of their columns, in approved types and in approved lookups; at most two.",
        Documents,
        FindRequest,
    ),
)


def build_document() -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    models = [model for endpoint in ENDPOINTS for model in (endpoint.request, endpoint.answer) if model is not None]
    _, components = msgspec.json.schema_components([ErrorAnswer, *models], ref_template=_REFERENCE)
    # In a JSON schema, `$` alone is the end.
    end, plain = msgspec.json.encode(END)[1:-1], b"$"
    schemas = msgspec.json.decode(msgspec.json.encode(components).replace(end, plain))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "streamd",
            "version": __version__,
            "summary": "The API of a site for the sites that subscribe to it.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": {endpoint.path: _operation(endpoint) for endpoint in ENDPOINTS},
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "API_KEY:API_SECRET",
                    "description": "created at the producer with `streamd keys create --for NAME`",
                }
            },
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    answer = _reference(endpoint.answer) if endpoint.answer else {"type": "object"}
    operation: dict[str, Any] = {
        "operationId": endpoint.name.partition(".")[0],
        "summary": endpoint.summary,
        "responses": {
            "200": {"description": "Success.", "content": _json(answer)},
            **{
                str(status): {"description": ERRORS[status], "content": _json(_reference(ErrorAnswer))}
                for status in endpoint.errors
            },
        },
    }
    if endpoint.request is None:
        return {"get": operation}
    operation["security"] = [{"key": []}]
    operation["requestBody"] = {"required": True, "content": _json(_reference(endpoint.request))}
    return {"post": operation}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _reference(model: type[msgspec.Struct]) -> dict[str, Any]:
    return {"$ref": _REFERENCE.format(name=model.__name__)}
