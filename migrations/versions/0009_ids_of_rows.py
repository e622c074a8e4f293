"""which child rows of its document an event means, where their keys do not tell"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("update_log", sa.Column("rows", sa.Text(), comment="the same of its child rows"))


def downgrade() -> None:
    op.drop_column("update_log", "rows")
