"""names are found by their beginnings: an index of PostgreSQL refuses values of more than about 2,700 bytes"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("update_log_document", table_name="update_log")
    op.create_index("update_log_document", "update_log", ["site", "doctype", sa.text("substr(name, 1, 400)")])
    op.drop_index("sync_log_document", table_name="sync_log")
    op.create_index("sync_log_document", "sync_log", ["site", "doctype", sa.text("substr(docname, 1, 400)")])


def downgrade() -> None:
    op.drop_index("sync_log_document", table_name="sync_log")
    op.create_index("sync_log_document", "sync_log", ["site", "doctype", "docname"])
    op.drop_index("update_log_document", table_name="update_log")
    op.create_index("update_log_document", "update_log", ["site", "doctype", "name"])
