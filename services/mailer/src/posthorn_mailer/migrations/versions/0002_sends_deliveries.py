"""sends batches deliveries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "inbox",
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("consumer", "event_id", name=op.f("pk_inbox")),
    )
    op.create_index(op.f("ix_inbox_received_at"), "inbox", ["received_at"], unique=False)
    op.create_table(
        "outbox",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("available_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    op.create_table(
        "sends",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("controlled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("relay_id", sa.Uuid(), nullable=True),
        sa.Column("content", sa.Text(), nullable=True),
        sa.Column("on_ambiguous", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("audience", sa.Integer(), server_default="0", nullable=False),
        sa.Column("plan_cursor", sa.Text(), nullable=True),
        sa.Column("plan_epoch", sa.Integer(), server_default="0", nullable=False),
        sa.Column("plan_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("planned_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("drained_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("impeded_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("impeded_reason", sa.Text(), nullable=True),
        sa.Column("failure_reason", sa.Text(), nullable=True),
        sa.CheckConstraint("on_ambiguous IN ('hold', 'resend')", name=op.f("ck_sends_on_ambiguous")),
        sa.CheckConstraint("status IN ('sending', 'paused', 'cancelled', 'failed')", name=op.f("ck_sends_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sends")),
    )
    op.create_index("ix_sends_open", "sends", ["id"], unique=False, postgresql_where=sa.text("drained_at IS NULL"))
    op.create_index(op.f("ix_sends_organisation_id_id"), "sends", ["organisation_id", "id"], unique=False)
    op.create_table(
        "batches",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("send_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("first_number", sa.Integer(), nullable=False),
        sa.Column("last_number", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_epoch", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("unreported", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.CheckConstraint("state IN ('ready', 'leased', 'done')", name=op.f("ck_batches_state")),
        sa.ForeignKeyConstraint(["send_id"], ["sends.id"], name=op.f("fk_batches_send_id_sends")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
    )
    op.create_index(
        "ix_batches_open", "batches", ["send_id"], unique=False, postgresql_where=sa.text("state <> 'done'")
    )
    op.create_index(op.f("ix_batches_send_id_first_number"), "batches", ["send_id", "first_number"], unique=True)
    op.create_index("ix_batches_unreported", "batches", ["id"], unique=False, postgresql_where=sa.text("unreported"))
    op.create_table(
        "deliveries",
        sa.Column("send_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("contact_id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("fields", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("reported_state", sa.Text(), nullable=True),
        sa.Column("epoch", sa.Integer(), server_default="0", nullable=False),
        sa.Column("attempt_id", sa.BigInteger(), nullable=True),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("first_opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("smtp_code", sa.SmallInteger(), nullable=True),
        sa.Column("enhanced_code", sa.Text(), nullable=True),
        sa.Column("reply", sa.Text(), nullable=True),
        sa.Column("cause", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("send_id", "number", name=op.f("pk_deliveries")),
        postgresql_with={"fillfactor": "60"},
    )
    op.create_index(op.f("ix_deliveries_send_id_contact_id"), "deliveries", ["send_id", "contact_id"], unique=True)


def downgrade() -> None:
    op.drop_index(op.f("ix_deliveries_send_id_contact_id"), table_name="deliveries")
    op.drop_table("deliveries")
    op.drop_index("ix_batches_unreported", table_name="batches", postgresql_where=sa.text("unreported"))
    op.drop_index(op.f("ix_batches_send_id_first_number"), table_name="batches")
    op.drop_index("ix_batches_open", table_name="batches", postgresql_where=sa.text("state <> 'done'"))
    op.drop_table("batches")
    op.drop_index(op.f("ix_sends_organisation_id_id"), table_name="sends")
    op.drop_index("ix_sends_open", table_name="sends", postgresql_where=sa.text("drained_at IS NULL"))
    op.drop_table("sends")
    op.drop_table("outbox")
    op.drop_index(op.f("ix_inbox_received_at"), table_name="inbox")
    op.drop_table("inbox")
