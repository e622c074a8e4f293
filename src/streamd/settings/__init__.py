"""The configuration: `models` says what may stand in the TOML file, `loading` reads it.

`mappings` judges Document Type Mappings, and says where they lead.
`database_urls` knows which databases there are, and shows URLs without passwords.
"""

from streamd.settings.database_urls import database_url, shown_url, state_url
from streamd.settings.loading import (
    DEFAULT_FILE,
    FILE_VARIABLE,
    config_path,
    load,
    secret_of,
    toml_key,
)
from streamd.settings.mappings import CHILD_TABLE, DOCUMENT, looked_for, looks_for, lookups, reached, remote_doctype
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
    "load",
    "looked_for",
    "looks_for",
    "lookups",
    "reached",
    "remote_doctype",
    "secret_of",
    "shown_url",
    "state_url",
    "toml_key",
]
