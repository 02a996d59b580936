"""A settlement names the valuation that it pays by, a dispute may call for another. Triggers: `env.py`."""

import sqlalchemy as sa
from alembic import op

from ledger.exact_integer import ExactInteger
from ledger.migrations import assert_unused
from ledger.text import Text

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

COLUMNS = (("settlements", "valuation"), ("disputes", "calls_for"), ("resolutions", "payout"))


def upgrade() -> None:
    op.add_column("settlements", sa.Column("valuation", Text(), nullable=True))
    op.add_column("disputes", sa.Column("calls_for", Text(), nullable=True))
    op.add_column("resolutions", sa.Column("payout", ExactInteger(), nullable=True))


def downgrade() -> None:
    for table, column in COLUMNS:
        assert_unused(op.get_bind(), revision, table, beyond=f"{column} IS NULL")
    for table, column in COLUMNS:
        op.drop_column(table, column)
