"""Reads the TOML file: resolves relative paths, adds environment variables, and reports every fault with its key."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import SettingsError

from streamd.common.spelling import similar_names
from streamd.errors import ConfigurationError, Problem
from streamd.settings.database_urls import anchored, database_url, same_database, state_url
from streamd.settings.expectations import toml_key
from streamd.settings.mappings import mapping_problems
from streamd.settings.models import ProducerSettings, Settings, StateSettings, SubscribedDoctype
from streamd.settings.validation import environment_problems, validation_problems

DEFAULT_FILE = "streamd.toml"
FILE_VARIABLE = "STREAMD_CONFIG"

LONGEST_LINE = 120
"""Characters of a line that a message quotes."""

_FILE_KEYS = ("certificate", "certificate_key", "api_key_file", "api_secret_file", "certificate_authority")
_LINE = re.compile(r"at line (\d+)")
_SECRET = re.compile(r"secret|password|api_key|://[^/]*@", re.IGNORECASE)


def config_path(option: str | None = None) -> Path:
    """The path from `--config`, else from `$STREAMD_CONFIG`, else the default file."""
    return Path(option or os.environ.get(FILE_VARIABLE) or DEFAULT_FILE)


def load(path: Path) -> Settings:
    """Read and validate the file. Relative paths in it become absolute; they are relative to the file's folder.

    Raises `ConfigurationError` with one problem per fault.
    """
    raw = _read_toml(path)
    try:
        settings = Settings(**_resolve_paths(raw, path.resolve().parent))
    except ValidationError as error:
        raise ConfigurationError(*validation_problems(error, raw)) from None
    except SettingsError:
        raise ConfigurationError(*environment_problems(os.environ)) from None
    problems = [*_database_problems(settings), *_producer_problems(settings), *mapping_problems(settings)]
    if problems:
        raise ConfigurationError(*problems)
    return settings


def secret_of(producer: ProducerSettings, name: str) -> tuple[str, str]:
    """The API key and secret for a producer, from the configuration or from the files that it names.

    Raises `ConfigurationError` if one is missing or malformed.
    """
    key = producer.api_key or _read_file(producer.api_key_file, f"producers.{name}.api_key_file")
    secret = (
        producer.api_secret.get_secret_value()
        if producer.api_secret is not None
        else _read_file(producer.api_secret_file, f"producers.{name}.api_secret_file")
    )
    for field, value in (("api_key", key), ("api_secret", secret)):
        where = f"producers.{name}.{field}"
        if not value:
            hint = f"run `streamd keys create --for THIS_SITE` at the producer, and put its {field} here or in a file"
            raise ConfigurationError(Problem(where, "is missing", f"{hint} that {field}_file names"))
        if not value.isascii() or any(character.isspace() for character in value):
            raise ConfigurationError(
                Problem(where, "contains characters that a key never contains", "copy it again, without spaces")
            )
    return key, secret


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problem = Problem(str(path), "does not exist", "create it with `streamd init`, or name another with --config")
    except UnicodeDecodeError:
        problem = Problem(str(path), "is not UTF-8 text", "save it as UTF-8, or name another file with --config")
    except IsADirectoryError:
        hint = "name the file in it: fix the path in --config or $STREAMD_CONFIG"
        problem = Problem(str(path), "is a folder", hint)
    except OSError as error:
        hint = "fix its path or its permissions: the user that runs streamd must be able to read it"
        problem = Problem(str(path), f"cannot be read: {error.strerror}", hint)
    except tomllib.TOMLDecodeError as error:
        problem = Problem(str(path), f"is not valid TOML: {error}", _quote_line(path, error))
    raise ConfigurationError(problem)


def _quote_line(path: Path, error: tomllib.TOMLDecodeError) -> str:
    """A hint that quotes the line with the error, unless the line may contain a secret."""
    match = _LINE.search(str(error))
    lines = path.read_text(encoding="utf-8").splitlines()
    line = lines[int(match[1]) - 1].strip() if match is not None and int(match[1]) <= len(lines) else ""
    return f"fix that line: {line[:LONGEST_LINE]}" if line and not _SECRET.search(line) else "fix that line"


def _read_file(path: Path | None, where: str) -> str:
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(
            Problem(where, f"{path} cannot be read: {reason}", "fix the path or the file's permissions")
        ) from error


def _resolve_paths(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Make relative paths absolute, in place. Values of a wrong type are left for validation."""

    def table(parent: object, key: str) -> dict[str, Any]:
        value = parent.get(key) if isinstance(parent, dict) else None
        return value if isinstance(value, dict) else {}

    state = raw.setdefault("state", {})
    if isinstance(state, dict):
        state.setdefault("database", StateSettings().database)
    for section in (table(raw, "site"), table(raw, "state")):
        if isinstance(section.get("database"), str):
            section["database"] = anchored(section["database"], folder)
    producers = table(raw, "producers")
    for section in (table(raw, "server"), *(table(producers, name) for name in producers)):
        for key in _FILE_KEYS:
            if isinstance(section.get(key), str):
                section[key] = str(folder / section[key])
    return raw


def _database_problems(settings: Settings) -> list[Problem]:
    problems = []
    site, state = settings.site.database, settings.state.database
    for where, text, parse in (("site.database", site, database_url), ("state.database", state, state_url)):
        try:
            parse(text)
        except ValueError as error:
            problems.append(Problem(where, str(error)))
    if not problems and same_database(site, state):
        problems.append(
            Problem(
                "state.database",
                "is the site's own database",
                "name another file, such as sqlite:///streamd-state.db: restoring a backup of the site must not "
                "restore streamd's state too",
            )
        )
    return problems


def _producer_problems(settings: Settings) -> Iterator[Problem]:
    names_by_url: dict[str, str] = {}
    for name, producer in settings.producers.items():
        for entry in producer.doctypes:
            yield from _entry_problems(settings, name, entry)
        other = names_by_url.setdefault(producer.url, name)
        if other != name:
            yield Problem(
                f"producers.{name}.url", f"is also the URL of producers.{other}", "merge the two into one producer"
            )


def _entry_problems(settings: Settings, name: str, entry: SubscribedDoctype) -> Iterator[Problem]:
    where = f"producers.{name}.doctypes.{entry.doctype}"
    if settings.producers[name].same_name(entry) is None:
        yield Problem(
            where, "use_same_name is missing", f"set use_same_name = true or false in [producers.{name}] or here"
        )
    if entry.doctype in settings.doctypes or settings.site.catalog != "tables" or entry.unsubscribe:
        return
    close = similar_names(entry.doctype, settings.doctypes)
    hint = f"declare [doctypes.{toml_key(entry.doctype)}], or remove it here"
    if close:
        hint = f"did you mean {' or '.join(close)}? Otherwise {hint}"
    yield Problem(where, "is not a document type of this site", hint)
