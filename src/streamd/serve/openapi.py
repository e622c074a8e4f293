"""The endpoints, and the OpenAPI document that is made of them and of the messages that the handlers read."""

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
    400: "The request cannot be understood; the message names the field.",
    401: "No valid API key and secret.",
    408: "The body did not arrive in time.",
    409: "The consumer has to shake hands first, or is registered as another site.",
    410: "The cursor does not fit the log any more: a resync is required.",
    413: "The request, or what it asks for, is too large.",
    415: "The body is not plain JSON.",
    429: "Too many requests; `Retry-After` says how long to wait.",
    503: "The site is busy or starting; `Retry-After` says how long to wait.",
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of the API. One without `asks` needs no key, and is read with GET."""

    name: str
    summary: str
    asks: type[BaseModel] | None
    answers: type[BaseModel] | None
    errors: tuple[int, ...]

    @property
    def path(self) -> str:
        return f"{API}/{self.name}"


_EVERY = (400, 401, 408, 413, 415, 429, 503)

ENDPOINTS = (
    Endpoint("health", "Whether this site answers.", None, HealthAnswer, (429,)),
    Endpoint("openapi.json", "This document.", None, None, (429,)),
    Endpoint(
        "handshake",
        "A consumer introduces itself, and says which document types it wants.",
        HandshakeRequest,
        HandshakeAnswer,
        (*_EVERY, 409),
    ),
    Endpoint(
        "events",
        "The next entries of the Event Update Log, as far as they are approved; waits for them if asked to.",
        EventsRequest,
        EventsPage,
        (*_EVERY, 409, 410),
    ),
    Endpoint(
        "documents",
        "Documents as they are now: of approved types, and those that they link to.",
        DocumentsRequest,
        DocumentsAnswer,
        (*_EVERY, 409),
    ),
    Endpoint(
        "names",
        "The names of all documents of an approved type, a page at a time.",
        NamesRequest,
        NamesAnswer,
        (*_EVERY, 409),
    ),
    Endpoint(
        "find",
        "Documents with these values in their columns, two at most: of approved types, and of those to be looked into.",
        FindRequest,
        DocumentsAnswer,
        (*_EVERY, 409),
    ),
)


def document() -> dict[str, Any]:
    """The OpenAPI document, version 3.1."""
    messages: list[type[BaseModel]] = [ErrorAnswer]
    for endpoint in ENDPOINTS:
        messages += [model for model in (endpoint.asks, endpoint.answers) if model is not None]
    _, schemas = models_json_schema([(model, "validation") for model in messages], ref_template=_REFERENCE)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "streamd",
            "version": __version__,
            "summary": "What a site offers to the sites that subscribe to it.",
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
                    "description": "made at the producer with `streamd keys create --for NAME`",
                }
            },
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    answer = _reference(endpoint.answers) if endpoint.answers else {"type": "object"}
    operation: dict[str, Any] = {
        "operationId": endpoint.name.partition(".")[0],
        "summary": endpoint.summary,
        "responses": {
            "200": {"description": "Done.", "content": _json(answer)},
            **{
                str(status): {"description": ERRORS[status], "content": _json(_reference(ErrorAnswer))}
                for status in sorted(endpoint.errors)
            },
        },
    }
    if endpoint.asks is None:
        return {"get": operation}
    operation["security"] = [{"key": []}]
    operation["requestBody"] = {"required": True, "content": _json(_reference(endpoint.asks))}
    return {"post": operation}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _reference(model: type[BaseModel]) -> dict[str, Any]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}
