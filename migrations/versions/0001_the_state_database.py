"""the state database"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def text(length: int) -> sa.types.TypeEngine[str]:
    """Text that SQLite is told a length for, which it does not mind; PostgreSQL would refuse what is longer."""
    return sa.String(length).with_variant(sa.Text(), "postgresql")


def upgrade() -> None:

    op.create_table(
        "api_keys",
        sa.Column("site", text(36), nullable=False),
        sa.Column("api_key", text(64), nullable=False),
        sa.Column("secret_hash", text(64), nullable=False, comment="SHA-256 of the secret"),
        sa.Column("consumer", text(140), nullable=False, comment="the name that the key was made for"),
        sa.Column("created_at", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("last_used_at", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("revoked_at", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.PrimaryKeyConstraint("site", "api_key"),
    )
    op.create_table(
        "approvals",
        sa.Column("site", text(36), nullable=False),
        sa.Column("consumer", text(140), nullable=False),
        sa.Column("doctype", text(140), nullable=False),
        sa.Column("status", text(20), nullable=False),
        sa.Column("opens", sa.Text(), nullable=False, comment="JSON list: the types that it opens through links"),
        sa.Column("log", text(36), nullable=True, comment="the log that from_sequence belongs to"),
        sa.Column(
            "from_sequence",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=True,
            comment="entries after this one are the consumer's",
        ),
        sa.Column("asked_at", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("decided_at", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column(
            "resumed",
            sa.Boolean(),
            nullable=False,
            comment="approved again after a break: what lies between was not served",
        ),
        sa.PrimaryKeyConstraint("site", "consumer", "doctype"),
    )
    op.create_table(
        "consumers",
        sa.Column("site", text(36), nullable=False),
        sa.Column("name", text(140), nullable=False, comment="the name that its key was made for"),
        sa.Column("consumer_site", text(36), nullable=True, comment="its UUID, bound at its first handshake"),
        sa.Column("consumer_name", text(140), nullable=True, comment="what it calls itself"),
        sa.Column("version", text(40), nullable=True),
        sa.Column("registered_at", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("last_seen_at", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column(
            "acknowledged",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="everything up to this sequence is durable there",
        ),
        sa.Column("acknowledged_log", text(36), nullable=False),
        sa.PrimaryKeyConstraint("site", "name"),
    )
    op.create_table(
        "heartbeat",
        sa.Column("site", text(36), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("host", text(255), nullable=False),
        sa.Column("version", text(40), nullable=False),
        sa.Column("started_at", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("beat_at", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("stopped_at", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column(
            "captured",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="changes captured since the start",
        ),
        sa.Column("problem", sa.Text(), nullable=False, comment="what holds capture up, or empty"),
        sa.PrimaryKeyConstraint("site"),
    )
    op.create_table(
        "log_head",
        sa.Column("site", text(36), nullable=False),
        sa.Column("log", text(36), nullable=False, comment="id of the Event Update Log; a new one after a restore"),
        sa.Column(
            "batch",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="number of the last claimed batch that is in the log",
        ),
        sa.Column("digest", text(64), nullable=False, comment="of that batch"),
        sa.Column(
            "sequence",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="of the last entry",
        ),
        sa.Column("nonce", text(32), nullable=False, comment="of the last entry"),
        sa.Column(
            "trimmed_to",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="sequence of the last entry that was trimmed",
        ),
        sa.Column("trimmed_nonce", text(32), nullable=False),
        sa.PrimaryKeyConstraint("site"),
    )
    op.create_table(
        "producers",
        sa.Column("site", text(36), nullable=False),
        sa.Column("name", text(140), nullable=False, comment="as in the configuration"),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("producer_site", text(36), nullable=True, comment="its UUID"),
        sa.Column("producer_name", text(140), nullable=True, comment="what it calls itself"),
        sa.Column("version", text(40), nullable=True),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("status", text(30), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column(
            "sequence",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="applied up to here",
        ),
        sa.Column(
            "head",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="its log's end when we last heard",
        ),
        sa.Column("last_contact_at", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("last_event_at", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.PrimaryKeyConstraint("site", "name"),
    )
    op.create_table(
        "requests",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("site", text(36), nullable=False),
        sa.Column("kind", text(20), nullable=False, comment="whole: read a type again from its producer"),
        sa.Column("producer", text(140), nullable=False),
        sa.Column("doctype", text(140), nullable=False),
        sa.Column("requested_at", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("finished_at", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("result", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        comment="what commands ask the daemon to do",
        sqlite_autoincrement=True,
    )
    op.create_table(
        "subscriptions",
        sa.Column("site", text(36), nullable=False),
        sa.Column("producer", text(140), nullable=False),
        sa.Column("doctype", text(140), nullable=False),
        sa.Column("status", text(20), nullable=False),
        sa.Column("opens", sa.Text(), nullable=False),
        sa.Column(
            "approved_at",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=True,
            comment="by the producer's clock",
        ),
        sa.PrimaryKeyConstraint("site", "producer", "doctype"),
    )
    op.create_table(
        "sync_batch",
        sa.Column("site", text(36), nullable=False),
        sa.Column("id", text(32), nullable=False),
        sa.Column("producer_site", text(36), nullable=False),
        sa.Column("log", text(36), nullable=False),
        sa.Column(
            "sequence",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            comment="the checkpoint that confirms the batch",
        ),
        sa.PrimaryKeyConstraint("site", "id"),
        comment="batches that may or may not have been committed at the site; confirmed ones are removed",
    )
    op.create_table(
        "sync_log",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("site", text(36), nullable=False),
        sa.Column("at", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("batch", text(32), nullable=True, comment="set while the batch is not confirmed"),
        sa.Column("update_type", text(10), nullable=False),
        sa.Column("status", text(20), nullable=False),
        sa.Column("doctype", text(140), nullable=False),
        sa.Column("producer", text(140), nullable=False),
        sa.Column("docname", sa.Text(), nullable=False),
        sa.Column("remote_docname", sa.Text(), nullable=False),
        sa.Column("use_same_name", sa.Boolean(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("sync_log", schema=None) as batch_op:
        batch_op.create_index("sync_log_at", ["site", "at"], unique=False)
        batch_op.create_index("sync_log_batch", ["batch"], unique=False)
        batch_op.create_index("sync_log_document", ["site", "doctype", "docname"], unique=False)
        batch_op.create_index("sync_log_status", ["site", "status", "id"], unique=False)

    op.create_table(
        "update_log",
        sa.Column("site", text(36), nullable=False),
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("nonce", text(32), nullable=False),
        sa.Column("tx", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("last_in_tx", sa.Boolean(), nullable=False),
        sa.Column("doctype", text(140), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("operation", text(10), nullable=False),
        sa.Column("clock", text(40), nullable=False),
        sa.Column("at", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("renamed_from", sa.Text(), nullable=True),
        sa.Column("origin", sa.Text(), nullable=True),
        sa.Column("path", sa.Text(), nullable=False, comment="the sites that it has been at, separated by spaces"),
        sa.PrimaryKeyConstraint("site", "sequence"),
    )
    with op.batch_alter_table("update_log", schema=None) as batch_op:
        batch_op.create_index("update_log_at", ["site", "at"], unique=False)
        batch_op.create_index("update_log_document", ["site", "doctype", "name"], unique=False)


def downgrade() -> None:

    with op.batch_alter_table("update_log", schema=None) as batch_op:
        batch_op.drop_index("update_log_document")
        batch_op.drop_index("update_log_at")

    op.drop_table("update_log")
    with op.batch_alter_table("sync_log", schema=None) as batch_op:
        batch_op.drop_index("sync_log_status")
        batch_op.drop_index("sync_log_document")
        batch_op.drop_index("sync_log_batch")
        batch_op.drop_index("sync_log_at")

    op.drop_table("sync_log")
    op.drop_table("sync_batch")
    op.drop_table("subscriptions")
    op.drop_table("requests")
    op.drop_table("producers")
    op.drop_table("log_head")
    op.drop_table("heartbeat")
    op.drop_table("consumers")
    op.drop_table("approvals")
    op.drop_table("api_keys")
