"""why a subscribed type is paused, and since when"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    with op.batch_alter_table("subscriptions") as table:
        table.add_column(
            sa.Column(
                "paused",
                sa.Text(),
                nullable=False,
                server_default="",
                comment="why its events cannot be applied, or empty",
            )
        )
        table.add_column(sa.Column("paused_at", big, comment="since when, by our clock"))


def downgrade() -> None:
    with op.batch_alter_table("subscriptions") as table:
        table.drop_column("paused_at")
        table.drop_column("paused")
