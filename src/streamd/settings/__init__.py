"""The configuration. `models` defines the TOML file, and `loading` reads it.

`validation` puts pydantic's errors into words, with what `expectations` reads from the models.
`mappings` validates Document Type Mappings and follows the references between them.
`database_urls` parses database URLs and shows them without passwords.
"""

from streamd.settings.database_urls import database_url, shown_url, state_url
from streamd.settings.expectations import toml_key
from streamd.settings.loading import DEFAULT_FILE, FILE_VARIABLE, config_path, load, secret_of
from streamd.settings.mappings import (
    CHILD_TABLE,
    DOCUMENT,
    is_lookup,
    lookup_doctypes,
    lookup_mappings,
    reachable_mappings,
    remote_doctype,
)
from streamd.settings.models import (
    ChildSettings,
    DoctypeSettings,
    FieldMapping,
    LogSettings,
    MappingSettings,
    Part,
    ProducerSettings,
    RetentionSettings,
    ServerSettings,
    Settings,
    SiteSettings,
    StateSettings,
    SubscribedDoctype,
)

__all__ = [
    "CHILD_TABLE",
    "DEFAULT_FILE",
    "DOCUMENT",
    "FILE_VARIABLE",
    "ChildSettings",
    "DoctypeSettings",
    "FieldMapping",
    "LogSettings",
    "MappingSettings",
    "Part",
    "ProducerSettings",
    "RetentionSettings",
    "ServerSettings",
    "Settings",
    "SiteSettings",
    "StateSettings",
    "SubscribedDoctype",
    "config_path",
    "database_url",
    "is_lookup",
    "load",
    "lookup_doctypes",
    "lookup_mappings",
    "reachable_mappings",
    "remote_doctype",
    "secret_of",
    "shown_url",
    "state_url",
    "toml_key",
]
