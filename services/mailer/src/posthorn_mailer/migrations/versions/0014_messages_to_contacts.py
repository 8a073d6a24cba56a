"""messages.contact_id; messages by address."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("messages", sa.Column("contact_id", sa.Uuid(), nullable=True))
    op.create_index(
        op.f("ix_messages_contact_id"),
        "messages",
        ["contact_id"],
        unique=False,
        postgresql_where=sa.text("contact_id IS NOT NULL"),
    )
    op.create_index(
        op.f("ix_messages_organisation_id_to_email"), "messages", ["organisation_id", "to_email"], unique=False
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_messages_organisation_id_to_email"), table_name="messages")
    op.drop_index(op.f("ix_messages_contact_id"), table_name="messages")
    op.drop_column("messages", "contact_id")
