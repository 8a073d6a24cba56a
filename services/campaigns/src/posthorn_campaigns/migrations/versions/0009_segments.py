"""segments, engagements; the audience of campaigns."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_IDS = ("segment_ids", "exclude_list_ids", "exclude_segment_ids")


def upgrade() -> None:
    op.create_table(
        "segments",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("rule", postgresql.JSONB(), nullable=False),
        sa.Column("attributes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("list_ids", sa.ARRAY(sa.Uuid()), nullable=False),
        sa.Column("segment_ids", sa.ARRAY(sa.Uuid()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_segments")),
    )
    op.create_index(op.f("ix_segments_organisation_id_id"), "segments", ["organisation_id", "id"], unique=False)
    op.create_table(
        "engagements",
        sa.Column("contact_id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("last_sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_clicked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["contact_id"], ["contacts.id"], name=op.f("fk_engagements_contact_id_contacts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("contact_id", name=op.f("pk_engagements")),
    )
    for column in ("last_opened_at", "last_clicked_at"):
        op.create_index(
            op.f(f"ix_engagements_organisation_id_{column}"), "engagements", ["organisation_id", column], unique=False
        )
    for column in _IDS:
        op.add_column("campaigns", sa.Column(column, sa.ARRAY(sa.Uuid()), server_default="{}", nullable=False))
    op.add_column("campaigns", sa.Column("pinned_rules", postgresql.JSONB(none_as_null=True), nullable=True))
    # Campaigns that have started before have no segments.
    op.execute(
        """UPDATE campaigns SET pinned_rules = '{"types": {}, "include": [], "exclude": []}' """
        "WHERE started_at IS NOT NULL"
    )


def downgrade() -> None:
    op.drop_column("campaigns", "pinned_rules")
    for column in reversed(_IDS):
        op.drop_column("campaigns", column)
    for column in ("last_clicked_at", "last_opened_at"):
        op.drop_index(op.f(f"ix_engagements_organisation_id_{column}"), table_name="engagements")
    op.drop_table("engagements")
    op.drop_index(op.f("ix_segments_organisation_id_id"), table_name="segments")
    op.drop_table("segments")
