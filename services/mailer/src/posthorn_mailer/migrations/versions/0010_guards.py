"""sends.guard_armed_at, sends.guard_reason."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sends", sa.Column("guard_armed_at", sa.Integer(), server_default="0", nullable=False))
    op.add_column("sends", sa.Column("guard_reason", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("sends", "guard_reason")
    op.drop_column("sends", "guard_armed_at")
