"""Alembic's entry point. The caller brings the connection, in a transaction it has locked."""

from alembic import context

from db.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # SQLite cannot alter a table in place; Alembic copies it instead.
    render_as_batch=True,
    transactional_ddl=False,
)
context.run_migrations()
