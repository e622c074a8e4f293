"""The tables of the state database. Every key begins with the site's UUID, so that daemons can share one.

`migrations/` makes them; a test holds the two against each other.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

metadata = MetaData()

SITE = String(36)
BIG = BigInteger().with_variant(Integer, "sqlite")

log_head = Table(
    "log_head",
    metadata,
    Column("site", SITE, primary_key=True),
    Column("log", SITE, nullable=False, comment="id of the Event Update Log; a new one after a restore"),
    Column("batch", BIG, nullable=False, comment="number of the last claimed batch that is in the log"),
    Column("digest", String(64), nullable=False, comment="of that batch"),
    Column("sequence", BIG, nullable=False, comment="of the last entry"),
    Column("nonce", String(32), nullable=False, comment="of the last entry"),
    Column("trimmed_to", BIG, nullable=False, comment="sequence of the last entry that was trimmed"),
    Column("trimmed_nonce", String(32), nullable=False),
)

update_log = Table(
    "update_log",
    metadata,
    Column("site", SITE, nullable=False),
    Column("sequence", BIG, nullable=False),
    Column("nonce", String(32), nullable=False),
    Column("tx", BIG, nullable=False),
    Column("last_in_tx", Boolean, nullable=False),
    Column("doctype", String(140), nullable=False),
    Column("name", Text, nullable=False),
    Column("operation", String(10), nullable=False),
    Column("clock", String(40), nullable=False),
    Column("at", BIG, nullable=False),
    Column("data", Text, nullable=False),
    Column("before", Text),
    Column("after", Text),
    Column("renamed_from", Text),
    Column("origin", Text),
    Column("path", Text, nullable=False, comment="the sites that it has been at, separated by spaces"),
    PrimaryKeyConstraint("site", "sequence"),
)
Index("update_log_document", update_log.c.site, update_log.c.doctype, update_log.c.name)
Index("update_log_at", update_log.c.site, update_log.c.at)

api_keys = Table(
    "api_keys",
    metadata,
    Column("site", SITE, nullable=False),
    Column("api_key", String(64), nullable=False),
    Column("secret_hash", String(64), nullable=False, comment="SHA-256 of the secret"),
    Column("consumer", String(140), nullable=False, comment="the name that the key was made for"),
    Column("created_at", BIG, nullable=False),
    Column("last_used_at", BIG),
    Column("revoked_at", BIG),
    PrimaryKeyConstraint("site", "api_key"),
)

consumers = Table(
    "consumers",
    metadata,
    Column("site", SITE, nullable=False),
    Column("name", String(140), nullable=False, comment="the name that its key was made for"),
    Column("consumer_site", SITE, comment="its UUID, bound at its first handshake"),
    Column("consumer_name", String(140), comment="what it calls itself"),
    Column("version", String(40)),
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
    Column("consumer", String(140), nullable=False),
    Column("doctype", String(140), nullable=False),
    Column("status", String(20), nullable=False),
    Column("opens", Text, nullable=False, comment="JSON list: the types that it opens through links"),
    Column("log", SITE, comment="the log that from_sequence belongs to"),
    Column("from_sequence", BIG, comment="entries after this one are the consumer's"),
    Column("asked_at", BIG, nullable=False),
    Column("decided_at", BIG),
    Column(
        "resumed", Boolean, nullable=False, comment="approved again after a break: what lies between was not served"
    ),
    PrimaryKeyConstraint("site", "consumer", "doctype"),
)

producers = Table(
    "producers",
    metadata,
    Column("site", SITE, nullable=False),
    Column("name", String(140), nullable=False, comment="as in the configuration"),
    Column("url", Text, nullable=False),
    Column("producer_site", SITE, comment="its UUID"),
    Column("producer_name", String(140), comment="what it calls itself"),
    Column("version", String(40)),
    Column("paused", Boolean, nullable=False),
    Column("status", String(30), nullable=False),
    Column("error", Text, nullable=False),
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
    Column("producer", String(140), nullable=False),
    Column("doctype", String(140), nullable=False),
    Column("status", String(20), nullable=False),
    Column("opens", Text, nullable=False),
    Column("approved_at", BIG, comment="by the producer's clock"),
    PrimaryKeyConstraint("site", "producer", "doctype"),
)

sync_batch = Table(
    "sync_batch",
    metadata,
    Column("site", SITE, nullable=False),
    Column("id", String(32), nullable=False),
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
    Column("batch", String(32), comment="set while the batch is not confirmed"),
    Column("update_type", String(10), nullable=False),
    Column("status", String(20), nullable=False),
    Column("doctype", String(140), nullable=False),
    Column("producer", String(140), nullable=False),
    Column("docname", Text, nullable=False),
    Column("remote_docname", Text, nullable=False),
    Column("use_same_name", Boolean, nullable=False),
    Column("data", Text, nullable=False),
    Column("sequence", BIG, nullable=False),
    Column("error", Text, nullable=False),
    Column("note", Text, nullable=False),
    sqlite_autoincrement=True,
)
Index("sync_log_status", sync_log.c.site, sync_log.c.status, sync_log.c.id)
Index("sync_log_document", sync_log.c.site, sync_log.c.doctype, sync_log.c.docname)
Index("sync_log_batch", sync_log.c.batch)
Index("sync_log_at", sync_log.c.site, sync_log.c.at)

requests = Table(
    "requests",
    metadata,
    Column("id", BIG, primary_key=True, autoincrement=True),
    Column("site", SITE, nullable=False),
    Column("kind", String(20), nullable=False, comment="whole: read a type again from its producer"),
    Column("producer", String(140), nullable=False),
    Column("doctype", String(140), nullable=False),
    Column("requested_at", BIG, nullable=False),
    Column("finished_at", BIG),
    Column("result", Text, nullable=False),
    comment="what commands ask the daemon to do",
    sqlite_autoincrement=True,
)

heartbeat = Table(
    "heartbeat",
    metadata,
    Column("site", SITE, primary_key=True),
    Column("pid", Integer, nullable=False),
    Column("host", String(255), nullable=False),
    Column("version", String(40), nullable=False),
    Column("started_at", BIG, nullable=False),
    Column("beat_at", BIG, nullable=False),
    Column("stopped_at", BIG),
    Column("captured", BIG, nullable=False, comment="changes captured since the start"),
    Column("problem", Text, nullable=False, comment="what holds capture up, or empty"),
)
