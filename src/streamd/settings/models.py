"""The tables of the TOML file as frozen values, with bounds and defaults. An unknown key is an error.

Environment variables win over the file: `STREAMD_PRODUCERS__HQ__API_SECRET` is `api_secret` in `[producers.hq]`.
The text below each field is its description in the configuration reference.
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
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from streamd.settings.database_urls import canonical

DAY = 86_400
MIB = 1 << 20


def _columns(value: object) -> object:
    """Text as a tuple of column names: commas separate them where TOML allows text only."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(","))
    return value


Columns = Annotated[tuple[str, ...], BeforeValidator(_columns)]

DatabaseUrl = Annotated[str, AfterValidator(canonical)]
"""It may contain a password: show it with `shown_url` only. `database_url` and `state_url` validate it."""


class Part(BaseModel):
    """A table of the file. It is frozen, and rejects unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _reject_boolean_for_number(cls, value: object, info: ValidationInfo) -> object:
        # Pydantic would read `true` as 1.
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation in (int, float):
            raise PydanticCustomError("number_type", "a number is expected")
        return value


class SiteSettings(Part):
    """`[site]`: the database that this daemon runs beside."""

    name: str = Field(min_length=1, max_length=140)
    """The site's name, for people. The site is identified by a UUID, which `install` makes and keeps in its
    database."""
    database: DatabaseUrl
    """The site's own database: `sqlite:///file.db`, `postgresql://user:password@host/database` or
    `mariadb://user:password@host/database`. Write special characters as `%40`."""
    catalog: Literal["tables", "frappe"] = "tables"
    """Where document types come from. `tables`: from `[doctypes]` and the keys of the tables. `frappe`: from the
    metadata of the Frappe site that the database belongs to."""
    offers: tuple[str, ...] | None = None
    """The document types that other sites may subscribe to. Their tables get triggers. Default: all declared types;
    none with `catalog = "frappe"`."""
    capture_batch: int = Field(2000, ge=1, le=20_000)
    """The most changes that capture takes at once. A larger batch is split between two documents."""
    poll_seconds: float = Field(0.25, ge=0.01, le=60)
    """How often an idle database is looked at, in seconds. After a change it is looked at more often for a while."""
    install: bool = True
    """Whether `streamd run` may install missing tables and triggers. With `false`, run `streamd install`."""


class StateSettings(Part):
    """`[state]`: where the daemon keeps its logs, keys and consumers."""

    database: DatabaseUrl = "sqlite:///streamd-state.db"
    """Where the daemon keeps its logs, keys and consumers: a SQLite file of its own, or a PostgreSQL database. Never
    the site's own SQLite file. Several sites can share one: each row belongs to one site. Default: `streamd-state.db`
    beside the configuration."""


class ServerSettings(Part):
    """`[server]`: the API for peers."""

    host: str = "127.0.0.1"
    """The address that the API listens on. `127.0.0.1` accepts this machine only; `0.0.0.0` accepts all."""
    port: int = Field(8100, ge=0, le=65535)
    """The port that the API listens on."""
    certificate: Path | None = None
    """The TLS certificate chain, a PEM file. Set it together with `certificate_key`."""
    certificate_key: Path | None = None
    """The key of the certificate, a PEM file."""
    max_request_bytes: int = Field(MIB, ge=1024)
    """The largest request body."""
    max_page_events: int = Field(2000, ge=1, le=20_000)
    """The most events in one page."""
    max_page_bytes: int = Field(4 * MIB, ge=4096)
    """The largest page of events, about, before compression."""
    max_documents: int = Field(500, ge=1, le=5000)
    """The most documents in one answer."""
    max_wait_seconds: float = Field(25, ge=0, le=120)
    """How long a long poll may stay open. Keep it below the timeout of a proxy in front of this site."""
    requests_per_minute: int = Field(3000, ge=10)
    """Requests per minute for each key. An address without a valid key gets a tenth of it."""

    @model_validator(mode="after")
    def _require_certificate_and_key(self) -> ServerSettings:
        if (self.certificate is None) != (self.certificate_key is None):
            raise ValueError("certificate and certificate_key belong together: set both, or neither")
        return self


class RetentionSettings(Part):
    """`[retention]`: how long logs are kept."""

    keep_acknowledged_seconds: int = Field(DAY, ge=0)
    """How long the Event Update Log keeps an event that every consumer has, for a consumer that is restored from a
    backup. Default: one day."""
    max_age_seconds: int = Field(30 * DAY, ge=60)
    """An older event is removed even if a consumer has not fetched it. That consumer then needs a resync. Default:
    30 days."""
    max_events: int = Field(5_000_000, ge=1000)
    """The most events in the Event Update Log. Older ones are removed, as with `max_age_seconds`."""
    sync_log_seconds: int = Field(30 * DAY, ge=60)
    """How long the Event Sync Log keeps its entries. Default: 30 days."""
    sync_log_entries: int = Field(1_000_000, ge=1000)
    """The most entries in the Event Sync Log."""
    tombstone_seconds: int = Field(180 * DAY, ge=DAY)
    """How long a deleted document is remembered, so that a late edit at another site does not bring it back.
    Default: 180 days."""


class ChildSettings(Part):
    """`[doctypes.X.children.field]`: a child table of a document type."""

    table: str
    """The child table."""
    key: Columns | None = None
    """The column or columns that identify a row. Default: the primary key."""
    parent_key: Columns
    """The column or columns that hold the parent's key."""
    links: dict[str, str] | None = None
    """Columns that name documents of other types: `{ column = "Type" }`. Default: from the foreign keys."""
    dynamic_links: dict[str, str] = {}
    """Columns that name a document whose type stands in another column: `{ column = "type column" }`."""
    where: dict[str, str | int] = {}
    """Only these rows of the table belong to the type: `{ column = value }`, where several types share a child
    table."""
    order_by: str | None = None
    """The column that orders the rows."""
    naming: str | None = None
    """How rows get their keys at this site where they come with `use_same_name = false`: `database`, `uuid`, `hash`
    or `prompt`."""
    exclude: tuple[str, ...] = ()
    """Columns that are never captured and never served."""


class DoctypeSettings(Part):
    """`[doctypes.X]`: a document type of this site."""

    table: str | None = None
    """The parent table. Default: the type's name."""
    key: Columns | None = None
    """The column or columns that name a document: unique and not null. Default: the primary key."""
    links: dict[str, str] | None = None
    """Columns that name documents of other types: `{ column = "Type" }`. Default: from the foreign keys."""
    dynamic_links: dict[str, str] = {}
    """Columns that name a document whose type stands in another column: `{ column = "type column" }`."""
    children: dict[str, ChildSettings] = {}
    """The child tables, by field: one table `[doctypes.NAME.children.FIELD]` for each."""
    naming: str | None = None
    """How documents that come with `use_same_name = false` are named at this site. Default: by the database; on a
    Frappe site as the DocType says."""
    exclude: tuple[str, ...] = ()
    """Columns that are never captured and never served."""
    side_effects: Literal["refuse", "local"] = "refuse"
    """Changes that this database makes to these documents by itself (a trigger, a cascade) while other documents are
    applied. `refuse`: they are undone, or the event is parked. `local`: they are edits of this site, and travel."""
    accept_changes: bool = False
    """Whether triggers of this database may change values that arrive. With `false` the event is parked. With `true`
    the change stays, and the sync log notes it."""


class SubscribedDoctype(Part):
    """One entry of a producer's `doctypes`."""

    doctype: str
    """The document type, as this site calls it."""
    use_same_name: bool | None = None
    """As in the producer's table, for this type alone."""
    unsubscribe: bool = False
    """Whether the subscription to this type ends. What has arrived stays."""
    mapping: str | None = None
    """The Document Type Mapping to use. The producer's type is then the mapping's `remote_doctype`."""
    condition: str | None = None
    """An expression over the producer's document, such as `doc.country == 'IN'`. Only documents for which it holds
    arrive."""
    on_leave: Literal["keep", "delete"] = "keep"
    """What happens at this site to a document that no longer satisfies the condition."""


class FieldMapping(Part):
    """One entry of a mapping's `fields`: where the value of one local field comes from."""

    local_fieldname: str
    """The field at this site."""
    remote_fieldname: str | None = None
    """The field at the producer that the value comes from."""
    default_value: str | int | float | bool | None = None
    """The value where the producer has none. Without `remote_fieldname`: the value of every new document."""
    mapping_type: Literal["Child Table", "Document"] | None = None
    """`Child Table`: the field is a child table. `Document`: the field is a link to a document that is found by its
    values."""
    mapping: str | None = None
    """The mapping of the child rows, or of the document that is found."""
    remote_value_filters: dict[str, str | int | float | bool] = {}
    """For `Document`: a field of the document to find = its value. The value is an expression after `eval:`, or the
    name of a field of the producer's document, or a constant."""


class MappingSettings(Part):
    """`[mappings.NAME]`: a Document Type Mapping."""

    local_doctype: str
    """The document type at this site."""
    remote_doctype: str
    """The document type at the producer."""
    unmapped: Literal["carry", "drop"] = "carry"
    """Fields that are not mapped. `carry`: they keep their name where this site's type has such a field, else they
    are left out. `drop`: they are left out."""
    fields: tuple[FieldMapping, ...] = ()
    """The fields: one table `[[mappings.NAME.fields]]` for each."""


def _subscribed(value: object) -> object:
    return {"doctype": value} if isinstance(value, str) else value


class ProducerSettings(Part):
    """`[producers.NAME]`: a site that this site subscribes to."""

    url: str
    """The producer's address: `http://host:port` or `https://host`."""
    api_key: str | None = None
    """The key from `streamd keys create --for THIS_SITE` at the producer. Set this or `api_key_file`."""
    api_key_file: Path | None = None
    """A file that holds the key."""
    api_secret: SecretStr | None = None
    """The secret that belongs to the key. Set this or `api_secret_file`."""
    api_secret_file: Path | None = None
    """A file that holds the secret."""
    use_same_name: bool | None = None
    """Whether documents keep the name that they have at the producer. With `false`, `naming` of the type names them
    at this site. Required for each subscribed type, in this table or in the type's entry."""
    subscriber: str | None = Field(None, min_length=1, max_length=140)
    """On a Frappe site: the user who owns documents that come from this producer. Default: owners are those of the
    producer."""
    doctypes: tuple[Annotated[SubscribedDoctype, BeforeValidator(_subscribed)], ...]
    """The document types to subscribe to: names, or entries as in the next table."""
    certificate_authority: Path | None = None
    """A certificate authority (PEM) to trust for this producer, besides those of the system."""
    page_events: int = Field(1000, ge=1, le=20_000)
    """The most events to ask for at once."""
    timeout_seconds: float = Field(30, gt=0)
    """How long to wait for an answer, or for its next byte, in seconds. A long poll may take as much longer as it
    was asked to."""
    retry_seconds: float = Field(60, gt=0)
    """The longest pause between two tries while the producer is away, in seconds."""
    max_dependencies: int = Field(50_000, ge=1)
    """The most missing documents to fetch for the links of one page. An event that needs more is parked."""
    max_dependency_depth: int = Field(1000, ge=1, le=1_000_000)
    """The most requests that follow links from document to document. One request may bring many levels. An event
    that needs more is parked."""
    repair_gaps: bool = True
    """Whether a type is read again automatically when the producer reports missing changes (a gap). With `false` the
    gap waits as a failed entry for `streamd resync --doctype TYPE --whole`."""

    @field_validator("url")
    @classmethod
    def _require_http(cls, value: str) -> str:
        if "@" in value:
            raise ValueError("must not contain a user or password: use api_key and api_secret")
        try:
            parts = urlsplit(value)
            _ = parts.port
        except ValueError:
            raise ValueError(f"{value!r} has an invalid host or port: write http://host:port or https://host") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{value!r} is not the URL of a site: write http://host:port or https://host")
        if parts.query or parts.fragment:
            raise ValueError("must not contain a query or fragment: write http(s)://host:port/path")
        return value.rstrip("/")

    @field_validator("doctypes")
    @classmethod
    def _reject_duplicates(cls, value: tuple[SubscribedDoctype, ...]) -> tuple[SubscribedDoctype, ...]:
        names = [entry.doctype for entry in value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name} is listed twice: keep one entry")
        return value

    def same_name(self, entry: SubscribedDoctype) -> bool | None:
        """Whether documents of this type keep their names; None where the configuration does not say."""
        return self.use_same_name if entry.use_same_name is None else entry.use_same_name

    @property
    def subscribed(self) -> tuple[str, ...]:
        """The types that this site subscribes to, without those marked `unsubscribe`."""
        return tuple(entry.doctype for entry in self.doctypes if not entry.unsubscribe)


class LogSettings(Part):
    """`[log]`: what the daemon prints about itself. The Event logs are separate."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe messages that the daemon prints: `debug`, `info`, `warning` or `error`."""
    format: Literal["auto", "json", "text"] = "auto"
    """`text` for a terminal, `json` for one object per line, `auto` for text on a terminal and JSON elsewhere."""


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
