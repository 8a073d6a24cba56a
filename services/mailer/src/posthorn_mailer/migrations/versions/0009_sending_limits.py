"""sending limits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sending_limits",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("messages_per_second", sa.Float(), nullable=True),
        sa.Column("domains", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", name=op.f("pk_sending_limits")),
    )
    op.add_column("sends", sa.Column("messages_per_second", sa.Float(), nullable=True))


def downgrade() -> None:
    op.drop_column("sends", "messages_per_second")
    op.drop_table("sending_limits")
