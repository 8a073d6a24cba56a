"""campaigns.rate, campaigns.rated_at."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("campaigns", sa.Column("rate", sa.Float(), nullable=False, server_default="0"))
    op.add_column("campaigns", sa.Column("rated_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("campaigns", "rated_at")
    op.drop_column("campaigns", "rate")
