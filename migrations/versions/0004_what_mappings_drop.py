"""what Document Type Mappings drop is shown to people"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("subscriptions") as table:
        table.add_column(
            sa.Column(
                "unmapped",
                sa.Text(),
                nullable=False,
                server_default="[]",
                comment="JSON list: the producer's fields that a mapping drops",
            )
        )


def downgrade() -> None:
    with op.batch_alter_table("subscriptions") as table:
        table.drop_column("unmapped")
