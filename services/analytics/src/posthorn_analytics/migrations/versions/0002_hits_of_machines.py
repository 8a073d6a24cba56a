"""How many of a recipient's opens and clicks are a machine's."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("recipients", sa.Column("machine_hits", sa.Integer(), server_default="0", nullable=False))


def downgrade() -> None:
    op.drop_column("recipients", "machine_hits")
