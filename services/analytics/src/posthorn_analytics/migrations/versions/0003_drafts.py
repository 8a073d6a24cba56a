"""Campaigns that were scheduled once are drafts again."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_NAME = "ck_campaigns_status"
_BEFORE = "'scheduled', 'sending', 'paused', 'completed', 'completed_with_errors', 'cancelled', 'failed'"


def upgrade() -> None:
    op.drop_constraint(op.f(_NAME), "campaigns", type_="check")
    op.create_check_constraint(op.f(_NAME), "campaigns", f"status IN ('draft', {_BEFORE})")


def downgrade() -> None:
    op.execute("UPDATE campaigns SET status = 'scheduled' WHERE status = 'draft'")
    op.drop_constraint(op.f(_NAME), "campaigns", type_="check")
    op.create_check_constraint(op.f(_NAME), "campaigns", f"status IN ({_BEFORE})")
