"""imports.kind, imports.mapping, imports.lift_reason, imports.lifted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("imports", sa.Column("lift_reason", sa.Text(), nullable=True))
    op.add_column("imports", sa.Column("kind", sa.Text(), nullable=False, server_default="csv"))
    op.add_column("imports", sa.Column("mapping", JSONB(), nullable=False, server_default="{}"))
    op.alter_column("imports", "kind", server_default=None)
    op.alter_column("imports", "mapping", server_default=None)
    op.add_column("imports", sa.Column("lifted", sa.BigInteger(), server_default="0", nullable=False))
    op.create_check_constraint(op.f("ck_imports_kind"), "imports", "kind IN ('csv', 'ndjson')")


def downgrade() -> None:
    op.drop_constraint(op.f("ck_imports_kind"), "imports")
    for name in ("lifted", "mapping", "kind", "lift_reason"):
        op.drop_column("imports", name)
