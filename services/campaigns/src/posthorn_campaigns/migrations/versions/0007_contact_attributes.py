"""contact_attributes; contacts.locale, contacts.time_zone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("contacts", sa.Column("locale", sa.Text(), nullable=True))
    op.add_column("contacts", sa.Column("time_zone", sa.Text(), nullable=True))
    op.create_table(
        "contact_attributes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("required", sa.Boolean(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "type IN ('string', 'number', 'boolean', 'date', 'datetime', 'list')",
            name=op.f("ck_contact_attributes_type"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contact_attributes")),
        sa.UniqueConstraint("organisation_id", "key", name=op.f("uq_contact_attributes_organisation_id_key")),
    )
    op.create_index(
        op.f("ix_contact_attributes_organisation_id_id"), "contact_attributes", ["organisation_id", "id"], unique=False
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_contact_attributes_organisation_id_id"), table_name="contact_attributes")
    op.drop_table("contact_attributes")
    op.drop_column("contacts", "time_zone")
    op.drop_column("contacts", "locale")
