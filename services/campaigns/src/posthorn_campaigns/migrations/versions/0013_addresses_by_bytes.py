"""contacts.email sorts by bytes: its unique index serves searches by the beginning of an address as well."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_contacts_email_prefix", table_name="contacts")
    op.alter_column("contacts", "email", type_=sa.Text(collation="C"), existing_nullable=False)


def downgrade() -> None:
    op.execute('ALTER TABLE contacts ALTER email TYPE text COLLATE "default"')
    op.create_index(
        "ix_contacts_email_prefix", "contacts", ["organisation_id", sa.text("email text_pattern_ops")], unique=False
    )
