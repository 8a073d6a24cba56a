"""Tables of the schema `campaigns`."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from posthorn_common.db import new_metadata
from posthorn_common.inbox import inbox_table
from posthorn_common.outbox import outbox_table

metadata = new_metadata()
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

lists = sa.Table(
    "lists",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("created_at", _time, nullable=False),
    sa.Column("opt_in", sa.Text, nullable=False, server_default="single"),
    sa.Column("is_public", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.CheckConstraint("opt_in IN ('single', 'double')", name="opt_in"),
    sa.Index(None, "organisation_id", "id"),
)

# Lists and contacts that these refer to are checked, and take theirs with them, by triggers for each statement: foreign
# keys, which look at row after row, took most of the time of an import into a list.
subscriptions = sa.Table(
    "subscriptions",
    metadata,
    sa.Column("list_id", sa.Uuid, primary_key=True),
    sa.Column("contact_id", sa.Uuid, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("changed_at", _time, nullable=False),
    sa.CheckConstraint("status IN ('unconfirmed', 'subscribed', 'unsubscribed')", name="status"),
    # A hash: an ordered index would tempt the planner to walk all contacts in search of those of a small list.
    sa.Index("ix_subscriptions_contact_id", "contact_id", postgresql_using="hash"),
    # An audience is read in this order.
    sa.Index("ix_subscriptions_audience", "list_id", "contact_id", postgresql_where=sa.text("status = 'subscribed'")),
)

# How many contacts are subscribed to a list: the sum of its rows. Each statement that changes subscriptions adds, by a
# trigger, what it changes, so that no way is forgotten and no writer waits for another; now and then rows are folded
# into one. No foreign key: a writer would wait for a list that is being deleted, which waits for the writer.
list_counts = sa.Table(
    "list_counts",
    metadata,
    sa.Column("list_id", sa.Uuid, primary_key=True),
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("contacts", sa.BigInteger, nullable=False),
)

# What has become of subscriptions, when, how, and from which address on the network. Written with the subscription,
# whose list and contact are checked.
subscription_changes = sa.Table(
    "subscription_changes",
    metadata,
    sa.Column("contact_id", sa.Uuid, primary_key=True),
    sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.func.uuidv7()),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("list_id", sa.Uuid, nullable=False, index=True),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("method", sa.Text, nullable=False),
    sa.Column("remote_address", sa.Text),
    sa.Column("at", _time, nullable=False, server_default=sa.func.clock_timestamp()),
)

# Confirmations that people were asked for; of those who have confirmed the proof.
confirmations = sa.Table(
    "confirmations",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("list_id", sa.ForeignKey(lists.c.id, ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("contact_id", sa.ForeignKey(contacts.c.id, ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("requested_at", _time, nullable=False),
    sa.Column("requested_from", sa.Text, nullable=False),
    sa.Column("expires_at", _time, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    # When the mail is handed to the mailer next; NULL when the mailer has it.
    sa.Column("next_attempt_at", _time),
    sa.Column("confirmed_at", _time),
    sa.Column("confirmed_from", sa.Text),
    sa.Index("ix_confirmations_waiting", "next_attempt_at", postgresql_where=sa.text("next_attempt_at IS NOT NULL")),
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

imports = sa.Table(
    "imports",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    # No foreign key: an import whose list has been deleted must know that it had one.
    sa.Column("list_id", sa.Uuid),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    # Why those who have unsubscribed or bounced may be brought back; null: they may not.
    sa.Column("lift_reason", sa.Text),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("encoding", sa.Text, nullable=False),
    sa.Column("delimiter", sa.Text, nullable=False),
    sa.Column("columns", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("mapping", JSONB, nullable=False),
    *(
        sa.Column(name, sa.BigInteger, nullable=False, server_default="0")
        for name in ("bytes_total", "bytes_read", "rows_read", "created", "updated", "unchanged", "rejected", "lifted")
    ),
    sa.Column("failure_code", sa.Text),
    sa.Column("failure_message", sa.Text),
    sa.Column("lease_epoch", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("fruitless_leases", sa.Integer, nullable=False, server_default="0"),
    # Until when a worker has it; while the file comes in, until when the upload counts as alive.
    sa.Column("lease_until", _time),
    sa.Column("created_at", _time, nullable=False),
    sa.Column("started_at", _time),
    sa.Column("finished_at", _time),
    sa.CheckConstraint(
        "status IN ('uploading', 'pending', 'running', 'completed', 'failed', 'cancelled')", name="status"
    ),
    sa.CheckConstraint("kind IN ('csv', 'ndjson')", name="kind"),
    sa.Index(None, "organisation_id", "id"),
    sa.Index("ix_imports_open", "status", postgresql_where=sa.text("status IN ('uploading', 'pending', 'running')")),
)

# The uploaded file, in pieces of one size, until the import ends: any worker can read it from anywhere.
import_pieces = sa.Table(
    "import_pieces",
    metadata,
    sa.Column("import_id", sa.ForeignKey(imports.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

rejected_rows = sa.Table(
    "rejected_rows",
    metadata,
    sa.Column("import_id", sa.ForeignKey(imports.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("row", sa.BigInteger, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("column_name", sa.Text, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
)

exports = sa.Table(
    "exports",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    # No foreign keys: an export whose list has been deleted must know that it had one.
    sa.Column("list_id", sa.Uuid),
    sa.Column("segment_id", sa.Uuid),
    sa.Column("columns", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("created_at", _time, nullable=False),
    sa.Column("expires_at", _time, nullable=False, index=True),
    sa.Column("after", sa.Uuid),
    sa.Column("contacts", sa.BigInteger, nullable=False),
    sa.Column("bytes_total", sa.BigInteger, nullable=False),
    sa.Column("pieces", sa.Integer, nullable=False),
    sa.Column("failure_code", sa.Text),
    sa.Column("finished_at", _time),
    sa.Column("lease_epoch", sa.BigInteger, nullable=False),
    sa.Column("lease_until", _time),
    sa.CheckConstraint("kind IN ('csv', 'ndjson')", name="kind"),
    sa.CheckConstraint("status IN ('pending', 'running', 'completed', 'failed')", name="status"),
    sa.Index(None, "organisation_id", "id"),
    sa.Index("ix_exports_open", "status", postgresql_where=sa.text("status IN ('pending', 'running')")),
)

# The file, in pieces of bounded size, until the export expires.
export_pieces = sa.Table(
    "export_pieces",
    metadata,
    sa.Column("export_id", sa.ForeignKey(exports.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

# Requests for all that is known of a contact, with the archive once it is gathered. `attempts` fences.
access_requests = sa.Table(
    "access_requests",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("contact_id", sa.ForeignKey(contacts.c.id, ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("requested_by_kind", sa.Text, nullable=False),
    sa.Column("requested_by", sa.Uuid, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("next_attempt_at", _time, server_default=sa.func.now()),
    sa.Column("waits_for", sa.Text),
    sa.Column("archive", sa.LargeBinary),
    sa.Column("bytes_total", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("created_at", _time, nullable=False, server_default=sa.func.now()),
    sa.Column("completed_at", _time),
    sa.Column("expires_at", _time, nullable=False, index=True),
    sa.CheckConstraint("state IN ('pending', 'completed')", name="state"),
    sa.Index(None, "organisation_id", "id"),
    sa.Index("ix_access_requests_due", "next_attempt_at", postgresql_where=sa.text("state = 'pending'")),
)

# Whom an organisation has erased. The address stays until every service has confirmed, then a keyed hash of it.
# `published_at` is when the services were last asked.
erasures = sa.Table(
    "erasures",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("contact_id", sa.Uuid, nullable=False),
    sa.Column("email", sa.Text),
    sa.Column("email_hash", sa.LargeBinary, nullable=False),
    sa.Column("requested_by_kind", sa.Text, nullable=False),
    sa.Column("requested_by", sa.Uuid, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("confirmations", JSONB, nullable=False, server_default="{}"),
    sa.Column("requested_at", _time, nullable=False, server_default=sa.func.now()),
    sa.Column("published_at", _time, nullable=False, server_default=sa.func.now()),
    sa.Column("completed_at", _time),
    sa.CheckConstraint("state IN ('running', 'completed')", name="state"),
    sa.CheckConstraint("state = 'running' OR email IS NULL", name="address_forgotten"),
    sa.Index(None, "organisation_id", "id"),
    sa.Index(None, "organisation_id", "email_hash"),
    sa.Index("ix_erasures_running", "published_at", postgresql_where=sa.text("state = 'running'")),
)

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

outbox = outbox_table(metadata)
inbox = inbox_table(metadata)
