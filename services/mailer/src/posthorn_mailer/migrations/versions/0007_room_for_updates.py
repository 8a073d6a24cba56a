"""room for updates."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE deliveries SET (fillfactor = 45)")


def downgrade() -> None:
    op.execute("ALTER TABLE deliveries SET (fillfactor = 60)")
