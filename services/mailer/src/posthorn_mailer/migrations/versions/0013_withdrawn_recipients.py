"""withdrawn recipients."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("withdrawn", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_table(
        "withdrawn_recipients",
        sa.Column("send_id", sa.Uuid(), nullable=False),
        sa.Column("contact_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["send_id"], ["sends.id"], name=op.f("fk_withdrawn_recipients_send_id_sends")),
        sa.PrimaryKeyConstraint("send_id", "contact_id", name=op.f("pk_withdrawn_recipients")),
    )


def downgrade() -> None:
    op.drop_table("withdrawn_recipients")
    op.drop_column("deliveries", "withdrawn")
