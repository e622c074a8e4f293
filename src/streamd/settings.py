"""The TOML file, as frozen values. An unknown key is an error, and each error names its key and the mend.

Any value may come from the environment instead: `STREAMD_PRODUCERS__hq__API_SECRET` is
`[producers.hq] api_secret`; the environment wins over the file.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from streamd.errors import ConfigurationError, Problem

DEFAULT_FILE = "streamd.toml"
FILE_VARIABLE = "STREAMD_CONFIG"

DAY = 86_400
MIB = 1 << 20


def _columns(value: object) -> object:
    """One column, or a list of them; a comma joins several where TOML only allows text."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(","))
    return value


Columns = Annotated[tuple[str, ...], BeforeValidator(_columns)]


class Part(BaseModel):
    """A table of the file: frozen, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SiteSettings(Part):
    """`[site]`: the database that this daemon stands beside."""

    name: str = Field(min_length=1, max_length=140)
    database: str
    offers: tuple[str, ...] | None = None
    capture_batch: int = Field(2000, ge=1, le=20_000)
    """Changes taken at once, at most; a transaction is cut only where it is larger."""
    poll_seconds: float = Field(0.25, ge=0.01, le=60)
    """How long an idle site may go unlooked at; after a change it is looked at far more often for a while."""
    install: bool = True
    """Whether `run` may install what is missing (tables and triggers)."""


class StateSettings(Part):
    """`[state]`: where the daemon keeps its logs, keys and consumers."""

    database: str = "sqlite:///streamd-state.db"


class ServerSettings(Part):
    """`[server]`: the API for peers."""

    host: str = "127.0.0.1"
    port: int = Field(8100, ge=0, le=65535)
    url: str | None = None
    """How consumers reach this site, where it differs from host and port (behind a proxy)."""
    certificate: Path | None = None
    certificate_key: Path | None = None
    max_request_bytes: int = Field(MIB, ge=1024)
    max_page_events: int = Field(2000, ge=1, le=20_000)
    max_page_bytes: int = Field(4 * MIB, ge=4096)
    max_documents: int = Field(500, ge=1, le=5000)
    """Documents in one answer, at most."""
    max_wait_seconds: float = Field(25, ge=0, le=120)
    """How long a long poll may stay open."""
    requests_per_minute: int = Field(3000, ge=10)
    """Per key; and a tenth of it per address for requests without a valid key."""

    @model_validator(mode="after")
    def _certificate_and_key(self) -> ServerSettings:
        if (self.certificate is None) != (self.certificate_key is None):
            raise ValueError("certificate and certificate_key belong together: set both, or neither")
        return self


class RetentionSettings(Part):
    """`[retention]`: how long logs are kept."""

    keep_acknowledged_seconds: int = Field(DAY, ge=0)
    """The margin: an event that every consumer has stays this long, for a consumer restored from a backup."""
    max_age_seconds: int = Field(30 * DAY, ge=60)
    """An event older than this goes even if a consumer has not fetched it: that one then needs a resync."""
    max_events: int = Field(5_000_000, ge=1000)
    sync_log_seconds: int = Field(30 * DAY, ge=60)
    sync_log_entries: int = Field(1_000_000, ge=1000)
    tombstone_seconds: int = Field(180 * DAY, ge=DAY)
    """How long a deleted document is remembered."""


class ChildSettings(Part):
    """`[doctypes.X.children.field]`: a child table, named by the user."""

    table: str
    key: Columns | None = None
    parent_key: Columns
    links: dict[str, str] | None = None
    dynamic_links: dict[str, str] = {}
    where: dict[str, str | int] = {}
    order_by: str | None = None


class DoctypeSettings(Part):
    """`[doctypes.X]`: a document type of this site."""

    table: str | None = None
    key: Columns | None = None
    links: dict[str, str] | None = None
    dynamic_links: dict[str, str] = {}
    children: dict[str, ChildSettings] = {}


class SubscribedDoctype(Part):
    """One entry of a producer's `doctypes`."""

    doctype: str
    use_same_name: bool | None = None
    unsubscribe: bool = False


def _subscribed(value: object) -> object:
    return {"doctype": value} if isinstance(value, str) else value


class ProducerSettings(Part):
    """`[producers.NAME]`: a site that we subscribe to."""

    url: str
    api_key: str | None = None
    api_key_file: Path | None = None
    api_secret: SecretStr | None = None
    api_secret_file: Path | None = None
    use_same_name: bool | None = None
    doctypes: tuple[Annotated[SubscribedDoctype, BeforeValidator(_subscribed)], ...]
    certificate_authority: Path | None = None
    """A CA file to trust for this producer, besides the system's."""
    page_events: int = Field(1000, ge=1, le=20_000)
    timeout_seconds: float = Field(30, gt=0)
    retry_seconds: float = Field(60, gt=0)
    """The longest pause between two tries while the producer is away."""
    max_dependencies: int = Field(10_000, ge=1)
    """Documents fetched for the links of one page, at most."""
    max_dependency_depth: int = Field(50, ge=1)

    @field_validator("url")
    @classmethod
    def _http(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{value!r} is no URL of a site: write http://host:port or https://host")
        if parts.username or parts.password:
            raise ValueError("a URL with a user and password in it: use api_key and api_secret")
        if parts.query or parts.fragment:
            raise ValueError("a URL with a query or fragment: write only http(s)://host:port/path")
        try:
            _ = parts.port
        except ValueError:
            raise ValueError(f"{value!r} has a port that is no number between 0 and 65535") from None
        return value.rstrip("/")

    @field_validator("doctypes")
    @classmethod
    def _each_once(cls, value: tuple[SubscribedDoctype, ...]) -> tuple[SubscribedDoctype, ...]:
        names = [entry.doctype for entry in value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name} is named twice: keep one entry")
        return value

    @property
    def subscribed(self) -> tuple[str, ...]:
        """The types that this site wants to have of the producer (not the unsubscribed ones)."""
        return tuple(entry.doctype for entry in self.doctypes if not entry.unsubscribe)


class LogSettings(Part):
    """`[log]`: what the daemon prints about itself (not the Event logs)."""

    level: str = Field("info", pattern="^(debug|info|warning|error)$")
    format: str = Field("auto", pattern="^(auto|json|text)$")


class Settings(BaseSettings):
    """The whole file."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="STREAMD_", env_nested_delimiter="__", case_sensitive=False
    )

    site: SiteSettings
    state: StateSettings = StateSettings()
    server: ServerSettings = ServerSettings()
    retention: RetentionSettings = RetentionSettings()
    log: LogSettings = LogSettings()
    doctypes: dict[str, DoctypeSettings] = {}
    producers: dict[str, ProducerSettings] = {}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings


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
        raise ConfigurationError(Problem(str(path), f"cannot be read: {error}", "mend the file")) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(Problem(str(path), f"is no TOML: {error}", "mend that line")) from error
    try:
        settings = Settings(**_with_folder(raw, path.resolve().parent))
    except ValidationError as error:
        raise ConfigurationError(*_problems(error)) from None
    problems = [*_database_problems(settings), *_producer_problems(settings)]
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


def database_url(text: str) -> URL:
    """The URL of a database, without a driver: which one is our business. Raises `ValueError`."""
    try:
        url = make_url(text)
    except ArgumentError:
        raise ValueError("is no database URL: write sqlite:///file.db") from None
    backend = url.get_backend_name()
    if "+" in url.drivername:
        raise ValueError(f"names a driver: write {backend}:// and leave the driver to streamd")
    if backend in ("postgresql", "postgres", "mariadb", "mysql"):
        raise ValueError(f"{backend} sites cannot be synced by this version: use sqlite:///file.db")
    if backend != "sqlite":
        raise ValueError(f"{backend} is no database that streamd knows: use sqlite:///file.db")
    if url.database in (None, "", ":memory:"):
        raise ValueError("names no file: write sqlite:///file.db")
    return url


def _from_file(path: Path | None, where: str) -> str:
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            Problem(where, f"cannot be read: {error}", "mend the path or its permissions")
        ) from error


def _with_folder(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same tables, with relative paths made absolute. What has a wrong form is left for validation."""

    def part(parent: object, key: str) -> dict[str, Any] | None:
        value = parent.get(key) if isinstance(parent, dict) else None
        return value if isinstance(value, dict) else None

    for section in (part(raw, "site"), raw.setdefault("state", dict(StateSettings().model_dump()))):
        if isinstance(section, dict) and isinstance(section.get("database", None), str):
            section["database"] = _absolute_database(section["database"], folder)
    files = [(part(raw, "server"), ("certificate", "certificate_key"))]
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
        state["database"] = _absolute_database(StateSettings().database, folder)
    return raw


def _absolute_database(text: str, folder: Path) -> str:
    prefix = "sqlite:///"
    if not text.startswith(prefix):
        return text
    file = text.removeprefix(prefix)
    if not file or file.startswith((":memory:", "file:")):
        return text
    return prefix + str(folder / file)


def _database_problems(settings: Settings) -> list[Problem]:
    problems = []
    for where, text in (("site.database", settings.site.database), ("state.database", settings.state.database)):
        try:
            database_url(text)
        except ValueError as error:
            problems.append(Problem(where, str(error), ""))
    if not problems and settings.site.database == settings.state.database:
        problems.append(
            Problem(
                "state.database",
                "is the site's own database",
                "name another file: it must outlive no restore of the site",
            )
        )
    return problems


def _producer_problems(settings: Settings) -> list[Problem]:
    problems = []
    for name, producer in settings.producers.items():
        for entry in producer.doctypes:
            where = f"producers.{name}.doctypes.{entry.doctype}"
            same_name = producer.use_same_name if entry.use_same_name is None else entry.use_same_name
            if same_name is None:
                problems.append(
                    Problem(
                        where, "use_same_name is not said", f"set use_same_name = true in [producers.{name}], or here"
                    )
                )
            elif not same_name:
                problems.append(
                    Problem(where, "use_same_name = false cannot be done by this version", "set use_same_name = true")
                )
            if entry.doctype not in settings.doctypes and not entry.unsubscribe:
                problems.append(
                    Problem(
                        where,
                        "is no document type of this site",
                        f"declare [doctypes.{toml_key(entry.doctype)}], or remove it here",
                    )
                )
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


_MENDS = {
    "extra_forbidden": ("is no key that streamd knows", "remove it, or mend its spelling (see config.example.toml)"),
    "missing": ("is missing", "add it (see config.example.toml)"),
}


def _problems(error: ValidationError) -> list[Problem]:
    problems = []
    for detail in error.errors():
        where = ".".join(str(part) for part in detail["loc"])
        kind = str(detail["type"])
        if kind in _MENDS:
            what, mend = _MENDS[kind]
        elif kind == "value_error":
            what, mend = str(detail["ctx"]["error"]), ""
        else:
            what, mend = str(detail["msg"][:1].lower() + detail["msg"][1:]), "mend the value (see config.example.toml)"
        problems.append(Problem(where, what, mend))
    return problems
