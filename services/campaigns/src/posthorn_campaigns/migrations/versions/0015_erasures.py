"""erasures."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("contact_id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("email_hash", sa.LargeBinary(), nullable=False),
        sa.Column("requested_by_kind", sa.Text(), nullable=False),
        sa.Column("requested_by", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("confirmations", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('running', 'completed')", name=op.f("ck_erasures_state")),
        sa.CheckConstraint("state = 'running' OR email IS NULL", name=op.f("ck_erasures_address_forgotten")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasures")),
    )
    op.create_index(op.f("ix_erasures_organisation_id_id"), "erasures", ["organisation_id", "id"], unique=False)
    op.create_index(
        op.f("ix_erasures_organisation_id_email_hash"), "erasures", ["organisation_id", "email_hash"], unique=False
    )
    op.create_index(
        "ix_erasures_running", "erasures", ["published_at"], unique=False, postgresql_where=sa.text("state = 'running'")
    )


def downgrade() -> None:
    op.drop_table("erasures")
