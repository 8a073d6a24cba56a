"""warm-up plans of relays, and what was sent by day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("relays", sa.Column("warm_up", postgresql.JSONB(), nullable=True))
    op.create_table(
        "relay_days",
        sa.Column("relay_id", sa.Uuid(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["relay_id"], ["relays.id"], name=op.f("fk_relay_days_relay_id_relays")),
        sa.PrimaryKeyConstraint("relay_id", "day", name=op.f("pk_relay_days")),
    )


def downgrade() -> None:
    op.drop_table("relay_days")
    op.drop_column("relays", "warm_up")
