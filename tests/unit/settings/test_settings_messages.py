"""Each wrong value in the file gives a message with its key, its value and what is expected, in plain words.

The fields come from the settings models, so a new field is covered as soon as it exists.
"""

from __future__ import annotations

import datetime
import json
import math
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from streamd import settings
from streamd.errors import ConfigurationError, Problem
from streamd.settings import Settings
from streamd.settings.expectations import place_at

SECRET = "hush-hush"  # what no message may show

VALID: dict[str, Any] = {
    "site": {"name": "here", "database": "sqlite:///here.db"},
    "producers": {"hq": {"url": "http://hq", "doctypes": [{"doctype": "Lead"}], "use_same_name": True}},
    "doctypes": {"Lead": {"children": {"lines": {"table": "Line", "parent_key": "lead"}}}},
    "mappings": {
        "M": {
            "local_doctype": "Lead",
            "remote_doctype": "Deal",
            "fields": [{"local_fieldname": "a", "default_value": 1}],
        }
    },
}

QUOTED = ("doctype", "mapping")
"""Keys whose values are names of other tables: a message about a missing table has to quote them."""

WRONG = [
    "",
    "wrong",
    f"postgresql://me:{SECRET}@host/{SECRET}",
    "x" * 500,
    -1,
    3,
    10**30,
    1.5,
    math.nan,
    True,
    [],
    [1],
    [{"api_secret": SECRET}],
    {"api_secret": SECRET},
    datetime.date(2026, 1, 2),
]

PYDANTIC = (
    "input should",
    "valid dictionary",
    "valid tuple",
    "unable to parse",
    "instance of",
    "field required",
    "not permitted",
    "string",
    "tuple",
    "dict",
    "value error",
    "finite",
    "pydantic",
    "errors.",
)


def fields(model: type[BaseModel] = Settings, above: tuple[int | str, ...] = ()) -> Iterator[tuple[int | str, ...]]:
    """The location of every field, with the names that `VALID` uses for tables that users name."""
    for name, field in model.model_fields.items():
        location = (*above, name)
        yield location
        inner, more = model_in(field.annotation)
        if inner is not None:
            value = at(VALID, location)
            steps: list[int | str] = [] if not more else [0] if isinstance(value, list) else list(value or ())
            yield from fields(inner, (*location, *steps))


def model_in(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The model that a field holds, and whether it holds several of them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    found = next((inner for each in get_args(annotation) if (inner := model_in(each)[0])), None)
    return found, get_origin(annotation) in (dict, tuple)


def at(raw: Any, location: tuple[int | str, ...]) -> Any:
    for step in location:
        raw = raw[step] if isinstance(raw, list) else (raw or {}).get(step)
    return raw


def with_value(raw: Any, location: tuple[int | str, ...], value: object) -> Any:
    """A copy of `raw` with this value at this location."""
    if not location:
        return value
    if isinstance(raw, list):
        return [
            with_value(each, location[1:], value) if index == location[0] else each for index, each in enumerate(raw)
        ]
    table = raw or {}
    return {**table, location[0]: with_value(table.get(location[0]), location[1:], value)}


def without(raw: Any, location: tuple[int | str, ...]) -> Any:
    """A copy of `raw` without the value at this location."""
    table = dict(at(raw, location[:-1]))
    del table[location[-1]]
    return with_value(raw, location[:-1], table)


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value) if isinstance(value, str | bool) else str(value)


def problems(raw: dict[str, Any], folder: Path) -> list[Problem]:
    file = folder / "streamd.toml"
    file.write_text("\n".join(f"{key} = {toml(value)}" for key, value in raw.items()), encoding="utf-8")
    try:
        settings.load(file)
    except ConfigurationError as error:
        return list(error.problems)
    return []


def names(location: tuple[int | str, ...]) -> str:
    return ".".join({0: "Lead" if "producers" in location else "a"}.get(step, step) for step in location)  # type: ignore[call-overload, misc]  # one list in each


def unnamed(location: tuple[int | str, ...]) -> str:
    """The same where the entry of a list has lost what names it."""
    return ".".join(str(step + 1) if isinstance(step, int) else step for step in location)


FIELDS = list(fields())


def test_every_model_is_reached() -> None:
    reached = {place_at(location).kind for location in FIELDS} | {place_at(location[:-1]).kind for location in FIELDS}
    assert {*settings.Part.__subclasses__(), Settings} <= reached


def test_the_valid_file_is_valid(tmp_path: Path) -> None:
    assert problems(VALID, tmp_path) == []


@pytest.mark.parametrize("location", FIELDS, ids=names)
def test_a_wrong_value_is_named_with_its_key_and_what_is_expected(
    location: tuple[int | str, ...], tmp_path: Path
) -> None:
    place = place_at(location)
    rejected = 0
    for value in WRONG:
        found = problems(with_value(VALID, location, value), tmp_path)
        rejected += bool(found)
        for problem in found:
            text = str(problem)
            assert SECRET not in text or location[-1] in QUOTED, text
            assert not [phrase for phrase in PYDANTIC if phrase in text.lower()], text
            assert problem.what
        exact = [each for each in found if each.where == names(location) and "but must be" in each.what]
        for problem in exact:
            assert problem.what.endswith(f"but must be {place.expected}")
            assert problem.hint
            example = problem.hint.partition("for example: ")[2].partition(" (")[0]
            if example:
                assert f"{location[-1]} = " in example or example.startswith(f"[{'.'.join(map(str, location))}")
            shown = toml(value) if isinstance(value, str | bool | int | float) else "a "
            is_hidden = isinstance(value, str) and (place.may_be_secret or "@" in value or len(value) > 60)
            assert is_hidden or f"is {shown}" in problem.what or "the date" in problem.what, problem.what
    assert rejected >= 5


def test_the_example_of_each_message_is_accepted(tmp_path: Path) -> None:
    raw = VALID
    for location in FIELDS:
        if not place_at(location).is_table and at(VALID, location) is None:
            raw = with_value(raw, location, tomllib.loads(f"value = {place_at(location).example}")["value"])
    assert not [each for each in problems(raw, tmp_path) if "must be" in each.what]


def test_an_unknown_key_beside_each_field_is_named_with_the_field(tmp_path: Path) -> None:
    raw = VALID
    for location in FIELDS:
        raw = with_value(raw, (*location[:-1], f"{location[-1]}x"), 1)
    found = {problem.where: problem for problem in problems(raw, tmp_path)}
    for location in FIELDS:
        problem = found[f"{names(location)}x"]
        assert problem.what == "is not a known key"
        assert f"did you mean {location[-1]}" in problem.hint


def test_each_missing_field_is_named_with_an_example(tmp_path: Path) -> None:
    for location in FIELDS:
        if place_at(location).default is PydanticUndefined:
            raw = without(VALID, location)
            (problem,) = [
                each for each in problems(raw, tmp_path) if each.where in (names(location), unnamed(location))
            ]
            assert problem.what == f"is missing: it must be {place_at(location).expected}"
            assert problem.hint.startswith("add it, for example: ")


def test_a_variable_of_the_environment_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMD_SERVER__PORT", "many")
    (found,) = problems(VALID, tmp_path)
    assert (found.where, found.what) == ("server.port", 'is "many", but must be an integer from 0 to 65535')
    assert found.hint == "fix the value, for example: port = 8100 (the value comes from $STREAMD_SERVER__PORT)"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("STREAMD_PRODUCERS__HQ__DOCTYPES", "a list of document types, written as JSON"), ("STREAMD_SITE", "a table")],
)
def test_a_variable_that_is_not_json_is_named(
    name: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, SECRET)
    (found,) = problems(VALID, tmp_path)
    assert found.where == f"${name}"
    assert expected in found.what
    assert f"{name}='" in found.hint
    assert SECRET not in str(found)
