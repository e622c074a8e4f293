"""What each key of the TOML file accepts, in words and as an example. Read from the models, so no key can be missing.

A *location* is pydantic's path to a value: names of keys, and indexes of list entries.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, SecretStr

from streamd.settings.models import Columns, FieldMapping, Settings, SubscribedDoctype

Location = Sequence[int | str]

EXAMPLES = {
    "name": '"store-1"',
    "database": '"sqlite:///shop.db"',
    "url": '"https://hq.example.com"',
    "doctype": '"Customer"',
    "offers": '["Customer", "Invoice"]',
    "certificate": '"server.pem"',
    "certificate_key": '"server-key.pem"',
    "links": '{ customer = "Customer" }',
    "dynamic_links": '{ party = "party_type" }',
    "where": '{ parent_type = "Invoice" }',
    "naming": '"uuid"',
    "exclude": '["internal_note"]',
    "parent_key": '"parent"',
    "condition": "\"doc.country == 'IN'\"",
    "remote_value_filters": '{ email = "email" }',
}
"""Values for keys where an example made from the type alone would say little."""

_SCALARS: dict[Any, tuple[str, str]] = {
    bool: ("true or false", "true"),
    int: ("an integer", "1"),
    float: ("a number", "1.5"),
    str: ("text", '"text"'),
    Path: ("the path of a file, as text", '"file.pem"'),
    SecretStr: ("text", '"text"'),
}

_LISTS: dict[Any, tuple[str, str]] = {
    str: ("a list of texts", '["text"]'),
    SubscribedDoctype: ("a list of document types", '["Customer"]'),
    FieldMapping: ("a list of tables", '[{ local_fieldname = "title", remote_fieldname = "subject" }]'),
}


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the file, reached by `location`. `kind` is the type of its value, without `None` and `Annotated`.

    `kind` is None for a key that streamd does not know.
    """

    location: tuple[int | str, ...]
    kind: Any
    metadata: tuple[Any, ...] = ()
    default: Any = None

    @property
    def expected(self) -> str:
        """The values that are accepted, in words that complete “must be …”."""
        return _describe(self.kind, self.metadata)[0]

    @property
    def example(self) -> str:
        """One value that is accepted, as TOML."""
        if self.default and isinstance(self.default, int | float | str) and self.kind is not bool:
            return toml_value(self.default)
        return EXAMPLES.get(str(self.location[-1]), "") or _describe(self.kind, self.metadata)[1]

    @property
    def is_table(self) -> bool:
        """Whether this is a table that the file writes under a header: `[site]`, `[producers.hq]`, `[producers]`."""
        return _is_model(self.kind) or (get_origin(self.kind) is dict and _is_model(get_args(self.kind)[1]))

    @property
    def may_be_secret(self) -> bool:
        """Whether text at this place may be a secret, or contain one, as a database URL does."""
        return self.is_table or not {"api_key", "api_secret", "database"}.isdisjoint(self.location)


def place_at(location: Location) -> Place:
    """The place of a value. Steps that pydantic appends for the alternatives of a union are left out."""
    place = Place((), Settings)
    for step in location:
        here = (*place.location, step)
        if _is_model(place.kind):
            field = place.kind.model_fields.get(str(step))
            if field is None:
                return Place(here, None)
            place = Place(here, *_unwrap(field.annotation, tuple(field.metadata)), field.default)
        elif get_origin(place.kind) is dict:
            place = Place(here, *_unwrap(get_args(place.kind)[1]))
        elif get_origin(place.kind) is tuple and isinstance(step, int):
            place = Place(here, *_unwrap(get_args(place.kind)[0]))
        else:
            break
    return place


def known_keys(location: Location) -> list[str]:
    """The keys of the table at this location; empty where users choose the keys themselves."""
    kind = place_at(location).kind
    return list(kind.model_fields) if _is_model(kind) else []


def toml_value(value: float | str) -> str:
    """A scalar as TOML writes it."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, bool | str) else str(value)


def toml_key(name: str) -> str:
    """A key as TOML writes it: without quotes where TOML allows that."""
    is_bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if is_bare else toml_value(name)


def _describe(kind: Any, metadata: tuple[Any, ...] = ()) -> tuple[str, str]:
    """(what is accepted in words, an example as TOML)."""
    if any(each in metadata for each in Columns.__metadata__):  # type: ignore[attr-defined]  # Annotated has it
        return "the name of a column, or a list of names", '"id"'
    arguments = get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        options = [_describe(*_unwrap(option)) for option in arguments]
        return _join([words for words, _ in options]), options[0][1]
    if get_origin(kind) is Literal:
        return _join(list(map(toml_value, arguments))), toml_value(arguments[0])
    if get_origin(kind) is tuple:
        return _LISTS[_unwrap(arguments[0])[0]]
    if get_origin(kind) is dict:
        inner, _ = _unwrap(arguments[1])
        if _is_model(inner):
            return "a table that contains one table for each name", "{ }"
        return f"a table in which each value is {_describe(inner)[0]}", "{ }"
    if kind is SubscribedDoctype:
        return "the name of a document type, or a table", '"Customer"'
    if _is_model(kind):
        return "a table", "{ }"
    words, example = _SCALARS[kind]
    return words + _limits(metadata), example


def _limits(metadata: tuple[Any, ...]) -> str:
    """Bounds in words, such as “ from 1 to 9” or “ of 1 to 140 characters”."""
    bounds: dict[Any, Any] = {type(bound): bound for bound in metadata}
    low, high = bounds.get(annotated_types.Ge), bounds.get(annotated_types.Le)
    if low and high:
        return f" from {low.ge} to {high.le}"
    if low:
        return f" of at least {low.ge}"
    if above := bounds.get(annotated_types.Gt):
        return f" above {above.gt}"
    shortest, longest = bounds.get(annotated_types.MinLen), bounds.get(annotated_types.MaxLen)
    return f" of {shortest.min_length} to {longest.max_length} characters" if shortest and longest else ""


def _join(alternatives: list[str]) -> str:
    return " or ".join([", ".join(alternatives[:-1]), alternatives[-1]] if len(alternatives) > 1 else alternatives)


def _unwrap(annotation: Any, metadata: tuple[Any, ...] = ()) -> tuple[Any, tuple[Any, ...]]:
    """A type without `Annotated`, and without the `None` that makes a key optional; and what `Annotated` said."""
    while True:
        options = [option for option in get_args(annotation) if option is not NoneType]
        if get_origin(annotation) is Annotated:
            metadata = (*metadata, *annotation.__metadata__)
            annotation = annotation.__origin__
        elif get_origin(annotation) in (Union, UnionType) and len(options) < len(get_args(annotation)):
            annotation = Union[tuple(options)]  # noqa: UP007  # built at run time
        else:
            return annotation, metadata


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
