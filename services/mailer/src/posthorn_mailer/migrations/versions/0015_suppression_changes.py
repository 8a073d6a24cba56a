"""suppression changes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "suppression_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("change_id", sa.Uuid(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_suppression_changes")),
    )
    op.create_index(
        "ix_suppression_changes_untold",
        "suppression_changes",
        ["organisation_id", "id"],
        postgresql_where=sa.text("change_id IS NULL"),
    )
    op.create_index(
        op.f("ix_suppression_changes_change_id"),
        "suppression_changes",
        ["change_id"],
        postgresql_where=sa.text("change_id IS NOT NULL"),
    )
    op.create_index(
        op.f("ix_suppression_changes_organisation_id_email"), "suppression_changes", ["organisation_id", "email"]
    )
    op.create_index(op.f("ix_suppression_changes_at"), "suppression_changes", ["at"], postgresql_using="brin")
    # What is suppressed already has never been told.
    op.execute(
        "INSERT INTO suppression_changes (organisation_id, email) SELECT organisation_id, email FROM suppressions"
    )


def downgrade() -> None:
    op.drop_table("suppression_changes")
