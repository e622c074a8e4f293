"""Our own tables in a site's database: their columns and keys, for all engines. Pure.

Each engine says how its types are called, and adds tables of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

# `{short}` are texts that stand in keys. A parked event may have a name that is too long for any document here.
_TABLES = {
    "streamd_site": "id {int} PRIMARY KEY CHECK (id = 1), site {short} NOT NULL, name {text} NOT NULL, "
    '"schema" {int} NOT NULL, installed_at {big} NOT NULL',
    "streamd_change": "id {counter}, tbl {short} NOT NULL, op {short} NOT NULL, "
    '"before" {text}, "after" {text}, origin {text}, {stamps}',
    "streamd_capture": "id {int} PRIMARY KEY CHECK (id = 1), log {short} NOT NULL, batch {big} NOT NULL, "
    "last_change {big} NOT NULL, digest {short} NOT NULL, clock {text} NOT NULL, previous_change {big} NOT NULL, "
    "previous_clock {text} NOT NULL{ids}",
    "streamd_origin": "doctype {doctype} NOT NULL, name {name} NOT NULL, mark {text} NOT NULL, "
    "PRIMARY KEY (doctype, name)",
    "streamd_checkpoint": "producer {short} PRIMARY KEY, log {text} NOT NULL, sequence {big} NOT NULL, "
    "nonce {text} NOT NULL",
    "streamd_document": "doctype {doctype} NOT NULL, name {name} NOT NULL, source {text} NOT NULL, "
    "remote_name {text} NOT NULL, clock {text} NOT NULL, field_clocks {text} NOT NULL, seen {text} NOT NULL, "
    "deleted_at {big}, renamed_to {text}, PRIMARY KEY (doctype, name)",
    "streamd_parked": "id {counter}, producer {text} NOT NULL, log {text} NOT NULL, sequence {big} NOT NULL, "
    "doctype {doctype} NOT NULL, name {text} NOT NULL, event {text} NOT NULL, state {text} NOT NULL, "
    "error {text} NOT NULL, attempts {int} NOT NULL, retry_at {big} NOT NULL, waits_doctype {text}, "
    "waits_name {text}, request {text} NOT NULL, tried_at {big} NOT NULL, parked_at {big} NOT NULL",
    "streamd_counterpart": "peer {short} NOT NULL, doctype {doctype} NOT NULL, remote_key {digest} NOT NULL, "
    "remote_name {text} NOT NULL, name_key {digest} NOT NULL, name {text} NOT NULL, "
    '"rows" {text} NOT NULL, PRIMARY KEY (peer, doctype, remote_key)',
    "streamd_series": "name {short} PRIMARY KEY, current {big} NOT NULL",
    "streamd_life": "doctype {doctype} NOT NULL, name {name} NOT NULL, lives {text} NOT NULL, "
    "PRIMARY KEY (doctype, name)",
    "streamd_identity": "doctype {doctype} NOT NULL, id_key {digest} NOT NULL, id {text} NOT NULL, "
    "name_key {digest} NOT NULL, name {text} NOT NULL, clock {text} NOT NULL, gone_at {big}, "
    "PRIMARY KEY (doctype, id_key)",
    "streamd_row_ids": 'doctype {doctype} NOT NULL, id_key {digest} NOT NULL, "rows" {text} NOT NULL, '
    "PRIMARY KEY (doctype, id_key)",
    "streamd_told": "batch {big} PRIMARY KEY, ids {text} NOT NULL",
}
_INDEXES = {
    "streamd_parked_document": ("streamd_parked", "doctype, {text_in_index}"),
    "streamd_counterpart_here": ("streamd_counterpart", "doctype, name_key"),
    "streamd_identity_name": ("streamd_identity", "doctype, name_key"),
}


def table_statements(
    types: Mapping[str, str],
    own: Mapping[str, str],
    *,
    options: str = "",
    schema: str = "",
    indexes_inside: bool = False,
) -> dict[str, str]:
    """The statements that create our tables and indexes where they do not exist, by the names of these.

    `own` has the columns of tables that only this engine has. `options` follow the columns of each table.
    `indexes_inside`: a table is created with its indexes, in one statement.
    """
    columns = {name: text.format_map(types) for name, text in {**_TABLES, **own}.items()}
    indexes = {name: (table, keys.format_map(types)) for name, (table, keys) in _INDEXES.items()}
    if indexes_inside:
        for name, (table, keys) in indexes.items():
            columns[table] += f", KEY {name} ({keys})"
    found = {name: f"CREATE TABLE IF NOT EXISTS {schema}{name} ({text}){options}" for name, text in columns.items()}
    for name, (table, keys) in indexes.items() if not indexes_inside else ():
        found[name] = f"CREATE INDEX IF NOT EXISTS {name} ON {schema}{table} ({keys})"
    return found
