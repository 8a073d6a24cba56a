"""mails by organisation."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        op.f("ix_account_mails_organisation_id_created_at"), "account_mails", ["organisation_id", "created_at"]
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_account_mails_organisation_id_created_at"), table_name="account_mails")
