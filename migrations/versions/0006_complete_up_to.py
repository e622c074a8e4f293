"""up to which moment a type is complete here, and how far this site's own changes were captured"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

COLUMNS = (
    ("subscriptions", "complete_to", "what was committed there before this moment (its clock) is here"),
    ("subscriptions", "complete_age", "milliseconds between that moment and its word, by its clock"),
    ("subscriptions", "complete_heard_at", "when it said so, by our clock"),
    ("heartbeat", "captured_to", "what was committed at this site before this moment is in the log"),
)


def upgrade() -> None:
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    for table, name, comment in COLUMNS:
        op.add_column(table, sa.Column(name, big, comment=comment))


def downgrade() -> None:
    for table, name, _ in COLUMNS:
        with op.batch_alter_table(table) as batch:
            batch.drop_column(name)
