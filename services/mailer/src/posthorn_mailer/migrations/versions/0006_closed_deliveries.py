"""closed deliveries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sends", sa.Column("closed_month", sa.Date(), nullable=True))
    op.add_column("sends", sa.Column("moved_to", sa.Integer(), server_default="0", nullable=False))
    op.add_column("sends", sa.Column("compacted_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("sends", sa.Column("final_counts", postgresql.JSONB(none_as_null=True), nullable=True))
    op.create_index(
        "ix_sends_to_close", "sends", ["drained_at"], unique=False, postgresql_where=sa.text("closed_month IS NULL")
    )
    op.create_index("ix_sends_closed_month", "sends", ["closed_month"], unique=False)
    op.create_table(
        "closed_deliveries",
        sa.Column("send_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("contact_id", sa.Uuid(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("smtp_code", sa.SmallInteger(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("enhanced_code", sa.Text(), nullable=True),
        sa.Column("cause", sa.Text(), nullable=True),
        sa.Column("reply", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("send_id", "number", "month", name=op.f("pk_closed_deliveries")),
        postgresql_partition_by="RANGE (month)",
    )
    op.create_index(
        op.f("ix_closed_deliveries_send_id_contact_id_month"),
        "closed_deliveries",
        ["send_id", "contact_id", "month"],
        unique=True,
    )


def downgrade() -> None:
    # What is closed has lost what the table of open deliveries cannot do without; its counts go with it.
    op.drop_index(op.f("ix_closed_deliveries_send_id_contact_id_month"), table_name="closed_deliveries")
    op.drop_table("closed_deliveries")
    op.drop_index("ix_sends_closed_month", table_name="sends")
    op.drop_index("ix_sends_to_close", table_name="sends", postgresql_where=sa.text("closed_month IS NULL"))
    op.drop_column("sends", "final_counts")
    op.drop_column("sends", "compacted_at")
    op.drop_column("sends", "moved_to")
    op.drop_column("sends", "closed_month")
