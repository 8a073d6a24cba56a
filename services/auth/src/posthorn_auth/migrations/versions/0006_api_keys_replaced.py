"""api keys replaced."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("replaced_by", sa.Uuid(), nullable=True))


def downgrade() -> None:
    op.drop_column("api_keys", "replaced_by")
