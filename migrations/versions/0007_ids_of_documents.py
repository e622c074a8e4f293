"""which documents an event and its links mean, where their names do not tell"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name, comment in (
        ("id", "which document it is, as JSON, where that is not what its name says"),
        ("links", "the same of the documents that it links to"),
    ):
        op.add_column("update_log", sa.Column(name, sa.Text(), comment=comment))


def downgrade() -> None:
    op.drop_column("update_log", "links")
    op.drop_column("update_log", "id")
