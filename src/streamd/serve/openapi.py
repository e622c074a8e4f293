"""The endpoints, and the OpenAPI document that is generated from them and from the messages in `wire.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from streamd import __version__
from streamd.wire import (
    API,
    DocumentsAnswer,
    DocumentsRequest,
    ErrorAnswer,
    EventsPage,
    EventsRequest,
    FindRequest,
    HandshakeAnswer,
    HandshakeRequest,
    HealthAnswer,
    NamesAnswer,
    NamesRequest,
)

_REFERENCE = "#/components/schemas/{model}"

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
    """One endpoint of the API. An endpoint without a `request` model needs no key, and is read with GET."""

    name: str
    summary: str
    request: type[BaseModel] | None
    answer: type[BaseModel] | None
    errors: tuple[int, ...]

    @property
    def path(self) -> str:
        return f"{API}/{self.name}"


_KEY_ERRORS = (400, 401, 408, 409, 413, 415, 429, 503)

ENDPOINTS = (
    Endpoint("health", "Reports whether this site works.", None, HealthAnswer, (429,)),
    Endpoint("openapi.json", "This document.", None, None, (429,)),
    Endpoint(
        "handshake",
        "Registers a consumer and the document types that it subscribes to.",
        HandshakeRequest,
        HandshakeAnswer,
        _KEY_ERRORS,
    ),
    Endpoint(
        "events",
        "Returns the next approved entries of the Event Update Log; can wait for new ones (long poll).",
        EventsRequest,
        EventsPage,
        (*_KEY_ERRORS, 410),
    ),
    Endpoint(
        "documents",
        "Returns documents as they are now: of approved types, and documents that these link to.",
        DocumentsRequest,
        DocumentsAnswer,
        _KEY_ERRORS,
    ),
    Endpoint(
        "names",
        "Lists the names of all documents of an approved type, in pages.",
        NamesRequest,
        NamesAnswer,
        _KEY_ERRORS,
    ),
    Endpoint(
        "find",
        "Looks up documents by the values of their columns, in approved types and in approved lookups; at most two.",
        FindRequest,
        DocumentsAnswer,
        _KEY_ERRORS,
    ),
)


def build_document() -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    messages: list[type[BaseModel]] = [ErrorAnswer]
    for endpoint in ENDPOINTS:
        messages += [model for model in (endpoint.request, endpoint.answer) if model is not None]
    _, schemas = models_json_schema([(model, "validation") for model in messages], ref_template=_REFERENCE)
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
            "schemas": schemas["$defs"],
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
                for status in sorted(endpoint.errors)
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


def _reference(model: type[BaseModel]) -> dict[str, Any]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}
