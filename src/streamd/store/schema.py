"""The tables of the state database. Every key begins with the site's UUID, so that several sites can share it.

`migrations/` creates the tables; a test compares both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Dialect,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    TypeDecorator,
    and_,
    func,
    literal_column,
)

metadata = MetaData()


class Words(TypeDecorator[str]):
    """Text on PostgreSQL, which rejects the character NUL. Text of peers may contain it; � is stored instead."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return value.replace("\0", "\ufffd") if value is not None and "\0" in value else value


def text(length: int) -> Any:
    """Text of about this length. SQLite ignores the limit. PostgreSQL gets none, since it would reject longer text."""
    return String(length).with_variant(Words(), "postgresql")


WORDS = Text().with_variant(Words(), "postgresql")
SITE = text(36)
BIG = BigInteger().with_variant(Integer, "sqlite")

NAME_BEGINNING = 400
"""Characters of a document's name in an index. An index entry of PostgreSQL holds about 2,700 bytes in all."""


def _prefix(column: ColumnElement[Any]) -> ColumnElement[str]:
    # Literals, because an index is used only for exactly the same expression.
    return func.substr(column, literal_column("1"), literal_column(str(NAME_BEGINNING)))


def is_named(column: ColumnElement[str], name: str) -> ColumnElement[bool]:
    """A condition on a column with documents' names: it equals `name`. Uses the index, if there is one."""
    return and_(column == name, _prefix(column) == name[:NAME_BEGINNING])


def is_one_of(column: ColumnElement[Any], names: Sequence[str]) -> ColumnElement[bool]:
    """A condition on a column with documents' names: it is one of `names`. Uses the index, if there is one."""
    return and_(column.in_(names), _prefix(column).in_({name[:NAME_BEGINNING] for name in names}))


log_head = Table(
    "log_head",
    metadata,
    Column("site", SITE, primary_key=True),
    Column("log", SITE, nullable=False, comment="id of the Event Update Log; a new one after a restore"),
    Column("batch", BIG, nullable=False, comment="number of the last claimed batch that is in the log"),
    Column("digest", text(64), nullable=False, comment="of that batch"),
    Column("sequence", BIG, nullable=False, comment="of the last entry"),
    Column("nonce", text(32), nullable=False, comment="of the last entry"),
    Column("trimmed_to", BIG, nullable=False, comment="sequence of the last entry that was trimmed"),
    Column("trimmed_nonce", text(32), nullable=False),
)

update_log = Table(
    "update_log",
    metadata,
    Column("site", SITE, nullable=False),
    Column("sequence", BIG, nullable=False),
    Column("nonce", text(32), nullable=False),
    Column("tx", BIG, nullable=False),
    Column("last_in_tx", Boolean, nullable=False),
    Column("doctype", text(140), nullable=False),
    Column("name", WORDS, nullable=False),
    Column("operation", text(10), nullable=False),
    Column("clock", text(40), nullable=False),
    Column("at", BIG, nullable=False),
    Column("data", WORDS, nullable=False),
    Column("before", WORDS),
    Column("after", WORDS),
    Column("renamed_from", WORDS),
    Column("origin", WORDS),
    Column("path", WORDS, nullable=False, comment="the sites that it has been at, separated by spaces"),
    Column("id", WORDS, comment="which document it is, as JSON, where that is not what its name says"),
    Column("links", WORDS, comment="the same of the documents that it links to"),
    Column("rows", WORDS, comment="the same of its child rows"),
    PrimaryKeyConstraint("site", "sequence"),
)
Index("update_log_document", update_log.c.site, update_log.c.doctype, _prefix(update_log.c.name))
Index("update_log_at", update_log.c.site, update_log.c.at)
Index(
    "update_log_renamed",
    update_log.c.site,
    update_log.c.doctype,
    _prefix(update_log.c.renamed_from),
    sqlite_where=update_log.c.renamed_from.is_not(None),
    postgresql_where=update_log.c.renamed_from.is_not(None),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("site", SITE, nullable=False),
    Column("api_key", text(64), nullable=False),
    Column("secret_hash", text(64), nullable=False, comment="SHA-256 of the secret"),
    Column("consumer", text(140), nullable=False, comment="the name that the key was made for"),
    Column("created_at", BIG, nullable=False),
    Column("last_used_at", BIG),
    Column("revoked_at", BIG),
    PrimaryKeyConstraint("site", "api_key"),
)

consumers = Table(
    "consumers",
    metadata,
    Column("site", SITE, nullable=False),
    Column("name", text(140), nullable=False, comment="the name that its key was made for"),
    Column("consumer_site", SITE, comment="its UUID, bound at its first handshake"),
    Column("consumer_name", text(140), comment="what it calls itself"),
    Column("version", text(40)),
    Column("registered_at", BIG, nullable=False),
    Column("last_seen_at", BIG),
    Column("acknowledged", BIG, nullable=False, comment="everything up to this sequence is durable there"),
    Column("acknowledged_log", SITE, nullable=False),
    PrimaryKeyConstraint("site", "name"),
)

approvals = Table(
    "approvals",
    metadata,
    Column("site", SITE, nullable=False),
    Column("consumer", text(140), nullable=False),
    Column("doctype", text(140), nullable=False),
    Column("status", text(20), nullable=False),
    Column("opens", WORDS, nullable=False, comment="JSON list: the types that it opens through links"),
    Column("log", SITE, comment="the log that from_sequence belongs to"),
    Column("from_sequence", BIG, comment="entries after this one are the consumer's"),
    Column("asked_at", BIG, nullable=False),
    Column("decided_at", BIG),
    Column(
        "resumed", Boolean, nullable=False, comment="approved again after a break: what lies between was not served"
    ),
    Column("condition", WORDS, nullable=False, server_default="", comment="only documents for which this holds"),
    Column("lookups", WORDS, nullable=False, server_default="[]", comment="JSON list: the types to be found by value"),
    PrimaryKeyConstraint("site", "consumer", "doctype"),
)

producers = Table(
    "producers",
    metadata,
    Column("site", SITE, nullable=False),
    Column("name", text(140), nullable=False, comment="as in the configuration"),
    Column("url", WORDS, nullable=False),
    Column("producer_site", SITE, comment="its UUID"),
    Column("producer_name", text(140), comment="what it calls itself"),
    Column("version", text(40)),
    Column("paused", Boolean, nullable=False),
    Column("status", text(30), nullable=False),
    Column("error", WORDS, nullable=False),
    Column("sequence", BIG, nullable=False, comment="applied up to here"),
    Column("head", BIG, nullable=False, comment="its log's end when we last heard"),
    Column("last_contact_at", BIG),
    Column("last_event_at", BIG),
    PrimaryKeyConstraint("site", "name"),
)

subscriptions = Table(
    "subscriptions",
    metadata,
    Column("site", SITE, nullable=False),
    Column("producer", text(140), nullable=False),
    Column("doctype", text(140), nullable=False),
    Column("status", text(20), nullable=False),
    Column("opens", WORDS, nullable=False),
    Column("approved_at", BIG, comment="by the producer's clock"),
    Column("unmapped", WORDS, nullable=False, comment="JSON list: the producer's fields that a mapping drops"),
    Column("complete_to", BIG, comment="what was committed there before this moment (its clock) is here"),
    Column("complete_age", BIG, comment="milliseconds between that moment and its word, by its clock"),
    Column("complete_heard_at", BIG, comment="when it said so, by our clock"),
    Column("paused", WORDS, nullable=False, comment="why its events cannot be applied, or empty"),
    Column("paused_at", BIG, comment="since when, by our clock"),
    PrimaryKeyConstraint("site", "producer", "doctype"),
)

sync_batch = Table(
    "sync_batch",
    metadata,
    Column("site", SITE, nullable=False),
    Column("id", text(32), nullable=False),
    Column("producer_site", SITE, nullable=False),
    Column("log", SITE, nullable=False),
    Column("sequence", BIG, nullable=False, comment="the checkpoint that confirms the batch"),
    PrimaryKeyConstraint("site", "id"),
    comment="batches that may or may not have been committed at the site; confirmed ones are removed",
)

sync_log = Table(
    "sync_log",
    metadata,
    Column("id", BIG, primary_key=True, autoincrement=True),
    Column("site", SITE, nullable=False),
    Column("at", BIG, nullable=False),
    Column("batch", text(32), comment="set while the batch is not confirmed"),
    Column("update_type", text(10), nullable=False),
    Column("status", text(20), nullable=False),
    Column("doctype", text(140), nullable=False),
    Column("producer", text(140), nullable=False),
    Column("docname", WORDS, nullable=False),
    Column("remote_docname", WORDS, nullable=False),
    Column("use_same_name", Boolean, nullable=False),
    Column("data", WORDS, nullable=False),
    Column("sequence", BIG, nullable=False),
    Column("error", WORDS, nullable=False),
    Column("note", WORDS, nullable=False),
    sqlite_autoincrement=True,
)
Index("sync_log_status", sync_log.c.site, sync_log.c.status, sync_log.c.id)
Index("sync_log_document", sync_log.c.site, sync_log.c.doctype, _prefix(sync_log.c.docname))
Index("sync_log_batch", sync_log.c.batch)
Index("sync_log_at", sync_log.c.site, sync_log.c.at)

requests = Table(
    "requests",
    metadata,
    Column("id", BIG, primary_key=True, autoincrement=True),
    Column("site", SITE, nullable=False),
    Column("kind", text(20), nullable=False, comment="whole: read a type again from its producer"),
    Column("producer", text(140), nullable=False),
    Column("doctype", text(140), nullable=False),
    Column("requested_at", BIG, nullable=False),
    Column("finished_at", BIG),
    Column("result", WORDS, nullable=False),
    comment="what commands ask the daemon to do",
    sqlite_autoincrement=True,
)

heartbeat = Table(
    "heartbeat",
    metadata,
    Column("site", SITE, primary_key=True),
    Column("pid", Integer, nullable=False),
    Column("host", text(255), nullable=False),
    Column("version", text(40), nullable=False),
    Column("started_at", BIG, nullable=False),
    Column("beat_at", BIG, nullable=False),
    Column("stopped_at", BIG),
    Column("captured", BIG, nullable=False, comment="changes captured since the start"),
    Column("problem", WORDS, nullable=False, comment="what holds capture up, or empty"),
    Column("captured_to", BIG, comment="what was committed at this site before this moment is in the log"),
)
