"""relays suppressions messages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "relays",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("tls", sa.Text(), nullable=False),
        sa.Column("verify_certificate", sa.Boolean(), nullable=False),
        sa.Column("username", sa.Text(), nullable=True),
        sa.Column("sealed_password", sa.LargeBinary(), nullable=True),
        sa.Column("max_connections", sa.Integer(), nullable=False),
        sa.Column("messages_per_second", sa.Double(), nullable=True),
        sa.Column("from_email", sa.Text(), nullable=True),
        sa.Column("is_default", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("tls IN ('none', 'starttls', 'implicit')", name=op.f("ck_relays_tls")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_relays")),
    )
    op.create_index(op.f("ix_relays_organisation_id_id"), "relays", ["organisation_id", "id"], unique=False)
    op.create_index(
        "uq_relays_default",
        "relays",
        ["organisation_id"],
        unique=True,
        postgresql_where=sa.text("is_default AND deleted_at IS NULL"),
    )
    op.create_table(
        "suppressions",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("contact_id", sa.Uuid(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "reason IN ('hard_bounce', 'complaint', 'manual', 'unsubscribe')", name=op.f("ck_suppressions_reason")
        ),
        sa.PrimaryKeyConstraint("organisation_id", "email", name=op.f("pk_suppressions")),
    )
    op.create_index(
        op.f("ix_suppressions_organisation_id_contact_id"),
        "suppressions",
        ["organisation_id", "contact_id"],
        unique=False,
        postgresql_where=sa.text("contact_id IS NOT NULL"),
    )
    op.create_table(
        "suppressed_contacts",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("contact_id", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("reason IN ('unsubscribe', 'erased')", name=op.f("ck_suppressed_contacts_reason")),
        sa.PrimaryKeyConstraint("organisation_id", "contact_id", "reason", name=op.f("pk_suppressed_contacts")),
    )
    op.create_table(
        "erased_suppressions",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("email_hash", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "email_hash", name=op.f("pk_erased_suppressions")),
    )
    op.create_table(
        "messages",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("relay_id", sa.Uuid(), nullable=True),
        sa.Column("to_email", sa.Text(), nullable=False),
        sa.Column("from_name", sa.Text(), nullable=True),
        sa.Column("from_email", sa.Text(), nullable=False),
        sa.Column("reply_to", sa.Text(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("html", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("counted_attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("attempt_id", sa.Uuid(), nullable=True),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("smtp_code", sa.SmallInteger(), nullable=True),
        sa.Column("enhanced_code", sa.Text(), nullable=True),
        sa.Column("reply", sa.Text(), nullable=True),
        sa.Column("cause", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "status IN ('pending', 'sending', 'deferred', 'sent', 'bounced', 'failed', 'suppressed', 'ambiguous')",
            name=op.f("ck_messages_status"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
        sa.UniqueConstraint(
            "organisation_id", "idempotency_key", name=op.f("uq_messages_organisation_id_idempotency_key")
        ),
    )
    op.create_index(
        "ix_messages_due",
        "messages",
        ["next_attempt_at"],
        unique=False,
        postgresql_where=sa.text("status IN ('pending', 'deferred')"),
    )
    op.create_index(op.f("ix_messages_organisation_id_id"), "messages", ["organisation_id", "id"], unique=False)
    op.create_index(
        "ix_messages_sending", "messages", ["lease_until"], unique=False, postgresql_where=sa.text("status = 'sending'")
    )


def downgrade() -> None:
    op.drop_index(
        "ix_messages_due", table_name="messages", postgresql_where=sa.text("status IN ('pending', 'deferred')")
    )
    op.drop_index(op.f("ix_messages_organisation_id_id"), table_name="messages")
    op.drop_index("ix_messages_sending", table_name="messages", postgresql_where=sa.text("status = 'sending'"))
    op.drop_table("messages")
    op.drop_table("erased_suppressions")
    op.drop_table("suppressed_contacts")
    op.drop_index(
        op.f("ix_suppressions_organisation_id_contact_id"),
        table_name="suppressions",
        postgresql_where=sa.text("contact_id IS NOT NULL"),
    )
    op.drop_table("suppressions")
    op.drop_index(op.f("ix_relays_organisation_id_id"), table_name="relays")
    op.drop_index(
        "uq_relays_default", table_name="relays", postgresql_where=sa.text("is_default AND deleted_at IS NULL")
    )
    op.drop_table("relays")
