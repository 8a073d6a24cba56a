"""Contacts, their attributes, what has happened to them, and segments."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from posthorn_campaigns.adapters.db.tables.shared import metadata

_time = sa.DateTime(timezone=True)

contacts = sa.Table(
    "contacts",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    # Sorted by bytes, whatever the database's collation: so the unique index serves searches by its beginning as well.
    sa.Column("email", sa.Text(collation="C"), nullable=False),
    sa.Column("first_name", sa.Text, nullable=False),
    sa.Column("last_name", sa.Text, nullable=False),
    sa.Column("attributes", JSONB, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("created_at", _time, nullable=False),
    sa.Column("updated_at", _time, nullable=False),
    sa.Column("locale", sa.Text),
    sa.Column("time_zone", sa.Text),
    sa.CheckConstraint("status IN ('active', 'unsubscribed', 'bounced', 'complained')", name="status"),
    sa.UniqueConstraint("organisation_id", "email"),
    sa.Index(None, "organisation_id", "id"),
    # Searching by the beginning of a full name, of a last name.
    sa.Index(
        "ix_contacts_name_prefix",
        "organisation_id",
        sa.literal_column("lower((first_name || ' '::text) || last_name)").label("name"),
        postgresql_ops={"name": "text_pattern_ops"},
    ),
    sa.Index(
        "ix_contacts_last_name_prefix",
        "organisation_id",
        sa.literal_column("lower(last_name)").label("last_name_lower"),
        postgresql_ops={"last_name_lower": "text_pattern_ops"},
    ),
)

# The mailer's suppression list, as it was told last: an address, or `@` and a domain. A row without a reason is of one
# that is not suppressed any more, kept for a while, so that older news of it are known to be old.
suppressed_addresses = sa.Table(
    "suppressed_addresses",
    metadata,
    sa.Column("organisation_id", sa.Uuid, primary_key=True),
    # Of the same collation as those of contacts, so that the index serves.
    sa.Column("email", sa.Text(collation="C"), primary_key=True),
    sa.Column("reason", sa.Text),
    sa.Column("since", _time),
    sa.Column("expires_at", _time),
    sa.Column("told_at", _time, nullable=False),
    sa.Index(None, "told_at", postgresql_where=sa.text("reason IS NULL")),
)

contact_attributes = sa.Table(
    "contact_attributes",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("required", sa.Boolean, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("created_at", _time, nullable=False),
    # Names the index if the attribute has one. It is filled from the contacts there were, in order of their ids, once
    # all transactions before `fill_from` have ended; whatever is written later is indexed at once, by triggers.
    sa.Column("index_id", sa.Uuid),
    sa.Column("fill_from", sa.BigInteger),
    sa.Column("filled_to", sa.Uuid),
    sa.Column("index_ready", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.CheckConstraint("type IN ('string', 'number', 'boolean', 'date', 'datetime', 'list')", name="type"),
    sa.UniqueConstraint("organisation_id", "key"),
    sa.Index(None, "organisation_id", "id"),
)

# The values of indexed attributes: numbers, all others as texts, of long ones the beginning. Triggers of `contacts`
# keep them and need no foreign key.
contact_attribute_values = sa.Table(
    "contact_attribute_values",
    metadata,
    sa.Column("contact_id", sa.Uuid, primary_key=True),
    sa.Column("index_id", sa.Uuid, primary_key=True),
    sa.Column("text_value", sa.Text(collation="C")),
    sa.Column("number_value", sa.Double),
    *(
        sa.Index(
            f"ix_contact_attribute_values_{column}",
            "index_id",
            column,
            "contact_id",
            postgresql_where=sa.text(f"{column} IS NOT NULL"),
        )
        for column in ("text_value", "number_value")
    ),
)

# Indexes that nobody wants any more and whose values are being deleted.
dropped_attribute_indexes = sa.Table(
    "dropped_attribute_indexes",
    metadata,
    sa.Column("index_id", sa.Uuid, primary_key=True),
    sa.Column("dropped_at", _time, nullable=False, server_default=sa.func.now()),
)

# What has happened with messages to contacts, for a time.
activities = sa.Table(
    "activities",
    metadata,
    sa.Column("contact_id", sa.ForeignKey(contacts.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("at", _time, primary_key=True),
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("campaign_id", sa.Uuid),
    # Rows come about in the order of time: so the smallest of indexes finds what is old.
    sa.Index(None, "at", postgresql_using="brin"),
)

# When each contact has last had, opened or clicked a message. Contacts without a row have never had one.
engagements = sa.Table(
    "engagements",
    metadata,
    sa.Column("contact_id", sa.ForeignKey(contacts.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("last_sent_at", _time),
    sa.Column("last_opened_at", _time),
    sa.Column("last_clicked_at", _time),
    # Whoever has opened or clicked lately is rare; whoever has been written to is not.
    sa.Index(None, "organisation_id", "last_opened_at"),
    sa.Index(None, "organisation_id", "last_clicked_at"),
)

segments = sa.Table(
    "segments",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("rule", JSONB, nullable=False),
    # What the rule uses, which is not deleted meanwhile.
    sa.Column("attributes", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("list_ids", sa.ARRAY(sa.Uuid), nullable=False),
    sa.Column("segment_ids", sa.ARRAY(sa.Uuid), nullable=False),
    sa.Column("created_at", _time, nullable=False),
    sa.Column("updated_at", _time, nullable=False),
    sa.Index(None, "organisation_id", "id"),
)
