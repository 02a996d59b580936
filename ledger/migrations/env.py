"""What Alembic runs around the migrations; the connection comes from `ledger.migrations.configuration`."""

from alembic import context

from ledger import triggers
from ledger.models import Row

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Row.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
    # Batch mode rebuilds a table, and the rebuilt table has no triggers.
    triggers.install(connection)
