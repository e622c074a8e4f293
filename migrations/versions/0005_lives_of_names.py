"""of which life the name of an event's document is: names are used again"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name, comment in (
        ("life", "of which life its name is, where that is known"),
        ("old_life", "the same of the name before a rename"),
    ):
        text = sa.String(40).with_variant(sa.Text(), "postgresql")
        op.add_column("update_log", sa.Column(name, text, comment=comment))


def downgrade() -> None:
    op.drop_column("update_log", "old_life")
    op.drop_column("update_log", "life")
