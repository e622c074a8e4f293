"""Turns what pydantic finds wrong with the file, or with the environment, into problems in plain words.

pydantic says only *where* something is wrong. What is expected there comes from the models (`expectations`), so its
own wording never reaches a user, whatever kind of error it reports.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from streamd.common.spelling import similar_names
from streamd.errors import Problem
from streamd.settings.expectations import Location, Place, known_keys, place_at, toml_key, toml_value

LONGEST_VALUE = 60
"""Characters of a wrong value that a message quotes."""

SEE_EXAMPLE = "see config.example.toml"
PREFIX = "STREAMD_"
_CREDENTIALS = re.compile(r"[^/\s]*@")


def validation_problems(error: ValidationError, raw: object) -> list[Problem]:
    """One problem for each place that is wrong. `raw` is the file as it was read."""
    found: dict[Location, Problem] = {}
    for detail in error.errors():
        place = place_at(detail["loc"])
        found.setdefault(place.location, _problem(place, detail, raw))
    return list(found.values())


def environment_problems(environment: Mapping[str, str]) -> list[Problem]:
    """The variables that must contain a list or a table as JSON, but do not. At least one problem."""
    problems = [
        Problem(
            f"${name}",
            f"must be {place.expected}, written as JSON",
            f"write it as JSON, for example: {name}='{_json_example(place)}'",
        )
        for name, text in environment.items()
        if name.upper().startswith(PREFIX)
        for place in [place_at(name[len(PREFIX) :].lower().split("__"))]
        if (place.is_table or get_origin(place.kind) in (dict, tuple)) and not _is_json(text)
    ]
    return problems or [Problem("environment", f"a {PREFIX} variable cannot be read", "write lists and tables as JSON")]


def _problem(place: Place, detail: ErrorDetails, raw: object) -> Problem:
    where = _path(place.location, raw)
    what, hint = _explain(place, detail)
    variable = _variable(place.location)
    return Problem(where, what, f"{hint} (the value comes from ${variable})" if variable else hint)


def _explain(place: Place, detail: ErrorDetails) -> tuple[str, str]:
    """(what is wrong, hint)."""
    value, key = detail["input"], str(place.location[-1])
    if place.kind is None:
        keys = known_keys(place.location[:-1])
        close = similar_names(key, keys)
        if close:
            return "is not a known key", f"did you mean {' or '.join(close)}? Fix the spelling, or remove it"
        return "is not a known key", f"remove it; known keys are {', '.join(keys)} ({SEE_EXAMPLE})"
    if detail["type"] == "missing":
        return f"is missing: it must be {place.expected}", f"add it, for example: {_line(place)} ({SEE_EXAMPLE})"
    if detail["type"] == "value_error":
        return str(detail["ctx"]["error"]), SEE_EXAMPLE
    shown = _shown(place, value)
    what = f"is {shown}, but must be {place.expected}"
    if get_origin(place.kind) is tuple and isinstance(value, str) and shown == toml_value(value):
        return what, f"write a list: {key} = [{shown}]"
    return what, f"fix the value, for example: {_line(place)}"


def _line(place: Place) -> str:
    """A line of TOML that would be right at this place: of the whole list, for an entry of one."""
    named = [step for step in place.location if isinstance(step, str)]
    if place.is_table and len(named) == len(place.location):
        header = ".".join(map(toml_key, named))
        return f"[{header}]" if known_keys(place.location) else f"[{header}.NAME]"
    last = max(index for index, step in enumerate(place.location) if isinstance(step, str))
    return f"{named[-1]} = {place_at(place.location[: last + 1]).example}"


def _shown(place: Place, value: object) -> str:
    """A value as a message may show it: never a secret, and never a whole list or table."""
    if isinstance(value, str):
        if place.may_be_secret or _CREDENTIALS.search(value):
            return "text" if value else "empty text"
        return toml_value(value if len(value) <= LONGEST_VALUE else value[:LONGEST_VALUE] + "…")
    if isinstance(value, bool | int | float):
        return toml_value(value)
    if isinstance(value, dict | list | tuple):
        return "a table" if isinstance(value, dict) else "a list"
    return f"the {type(value).__name__} {value}"


def _path(location: Location, raw: object) -> str:
    """The path of a key. A list entry is called by its document type or field, else by its number, counted from 1."""
    parts = []
    for step in location:
        if isinstance(step, str):
            parts.append(step)
            raw = raw.get(step) if isinstance(raw, dict) else None
            continue
        raw = raw[step] if isinstance(raw, list) and step < len(raw) else None
        names = [raw.get(key) for key in ("doctype", "local_fieldname")] if isinstance(raw, dict) else [raw]
        parts.append(next((name for name in names if isinstance(name, str) and name), str(step + 1)))
    return ".".join(parts)


def _variable(location: Location) -> str:
    """The environment variable that gives the value at this location; empty where the file does."""
    steps = [str(step).upper() for step in location]
    names = {name.upper(): name for name in os.environ}
    paths = (PREFIX + "__".join(steps[:length]) for length in range(len(steps), 0, -1))
    return next((names[path] for path in paths if path in names), "")


def _json_example(place: Place) -> str:
    return json.dumps(["Customer"] if get_origin(place.kind) is tuple else {"key": "value"})


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
