"""campaigns.paused_code, campaigns.paused_reason."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("campaigns", sa.Column("paused_code", sa.Text(), nullable=True))
    op.add_column("campaigns", sa.Column("paused_reason", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("campaigns", "paused_reason")
    op.drop_column("campaigns", "paused_code")
