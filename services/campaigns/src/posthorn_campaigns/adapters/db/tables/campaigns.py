"""Templates and campaigns."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from posthorn_campaigns.adapters.db.tables.shared import metadata

_time = sa.DateTime(timezone=True)

templates = sa.Table(
    "templates",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("created_at", _time, nullable=False),
    sa.Column("updated_at", _time, nullable=False),
    sa.Column("deleted_at", _time),
    sa.Index(None, "organisation_id", "id"),
)

template_versions = sa.Table(
    "template_versions",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("template_id", sa.ForeignKey(templates.c.id), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("html", sa.Text, nullable=False),
    sa.Column("text", sa.Text),
    sa.Column("merge_fields", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("created_at", _time, nullable=False),
    sa.UniqueConstraint("template_id", "version"),
)

campaigns = sa.Table(
    "campaigns",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("template_id", sa.ForeignKey(templates.c.id), nullable=False, index=True),
    sa.Column("template_version_id", sa.ForeignKey(template_versions.c.id)),
    sa.Column("list_ids", sa.ARRAY(sa.Uuid), nullable=False),
    sa.Column("segment_ids", sa.ARRAY(sa.Uuid), nullable=False, server_default="{}"),
    sa.Column("exclude_list_ids", sa.ARRAY(sa.Uuid), nullable=False, server_default="{}"),
    sa.Column("exclude_segment_ids", sa.ARRAY(sa.Uuid), nullable=False, server_default="{}"),
    # The rules of a started campaign's segments, fixed: what the segments become later does not matter.
    sa.Column("pinned_rules", JSONB(none_as_null=True)),
    sa.Column("from_name", sa.Text, nullable=False),
    sa.Column("from_email", sa.Text, nullable=False),
    sa.Column("reply_to", sa.Text),
    sa.Column("relay_id", sa.Uuid),
    sa.Column("messages_per_second", sa.Float),
    sa.Column("track_opens", sa.Boolean, nullable=False),
    sa.Column("track_clicks", sa.Boolean, nullable=False),
    sa.Column("on_ambiguous", sa.Text),
    sa.Column("scheduled_at", _time),
    sa.Column("started_at", _time),
    sa.Column("paused_at", _time),
    sa.Column("paused_code", sa.Text),
    sa.Column("paused_reason", sa.Text),
    sa.Column("completed_at", _time),
    # Live counts: they move with every outcome that is told.
    *(
        sa.Column(name, sa.BigInteger, nullable=False, server_default="0")
        for name in ("audience", "sent", "bounced", "failed", "suppressed", "cancelled", "ambiguous")
    ),
    # How many outcomes a second were told, at that time.
    sa.Column("rate", sa.Float, nullable=False, server_default="0"),
    sa.Column("rated_at", _time),
    sa.Column("final_counts", JSONB(none_as_null=True)),
    sa.Column("final_counts_at", _time),
    sa.Column("notice", sa.Text),
    sa.Column("notice_at", _time),
    sa.Column("failure_reason", sa.Text),
    sa.Column("created_at", _time, nullable=False),
    sa.Column("updated_at", _time, nullable=False),
    sa.CheckConstraint(
        "status IN ('draft', 'scheduled', 'sending', 'paused', 'completed', 'completed_with_errors', 'cancelled', "
        "'failed')",
        name="status",
    ),
    sa.CheckConstraint("on_ambiguous IN ('hold', 'resend')", name="on_ambiguous"),
    sa.Index(None, "organisation_id", "id"),
    sa.Index("ix_campaigns_due", "scheduled_at", postgresql_where=sa.text("status = 'scheduled'")),
)

# What a started campaign sends, fixed.
campaign_contents = sa.Table(
    "campaign_contents",
    metadata,
    sa.Column("campaign_id", sa.ForeignKey(campaigns.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("html", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("links", JSONB, nullable=False),
    sa.Column("fields", sa.ARRAY(sa.Text), nullable=False),
)
