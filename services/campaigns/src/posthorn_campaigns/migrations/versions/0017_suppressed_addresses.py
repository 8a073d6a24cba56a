"""suppressed addresses."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "suppressed_addresses",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(collation="C"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "email", name=op.f("pk_suppressed_addresses")),
    )
    op.create_index(
        op.f("ix_suppressed_addresses_told_at"),
        "suppressed_addresses",
        ["told_at"],
        postgresql_where=sa.text("reason IS NULL"),
    )


def downgrade() -> None:
    op.drop_table("suppressed_addresses")
