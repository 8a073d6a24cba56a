"""relay_domain_days."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "relay_domain_days",
        sa.Column("relay_id", sa.Uuid(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("recipient_group", sa.Text(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["relay_id"], ["relays.id"], name=op.f("fk_relay_domain_days_relay_id_relays")),
        sa.PrimaryKeyConstraint("relay_id", "day", "recipient_group", name=op.f("pk_relay_domain_days")),
    )


def downgrade() -> None:
    op.drop_table("relay_domain_days")
