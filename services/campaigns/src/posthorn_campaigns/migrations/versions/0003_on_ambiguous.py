"""campaigns.on_ambiguous."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("campaigns", sa.Column("on_ambiguous", sa.Text(), nullable=True))
    op.create_check_constraint(op.f("ck_campaigns_on_ambiguous"), "campaigns", "on_ambiguous IN ('hold', 'resend')")


def downgrade() -> None:
    op.drop_column("campaigns", "on_ambiguous")
