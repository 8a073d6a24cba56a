"""weights of relays."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("relays", sa.Column("weight", sa.Integer(), server_default="0", nullable=False))
    op.create_check_constraint(op.f("ck_relays_weight"), "relays", "weight BETWEEN 0 AND 1000")


def downgrade() -> None:
    op.drop_constraint(op.f("ck_relays_weight"), "relays")
    op.drop_column("relays", "weight")
