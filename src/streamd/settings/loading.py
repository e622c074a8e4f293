"""Reads the TOML file: relative paths, the environment, and every fault with its key and its hint."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from streamd.common.spelling import near
from streamd.errors import ConfigurationError, Problem
from streamd.settings.database_urls import anchored, database_url, same_database, state_url
from streamd.settings.mappings import mapping_problems
from streamd.settings.models import ProducerSettings, Settings, StateSettings

DEFAULT_FILE = "streamd.toml"
FILE_VARIABLE = "STREAMD_CONFIG"


def config_path(given: str | None = None) -> Path:
    """The file that `--config`, else `$STREAMD_CONFIG`, else the default names."""
    return Path(given or os.environ.get(FILE_VARIABLE) or DEFAULT_FILE)


def load(path: Path) -> Settings:
    """Read the file.

    Relative paths in it are made absolute, relative to the file. Raises `ConfigurationError` with one
    problem per fault.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(
            Problem(str(path), "there is no such file", "write one with `streamd init`, or name another with --config")
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(Problem(str(path), *_unreadable(error))) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(Problem(str(path), f"is no TOML: {error}", _that_line(path, error))) from error
    try:
        settings = Settings(**_with_folder(raw, path.resolve().parent))
    except ValidationError as error:
        raise ConfigurationError(*_problems(error, raw)) from None
    problems = [*_database_problems(settings), *_producer_problems(settings), *mapping_problems(settings)]
    if problems:
        raise ConfigurationError(*problems)
    return settings


def secret_of(producer: ProducerSettings, name: str) -> tuple[str, str]:
    """The key and secret for a producer, from the file, its own files, or the environment.

    Raises `ConfigurationError` where one is missing.
    """
    key = producer.api_key or _from_file(producer.api_key_file, f"producers.{name}.api_key_file")
    secret = (
        producer.api_secret.get_secret_value()
        if producer.api_secret is not None
        else _from_file(producer.api_secret_file, f"producers.{name}.api_secret_file")
    )
    for what, value in (("api_key", key), ("api_secret", secret)):
        if not value:
            raise ConfigurationError(
                Problem(
                    f"producers.{name}.{what}",
                    "is missing",
                    "at the producer run `streamd keys create --for "
                    f"THIS_SITE`, and put what it shows here, or into {what}_file",
                )
            )
        if not value.isascii() or any(character.isspace() for character in value):
            raise ConfigurationError(
                Problem(f"producers.{name}.{what}", "has characters that no key has", "copy it again")
            )
    return key, secret


def _from_file(path: Path | None, where: str) -> str:
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            Problem(where, f"cannot be read: {error}", "fix the path or its permissions")
        ) from error


def _with_folder(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same tables, with relative paths made absolute. What has a wrong form is left for validation."""

    def part(parent: object, key: str) -> dict[str, Any] | None:
        value = parent.get(key) if isinstance(parent, dict) else None
        return value if isinstance(value, dict) else None

    for section in (part(raw, "site"), raw.setdefault("state", dict(StateSettings().model_dump()))):
        if isinstance(section, dict) and isinstance(section.get("database", None), str):
            section["database"] = anchored(section["database"], folder)
    files: list[tuple[dict[str, Any] | None, tuple[str, ...]]] = [
        (part(raw, "server"), ("certificate", "certificate_key"))
    ]
    producers = part(raw, "producers") or {}
    files += [
        (part(producers, name), ("api_key_file", "api_secret_file", "certificate_authority")) for name in producers
    ]
    for section, keys in files:
        for key in keys:
            if section is not None and isinstance(section.get(key), str):
                section[key] = str(folder / section[key])
    state = raw["state"]
    if isinstance(state, dict) and "database" not in state:
        state["database"] = anchored(StateSettings().database, folder)
    return raw


def _database_problems(settings: Settings) -> list[Problem]:
    problems = []
    site, state = settings.site.database, settings.state.database
    for where, text, url_of in (("site.database", site, database_url), ("state.database", state, state_url)):
        try:
            url_of(text)
        except ValueError as error:
            problems.append(Problem(where, str(error), ""))
    if not problems and same_database(site, state):
        problems.append(
            Problem(
                "state.database",
                "is the site's own database",
                "name another file, such as sqlite:///streamd-state.db: when a backup of the site is put back, "
                "what streamd knows must not go back with it",
            )
        )
    return problems


def _producer_problems(settings: Settings) -> list[Problem]:
    problems = []
    for name, producer in settings.producers.items():
        for entry in producer.doctypes:
            where = f"producers.{name}.doctypes.{entry.doctype}"
            if producer.same_name(entry) is None:
                problems.append(
                    Problem(
                        where,
                        "use_same_name is not said",
                        f"set use_same_name = true (or false) in [producers.{name}], or here",
                    )
                )
            declared = entry.doctype in settings.doctypes or settings.site.catalog != "tables"
            if not declared and not entry.unsubscribe:
                close = near(entry.doctype, settings.doctypes)
                declare = f"declare [doctypes.{toml_key(entry.doctype)}], or remove it here"
                hint = f"did you mean {' or '.join(close)}? Else {declare}" if close else declare
                problems.append(Problem(where, "is no document type of this site", hint))
    routes: dict[str, str] = {}
    for name, producer in settings.producers.items():
        other = routes.setdefault(producer.url, name)
        if other != name:
            problems.append(
                Problem(f"producers.{name}.url", f"is also that of producers.{other}", "join the two into one")
            )
    return problems


def toml_key(name: str) -> str:
    """A key as TOML writes it: bare where it may be, else quoted."""
    bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if bare else '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _unreadable(error: OSError | UnicodeDecodeError) -> tuple[str, str]:
    """(what, hint) for a file that cannot be read."""
    if isinstance(error, UnicodeDecodeError):
        return "is no text in UTF-8", "save it as UTF-8, or name another with --config"
    if isinstance(error, IsADirectoryError):
        return "is a folder", "name the file in it: fix the path that --config or $STREAMD_CONFIG gives"
    hint = "fix its path, or its permissions: the user of streamd has to be able to read it"
    return f"cannot be read: {error.strerror}", hint


def _that_line(path: Path, error: tomllib.TOMLDecodeError) -> str:
    """The hint, with the line that is meant; not where it may hold a secret."""
    found = _LINE.search(str(error))
    lines = path.read_text(encoding="utf-8").splitlines()
    if found is None or int(found[1]) > len(lines):
        return "fix that line"
    line = lines[int(found[1]) - 1].strip()
    return f"fix that line: {line[:LONGEST_LINE]}" if line and not _SECRET.search(line) else "fix that line"


LONGEST_LINE = 120
"""Characters of a line that a message quotes."""

_LINE = re.compile(r"at line (\d+)")
_SECRET = re.compile(r"secret|password|api_key|://[^/]*@", re.IGNORECASE)

_HINTS = {
    "extra_forbidden": ("is no key that streamd knows", "remove it, or fix its spelling (see config.example.toml)"),
    "missing": ("is missing", "add it (see config.example.toml)"),
}


def _near_keys(place: tuple[int | str, ...]) -> list[str]:
    """The keys that could have been meant by the last part of this place, best first."""
    part: type[BaseModel] = Settings
    steps = iter(place[:-1])
    for step in steps:
        field = part.model_fields.get(str(step))
        inner = _model_in(field.annotation) if field is not None else None
        if field is None or inner is None:
            return []
        part = inner
        if get_origin(field.annotation) in (dict, tuple):
            next(steps, None)  # the name of the table, which the user chose
    return near(str(place[-1]), part.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The table that a field holds, or holds several of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in get_args(annotation) if (found := _model_in(each))), None)


def _place(loc: tuple[int | str, ...], raw: object) -> str:
    """The path of a key. An entry of a list goes by what it is about, else by its number, counted from 1."""
    parts = []
    for step in loc:
        if isinstance(step, str):
            parts.append(step)
            raw = raw.get(step) if isinstance(raw, dict) else None
            continue
        raw = raw[step] if isinstance(raw, list) and step < len(raw) else None
        names = [raw.get(key) for key in ("doctype", "local_fieldname")] if isinstance(raw, dict) else [raw]
        parts.append(next((name for name in names if isinstance(name, str) and name), str(step + 1)))
    return ".".join(parts)


def _problems(error: ValidationError, raw: object) -> list[Problem]:
    problems = []
    for detail in error.errors():
        where = _place(detail["loc"], raw)
        kind = str(detail["type"])
        if kind in _HINTS:
            what, hint = _HINTS[kind]
            close = _near_keys(detail["loc"]) if kind == "extra_forbidden" else []
            if close:
                hint = f"did you mean {' or '.join(close)}? Fix its spelling, or remove it (see config.example.toml)"
        elif kind == "tuple_type" and isinstance(detail["input"], str):
            what, hint = "is no list", f"write a list: [{json.dumps(detail['input'], ensure_ascii=False)}]"
        elif kind == "value_error":
            what, hint = str(detail["ctx"]["error"]), ""
        else:
            what, hint = str(detail["msg"][:1].lower() + detail["msg"][1:]), "fix the value (see config.example.toml)"
        problems.append(Problem(where, what, hint))
    return problems
