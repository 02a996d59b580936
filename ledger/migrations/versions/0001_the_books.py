"""The books: journal, registry, runs and settlements. Triggers are added by env.py, after every upgrade."""

import sqlalchemy as sa
from alembic import op

from ledger.exact_integer import ExactInteger

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "entries",
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("recorded_at", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("payload", sa.String(), nullable=False),
        sa.Column("content", sa.String(), nullable=False),
        sa.Column("previous", sa.String(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("reverses", sa.Integer(), nullable=True),
        sa.CheckConstraint(
            "length(content) = 64 AND length(previous) = 64 AND length(hash) = 64",
            name=op.f("ck_entries_hashes_are_sha256"),
        ),
        sa.CheckConstraint("reverses < sequence", name=op.f("ck_entries_a_reversal_follows_what_it_reverses")),
        sa.CheckConstraint("sequence >= 1", name=op.f("ck_entries_entries_are_counted_from_one")),
        sa.ForeignKeyConstraint(["reverses"], ["entries.sequence"], name=op.f("fk_entries_reverses_entries")),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_entries")),
        sa.UniqueConstraint("hash", name=op.f("uq_entries_hash")),
        sa.UniqueConstraint("key", name=op.f("uq_entries_key")),
        sa.UniqueConstraint("reverses", name=op.f("uq_entries_reverses")),
    )
    op.create_index(op.f("ix_entries_subject"), "entries", ["subject"])

    op.create_table(
        "head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_head_there_is_one_head")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_head")),
    )
    op.create_table(
        "commodities",
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("exponent", sa.Integer(), nullable=False),
        sa.Column("entry", sa.Integer(), nullable=False),
        sa.CheckConstraint("exponent BETWEEN 0 AND 18", name=op.f("ck_commodities_an_exponent_is_0_to_18")),
        sa.ForeignKeyConstraint(["entry"], ["entries.sequence"], name=op.f("fk_commodities_entry_entries")),
        sa.PrimaryKeyConstraint("code", name=op.f("pk_commodities")),
        sa.UniqueConstraint("entry", name=op.f("uq_commodities_entry")),
    )
    op.create_table(
        "contributors",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("entry", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "length(id) BETWEEN 1 AND 64 AND id = lower(id)", name=op.f("ck_contributors_an_id_is_short_and_lower_case")
        ),
        sa.ForeignKeyConstraint(["entry"], ["entries.sequence"], name=op.f("fk_contributors_entry_entries")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contributors")),
        sa.UniqueConstraint("entry", name=op.f("uq_contributors_entry")),
    )
    op.create_table(
        "objectives",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("task_count", sa.Integer(), nullable=False),
        sa.Column("entry", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["entry"], ["entries.sequence"], name=op.f("fk_objectives_entry_entries")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_objectives")),
        sa.UniqueConstraint("entry", name=op.f("uq_objectives_entry")),
    )
    op.create_table(
        "settings",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.Column("entry", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["entry"], ["entries.sequence"], name=op.f("fk_settings_entry_entries")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_settings")),
        sa.UniqueConstraint("entry", name=op.f("uq_settings_entry")),
    )
    op.create_table(
        "accounts",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("contributor", sa.String(), nullable=True),
        sa.CheckConstraint(
            "(contributor IS NULL AND name = kind) OR name = kind || ':' || contributor",
            name=op.f("ck_accounts_an_account_is_named_by_kind_and_owner"),
        ),
        sa.ForeignKeyConstraint(
            ["contributor"], ["contributors.id"], name=op.f("fk_accounts_contributor_contributors")
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_accounts")),
    )
    op.create_table(
        "datasets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("contributor", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("licence", sa.String(), nullable=False),
        sa.Column("record_count", sa.BigInteger(), nullable=False),
        sa.Column("byte_count", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("entry", sa.Integer(), nullable=False),
        sa.CheckConstraint("licence <> ''", name=op.f("ck_datasets_a_dataset_has_a_licence")),
        sa.CheckConstraint("byte_count > 0", name=op.f("ck_datasets_a_dataset_has_a_byte")),
        sa.CheckConstraint("length(fingerprint) = 64", name=op.f("ck_datasets_a_fingerprint_is_a_sha256")),
        sa.CheckConstraint("record_count > 0", name=op.f("ck_datasets_a_dataset_has_a_record")),
        sa.ForeignKeyConstraint(
            ["contributor"], ["contributors.id"], name=op.f("fk_datasets_contributor_contributors")
        ),
        sa.ForeignKeyConstraint(["entry"], ["entries.sequence"], name=op.f("fk_datasets_entry_entries")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
        sa.UniqueConstraint("entry", name=op.f("uq_datasets_entry")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_datasets_fingerprint")),
    )
    op.create_index(op.f("ix_datasets_contributor"), "datasets", ["contributor"])

    op.create_table(
        "objective_tasks",
        sa.Column("entry", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("objective", sa.String(), nullable=False),
        sa.Column("task", sa.String(), nullable=False),
        sa.Column("weight", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("record_count", sa.BigInteger(), nullable=False),
        sa.Column("byte_count", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.CheckConstraint("length(fingerprint) = 64", name=op.f("ck_objective_tasks_a_fingerprint_is_a_sha256")),
        sa.CheckConstraint("record_count > 0", name=op.f("ck_objective_tasks_a_task_has_a_record")),
        sa.ForeignKeyConstraint(["entry"], ["entries.sequence"], name=op.f("fk_objective_tasks_entry_entries")),
        sa.ForeignKeyConstraint(["objective"], ["objectives.id"], name=op.f("fk_objective_tasks_objective_objectives")),
        sa.PrimaryKeyConstraint("entry", name=op.f("pk_objective_tasks")),
        sa.UniqueConstraint("objective", "task", name=op.f("uq_objective_tasks_objective_task")),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("began_at", sa.String(), nullable=False),
        sa.Column("ended_at", sa.String(), nullable=True),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("objective", sa.String(), nullable=True),
        sa.Column("improvement", ExactInteger(), nullable=False),
        sa.Column("house", ExactInteger(), nullable=False),
        sa.Column("gap", ExactInteger(), nullable=False),
        sa.Column("entry", sa.Integer(), nullable=False),
        sa.CheckConstraint("length(id) = 64", name=op.f("ck_runs_a_run_is_named_by_its_records_sha256")),
        sa.ForeignKeyConstraint(["entry"], ["entries.sequence"], name=op.f("fk_runs_entry_entries")),
        sa.ForeignKeyConstraint(["objective"], ["objectives.id"], name=op.f("fk_runs_objective_objectives")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        sa.UniqueConstraint("entry", name=op.f("uq_runs_entry")),
    )
    op.create_table(
        "consents",
        sa.Column("entry", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("dataset", sa.String(), nullable=False),
        sa.Column("change", sa.String(), nullable=False),
        sa.Column("effective_at", sa.String(), nullable=False),
        sa.CheckConstraint("change IN ('given', 'withdrawn')", name=op.f("ck_consents_consent_is_given_or_withdrawn")),
        sa.CheckConstraint("length(effective_at) = 27", name=op.f("ck_consents_an_instant_is_utc_with_microseconds")),
        sa.ForeignKeyConstraint(["dataset"], ["datasets.fingerprint"], name=op.f("fk_consents_dataset_datasets")),
        sa.ForeignKeyConstraint(["entry"], ["entries.sequence"], name=op.f("fk_consents_entry_entries")),
        sa.PrimaryKeyConstraint("entry", name=op.f("pk_consents")),
    )
    op.create_index(op.f("ix_consents_dataset"), "consents", ["dataset"])

    op.create_table(
        "dataset_records",
        sa.Column("dataset", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("copies", sa.Integer(), nullable=False),
        sa.CheckConstraint("copies > 0", name=op.f("ck_dataset_records_a_record_occurs")),
        sa.CheckConstraint("length(hash) = 32", name=op.f("ck_dataset_records_a_hash_is_a_sha256")),
        sa.ForeignKeyConstraint(["dataset"], ["datasets.id"], name=op.f("fk_dataset_records_dataset_datasets")),
        sa.PrimaryKeyConstraint("dataset", "hash", name=op.f("pk_dataset_records")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_dataset_records_hash"), "dataset_records", ["hash"])

    op.create_table(
        "postings",
        sa.Column("entry", sa.Integer(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("commodity", sa.String(), nullable=False),
        sa.Column("side", sa.String(), nullable=False),
        sa.Column("amount", ExactInteger(), nullable=False),
        sa.CheckConstraint(sa.column("amount", ExactInteger()) > 0, name=op.f("ck_postings_an_amount_is_positive")),
        sa.CheckConstraint("side IN ('debit', 'credit')", name=op.f("ck_postings_a_posting_is_a_debit_or_a_credit")),
        sa.ForeignKeyConstraint(["account"], ["accounts.name"], name=op.f("fk_postings_account_accounts")),
        sa.ForeignKeyConstraint(["commodity"], ["commodities.code"], name=op.f("fk_postings_commodity_commodities")),
        sa.ForeignKeyConstraint(["entry"], ["entries.sequence"], name=op.f("fk_postings_entry_entries")),
        sa.PrimaryKeyConstraint("entry", "line", name=op.f("pk_postings")),
    )
    op.create_index(op.f("ix_postings_account"), "postings", ["account"])

    op.create_table(
        "settlements",
        sa.Column("entry", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("funding", sa.Integer(), nullable=True),
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("mode", sa.String(), nullable=False),
        sa.Column("asset", sa.String(), nullable=False),
        sa.Column("amount", ExactInteger(), nullable=False),
        sa.Column("negative", sa.String(), nullable=False),
        sa.Column("fee_basis_points", sa.Integer(), nullable=False),
        sa.Column("partial", sa.Boolean(), nullable=False),
        sa.CheckConstraint(sa.column("amount", ExactInteger()) > 0, name=op.f("ck_settlements_an_amount_is_positive")),
        sa.CheckConstraint(
            "mode IN ('pool', 'rate')", name=op.f("ck_settlements_a_settlement_divides_a_pool_or_pays_a_rate")
        ),
        sa.CheckConstraint(
            "negative IN ('floor', 'carry')", name=op.f("ck_settlements_negative_values_are_floored_or_carried")
        ),
        sa.CheckConstraint("attempt >= 1", name=op.f("ck_settlements_attempts_are_counted_from_one")),
        sa.CheckConstraint(
            "fee_basis_points BETWEEN 0 AND 10000", name=op.f("ck_settlements_a_fee_is_0_to_10000_basis_points")
        ),
        sa.ForeignKeyConstraint(["asset"], ["commodities.code"], name=op.f("fk_settlements_asset_commodities")),
        sa.ForeignKeyConstraint(["entry"], ["entries.sequence"], name=op.f("fk_settlements_entry_entries")),
        sa.ForeignKeyConstraint(["funding"], ["entries.sequence"], name=op.f("fk_settlements_funding_entries")),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name=op.f("fk_settlements_run_runs")),
        sa.PrimaryKeyConstraint("entry", name=op.f("pk_settlements")),
        sa.UniqueConstraint("funding", name=op.f("uq_settlements_funding")),
        sa.UniqueConstraint("run", "attempt", name=op.f("uq_settlements_run_attempt")),
    )


def downgrade() -> None:
    raise NotImplementedError("a ledger keeps what it holds: there is no way back")
