"""The tables of the TOML file, as frozen values with their bounds and defaults. An unknown key is an error.

Any value may come from the environment instead: `STREAMD_PRODUCERS__hq__API_SECRET` is
`[producers.hq] api_secret`; the environment wins over the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from streamd.settings.database_urls import canonical

DAY = 86_400
MIB = 1 << 20


def _columns(value: object) -> object:
    """One column, or a list of them; a comma joins several where TOML only allows text."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(","))
    return value


Columns = Annotated[tuple[str, ...], BeforeValidator(_columns)]

DatabaseUrl = Annotated[str, AfterValidator(canonical)]
"""As it is used; `database_url` and `state_url` say what may stand there. Show it with `shown_url` only."""


class Part(BaseModel):
    """A table of the file: frozen, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SiteSettings(Part):
    """`[site]`: the database that this daemon stands beside."""

    name: str = Field(min_length=1, max_length=140)
    database: DatabaseUrl
    """A SQLite file, or a database of a PostgreSQL, MariaDB or MySQL server. It may hold a password."""
    catalog: Literal["tables", "frappe"] = "tables"
    """Where document types come from: `[doctypes]` and the tables, or a Frappe site's own metadata besides."""
    offers: tuple[str, ...] | None = None
    """None: all that are declared; of a Frappe site, none."""
    capture_batch: int = Field(2000, ge=1, le=20_000)
    """Changes taken at once, at most; more of them are cut between two documents."""
    poll_seconds: float = Field(0.25, ge=0.01, le=60)
    """How long an idle site may go unlooked at; after a change it is looked at far more often for a while."""
    install: bool = True
    """Whether `run` may install what is missing (tables and triggers)."""


class StateSettings(Part):
    """`[state]`: where the daemon keeps its logs, keys and consumers."""

    database: DatabaseUrl = "sqlite:///streamd-state.db"
    """A SQLite file of its own, or a database of a PostgreSQL server. It may hold a password."""


class ServerSettings(Part):
    """`[server]`: the API for peers."""

    host: str = "127.0.0.1"
    port: int = Field(8100, ge=0, le=65535)
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
    naming: str | None = None
    """How rows get their keys that come from a site which does not use the same names."""
    exclude: tuple[str, ...] = ()
    """Columns that are never captured and never served."""


class DoctypeSettings(Part):
    """`[doctypes.X]`: a document type of this site."""

    table: str | None = None
    key: Columns | None = None
    links: dict[str, str] | None = None
    dynamic_links: dict[str, str] = {}
    children: dict[str, ChildSettings] = {}
    naming: str | None = None
    """How documents are named here that come from a site which does not use the same names."""
    exclude: tuple[str, ...] = ()
    """Columns that are never captured and never served."""
    side_effects: Literal["refuse", "local"] = "refuse"
    """What becomes of changes that this database makes to these documents by itself (a trigger, a cascade) while events
    of other documents are applied: such an event is refused, or the change is an edit of this site."""
    accept_changes: bool = False
    """Whether triggers of this database have the last word on values that arrive; else what they change is refused."""


class SubscribedDoctype(Part):
    """One entry of a producer's `doctypes`."""

    doctype: str
    """As this site calls it."""
    use_same_name: bool | None = None
    unsubscribe: bool = False
    mapping: str | None = None
    """A Document Type Mapping: then the producer's type is the mapping's `remote_doctype`."""
    condition: str | None = None
    """Only documents for which this holds, as the producer has them (`doc.country == 'IN'`)."""
    on_leave: Literal["keep", "delete"] = "keep"
    """What becomes here of a document that ceases to satisfy the condition."""


class FieldMapping(Part):
    """One row of the ancestor's Field Mapping table."""

    local_fieldname: str
    remote_fieldname: str | None = None
    default_value: str | int | float | bool | None = None
    """The value where the remote one is missing, or always where there is no remote field."""
    mapping_type: Literal["Child Table", "Document"] | None = None
    mapping: str | None = None
    """The mapping of the child rows, or of the document that the link leads to."""
    remote_value_filters: dict[str, str | int | float | bool] = {}
    """For a Document: the remote field's name → a field of this document, or `eval:` and an expression."""


class MappingSettings(Part):
    """`[mappings.NAME]`: a Document Type Mapping."""

    local_doctype: str
    remote_doctype: str
    unmapped: Literal["carry", "drop"] = "carry"
    """What becomes of a field that is not mapped, where the local type has one of the same name."""
    fields: tuple[FieldMapping, ...] = ()


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
    subscriber: str | None = Field(None, min_length=1, max_length=140)
    """The user of this Frappe site who owns what comes from this producer (the ancestor's Event Subscriber)."""
    doctypes: tuple[Annotated[SubscribedDoctype, BeforeValidator(_subscribed)], ...]
    certificate_authority: Path | None = None
    """A CA file to trust for this producer, besides the system's."""
    page_events: int = Field(1000, ge=1, le=20_000)
    timeout_seconds: float = Field(30, gt=0)
    retry_seconds: float = Field(60, gt=0)
    """The longest pause between two tries while the producer is away."""
    max_dependencies: int = Field(50_000, ge=1)
    """Documents fetched for the links of one page, at most: they are held in memory until they are written."""
    max_dependency_depth: int = Field(1000, ge=1, le=1_000_000)
    """Requests that follow links from document to document, at most; one may bring many levels."""
    repair_gaps: bool = True
    """Whether a type is read again by itself where the producer says that changes of it are missing."""

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

    def same_name(self, entry: SubscribedDoctype) -> bool | None:
        """Whether documents of this type keep their names; None where nobody said."""
        return self.use_same_name if entry.use_same_name is None else entry.use_same_name

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
    mappings: dict[str, MappingSettings] = {}
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
