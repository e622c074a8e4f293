"""what a consumer asks of a type besides its name: a condition, and types that it may look into by value"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name, default, comment in (
        ("condition", "", "only documents for which this holds"),
        ("lookups", "[]", "JSON list: the types to be found by value"),
    ):
        column = sa.Column(name, sa.Text(), nullable=False, server_default=default, comment=comment)
        op.add_column("approvals", column)
    renamed = sa.text("renamed_from IS NOT NULL")
    op.create_index(
        "update_log_renamed",
        "update_log",
        ["site", "doctype", sa.text("substr(renamed_from, 1, 400)")],
        sqlite_where=renamed,
        postgresql_where=renamed,
    )


def downgrade() -> None:
    op.drop_index("update_log_renamed", table_name="update_log")
    op.drop_column("approvals", "lookups")
    op.drop_column("approvals", "condition")
