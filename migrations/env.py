"""Alembic's entry: run by `streamd.store.migrate`, with the state database's URL in the configuration."""

from alembic import context
from sqlalchemy import Connection

from streamd.db import open_state
from streamd.store.schema import metadata

url = context.config.get_main_option("sqlalchemy.url")


def run(connection: Connection) -> None:
    # All of it or nothing: what is stopped in the middle can be done again.
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    context.configure(url=url, target_metadata=metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    open_state(url).upgrade(run)
