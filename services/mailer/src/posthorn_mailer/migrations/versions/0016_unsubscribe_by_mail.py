"""unsubscribe by mail."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sending_domains", sa.Column("unsubscribe_email", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("sending_domains", "unsubscribe_email")
