"""What Alembic runs around the migrations; the connection comes from `ledger.migrations.configuration`."""

from alembic import context

from ledger import triggers
from ledger.migrations import assert_referring
from ledger.models import Row

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Row.metadata, render_as_batch=True)
with context.begin_transaction():
    # Batch mode rebuilds a table: the rebuilt one has no triggers, and none may speak of it meanwhile.
    triggers.remove(connection)
    context.run_migrations()
    assert_referring(connection)
    triggers.install(connection)
