"""which documents an event and its links mean, where their names do not tell, in place of lives of names"""

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
    # A document that was in another life of its name than the first one has that as its id from here on.
    op.execute("UPDATE update_log SET id = '{\"name\":' || name || ',\"clock\":\"' || life || '\"}' WHERE life <> ''")
    op.drop_column("update_log", "old_life")
    op.drop_column("update_log", "life")


def downgrade() -> None:
    for name in ("life", "old_life"):
        op.add_column("update_log", sa.Column(name, sa.String(40).with_variant(sa.Text(), "postgresql")))
    op.drop_column("update_log", "links")
    op.drop_column("update_log", "id")
