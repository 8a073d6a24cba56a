"""suppressions.expires_at; the reason `import`."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_REASON = "ck_suppressions_reason"
_FOR_GOOD = "ck_suppressions_hard_for_good"
_INDEX = "ix_suppressions_expires_at"


def upgrade() -> None:
    op.add_column("suppressions", sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True))
    op.drop_constraint(op.f(_REASON), "suppressions")
    op.create_check_constraint(
        op.f(_REASON), "suppressions", "reason IN ('hard_bounce', 'complaint', 'manual', 'import', 'unsubscribe')"
    )
    op.create_check_constraint(
        op.f(_FOR_GOOD), "suppressions", "expires_at IS NULL OR reason NOT IN ('hard_bounce', 'complaint')"
    )
    op.create_index(
        op.f(_INDEX), "suppressions", ["expires_at"], unique=False, postgresql_where=sa.text("expires_at IS NOT NULL")
    )


def downgrade() -> None:
    op.drop_index(op.f(_INDEX), "suppressions")
    op.drop_constraint(op.f(_FOR_GOOD), "suppressions")
    op.drop_constraint(op.f(_REASON), "suppressions")
    op.execute("UPDATE suppressions SET reason = 'manual' WHERE reason = 'import'")
    op.create_check_constraint(
        op.f(_REASON), "suppressions", "reason IN ('hard_bounce', 'complaint', 'manual', 'unsubscribe')"
    )
    op.drop_column("suppressions", "expires_at")
