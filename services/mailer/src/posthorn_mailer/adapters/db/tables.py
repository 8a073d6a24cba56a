"""Tables of the schema `mailer`."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from posthorn_common.db import new_metadata
from posthorn_common.inbox import inbox_table
from posthorn_common.outbox import outbox_table

metadata = new_metadata()
_time = sa.DateTime(timezone=True)

outbox = outbox_table(metadata)
inbox = inbox_table(metadata)

# A campaign as the mailer sends it; the id is the campaign's. A row without `started_at` only remembers what was
# ordered before the start was heard of.
sends = sa.Table(
    "sends",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("controlled_at", _time),
    sa.Column("name", sa.Text),
    sa.Column("relay_id", sa.Uuid),
    sa.Column("content", sa.Text),
    sa.Column("on_ambiguous", sa.Text, nullable=False),
    sa.Column("messages_per_second", sa.Float),
    sa.Column("started_at", _time),
    sa.Column("audience", sa.Integer, nullable=False, server_default="0"),
    sa.Column("plan_cursor", sa.Text),
    sa.Column("plan_epoch", sa.Integer, nullable=False, server_default="0"),
    sa.Column("plan_until", _time),
    sa.Column("planned_at", _time),
    sa.Column("drained_at", _time),
    sa.Column("impeded_since", _time),
    sa.Column("impeded_reason", sa.Text),
    sa.Column("failure_reason", sa.Text),
    # Set, nothing is sent any more; the deliveries up to number `moved_to` are in `closed_deliveries`.
    sa.Column("closed_month", sa.Date),
    sa.Column("moved_to", sa.Integer, nullable=False, server_default="0"),
    sa.Column("compacted_at", _time),
    # Of a send whose deliveries are not kept any more.
    sa.Column("final_counts", JSONB(none_as_null=True)),
    sa.Column("guard_armed_at", sa.Integer, nullable=False, server_default="0"),
    sa.Column("guard_reason", sa.Text),
    sa.CheckConstraint("status IN ('sending', 'paused', 'cancelled', 'failed')", name="status"),
    sa.CheckConstraint("on_ambiguous IN ('hold', 'resend')", name="on_ambiguous"),
    sa.Index(None, "organisation_id", "id"),
    sa.Index("ix_sends_open", "id", postgresql_where=sa.text("drained_at IS NULL")),
    sa.Index("ix_sends_to_close", "drained_at", postgresql_where=sa.text("closed_month IS NULL")),
    sa.Index("ix_sends_closed_month", "closed_month"),
)

# A contiguous range of a send's deliveries, leased by one worker at a time. `counts` has its deliveries by state, so
# that nobody needs to count a million rows; it is null, and the rows are counted, while the batch is leased and after
# somebody else has changed a delivery of it. Neither does it hold while `unreported`.
batches = sa.Table(
    "batches",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("send_id", sa.ForeignKey(sends.c.id), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("first_number", sa.Integer, nullable=False),
    sa.Column("last_number", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("not_before", _time),
    sa.Column("lease_epoch", sa.Integer, nullable=False, server_default="0"),
    sa.Column("lease_until", _time),
    sa.Column("owner", sa.Text),
    sa.Column("unreported", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("counts", JSONB(none_as_null=True)),
    sa.CheckConstraint("state IN ('ready', 'leased', 'done')", name="state"),
    sa.Index(None, "send_id", "first_number", unique=True),
    sa.Index("ix_batches_open", "send_id", postgresql_where=sa.text("state <> 'done'")),
    sa.Index("ix_batches_unreported", "id", postgresql_where=sa.text("unreported")),
)

# One row per recipient. No index holds a column that changes while mail is sent, and pages are left partly empty, so
# that PostgreSQL can update in place (HOT). No foreign key: only the planner inserts, with the send's row locked, and
# checking it again would double the price of a row.
deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("send_id", sa.Uuid, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("contact_id", sa.Uuid, nullable=False),
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("domain", sa.Text, nullable=False),
    sa.Column("fields", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default="pending"),
    sa.Column("reported_state", sa.Text),
    sa.Column("epoch", sa.Integer, nullable=False, server_default="0"),
    sa.Column("attempt_id", sa.BigInteger),
    sa.Column("attempts", sa.SmallInteger, nullable=False, server_default="0"),
    sa.Column("first_opened_at", _time),
    sa.Column("opened_at", _time),
    sa.Column("expires_at", _time),
    sa.Column("next_attempt_at", _time),
    sa.Column("finished_at", _time),
    sa.Column("smtp_code", sa.SmallInteger),
    sa.Column("enhanced_code", sa.Text),
    sa.Column("reply", sa.Text),
    sa.Column("cause", sa.Text),
    # The contact has left the lists by which the campaign reached it: whoever opens it next suppresses it instead.
    sa.Column("withdrawn", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Index(None, "send_id", "contact_id", unique=True),
    postgresql_with={"fillfactor": "45"},
)

# Contacts withdrawn from a send while it is being planned: they may be in a page that is on its way. Empty afterwards.
withdrawn_recipients = sa.Table(
    "withdrawn_recipients",
    metadata,
    sa.Column("send_id", sa.ForeignKey(sends.c.id), primary_key=True),
    sa.Column("contact_id", sa.Uuid, primary_key=True),
)

# What is kept of a delivery once its send is closed, by the month in which the send was drained. The columns are in the
# order that wastes no bytes for alignment.
closed_deliveries = sa.Table(
    "closed_deliveries",
    metadata,
    sa.Column("send_id", sa.Uuid, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("month", sa.Date, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("contact_id", sa.Uuid, nullable=False),
    sa.Column("opened_at", _time),
    sa.Column("finished_at", _time),
    sa.Column("attempts", sa.SmallInteger, nullable=False),
    sa.Column("smtp_code", sa.SmallInteger),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("enhanced_code", sa.Text),
    sa.Column("cause", sa.Text),
    sa.Column("reply", sa.Text),
    sa.Index(None, "send_id", "contact_id", "month", unique=True),
    postgresql_partition_by="RANGE (month)",
)

relays = sa.Table(
    "relays",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("port", sa.Integer, nullable=False),
    sa.Column("tls", sa.Text, nullable=False),
    sa.Column("verify_certificate", sa.Boolean, nullable=False),
    sa.Column("username", sa.Text),
    sa.Column("sealed_password", sa.LargeBinary),
    sa.Column("max_connections", sa.Integer, nullable=False),
    sa.Column("messages_per_second", sa.Double),
    sa.Column("from_email", sa.Text),
    sa.Column("is_default", sa.Boolean, nullable=False),
    sa.Column("weight", sa.Integer, nullable=False, server_default="0"),
    sa.Column("warm_up", JSONB(none_as_null=True)),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("created_at", _time, nullable=False),
    sa.Column("updated_at", _time, nullable=False),
    sa.Column("deleted_at", _time),
    sa.CheckConstraint("tls IN ('none', 'starttls', 'implicit')", name="tls"),
    sa.CheckConstraint("weight BETWEEN 0 AND 1000", name="weight"),
    sa.Index(None, "organisation_id", "id"),
    sa.Index(
        "uq_relays_default",
        "organisation_id",
        unique=True,
        postgresql_where=sa.text("is_default AND deleted_at IS NULL"),
    ),
)

# What relays with a warm-up plan have sent, or have reserved to send, by the day in UTC.
relay_days = sa.Table(
    "relay_days",
    metadata,
    sa.Column("relay_id", sa.ForeignKey(relays.c.id), primary_key=True),
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("used", sa.Integer, nullable=False),
)

# The same by recipient domain, or by operator of several, where the plan has a limit for these.
relay_domain_days = sa.Table(
    "relay_domain_days",
    metadata,
    sa.Column("relay_id", sa.ForeignKey(relays.c.id), primary_key=True),
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("recipient_group", sa.Text, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("used", sa.Integer, nullable=False),
)

# Nobody in one of the next two tables is mailed: whoever opens a delivery asks both in the same statement, by address
# (`suppressions`) and by contact (`suppressed_contacts`).
# `email` may be `@` and a domain: everybody there. A row that has expired counts as none.
suppressions = sa.Table(
    "suppressions",
    metadata,
    sa.Column("organisation_id", sa.Uuid, primary_key=True),
    sa.Column("email", sa.Text, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("contact_id", sa.Uuid),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("created_at", _time, nullable=False),
    sa.Column("expires_at", _time),
    sa.CheckConstraint("reason IN ('hard_bounce', 'complaint', 'manual', 'import', 'unsubscribe')", name="reason"),
    sa.CheckConstraint("expires_at IS NULL OR reason NOT IN ('hard_bounce', 'complaint')", name="hard_for_good"),
    sa.Index(None, "organisation_id", "contact_id", postgresql_where=sa.text("contact_id IS NOT NULL")),
    sa.Index(None, "expires_at", postgresql_where=sa.text("expires_at IS NOT NULL")),
)

# Addresses and domains whose suppression has changed, to be told to the other services, and then to be asked for, for a
# while. What has become of each is not noted: whoever asks is told how things are by then.
suppression_changes = sa.Table(
    "suppression_changes",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("email", sa.Text, nullable=False),
    # Of the event that has told it.
    sa.Column("change_id", sa.Uuid),
    sa.Column("at", _time, nullable=False, server_default=sa.func.now()),
    sa.Index("ix_suppression_changes_untold", "organisation_id", "id", postgresql_where=sa.text("change_id IS NULL")),
    sa.Index(None, "change_id", postgresql_where=sa.text("change_id IS NOT NULL")),
    sa.Index(None, "organisation_id", "email"),
    sa.Index(None, "at", postgresql_using="brin"),
)

# Contacts who left everything, or were erased; events name contacts, never addresses.
suppressed_contacts = sa.Table(
    "suppressed_contacts",
    metadata,
    sa.Column("organisation_id", sa.Uuid, primary_key=True),
    sa.Column("contact_id", sa.Uuid, primary_key=True),
    sa.Column("reason", sa.Text, primary_key=True),
    sa.Column("created_at", _time, nullable=False),
    sa.CheckConstraint("reason IN ('unsubscribe', 'erased')", name="reason"),
)

# All that is kept of an erased contact's addresses: should one ever come back, it is suppressed again.
erased_suppressions = sa.Table(
    "erased_suppressions",
    metadata,
    sa.Column("organisation_id", sa.Uuid, primary_key=True),
    sa.Column("email_hash", sa.LargeBinary, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("created_at", _time, nullable=False),
)

messages = sa.Table(
    "messages",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("idempotency_key", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.LargeBinary, nullable=False),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("relay_id", sa.Uuid),
    sa.Column("to_email", sa.Text, nullable=False),
    sa.Column("from_name", sa.Text),
    sa.Column("from_email", sa.Text, nullable=False),
    sa.Column("reply_to", sa.Text),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("html", sa.Text),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("created_at", _time, nullable=False),
    sa.Column("expires_at", _time, nullable=False),
    sa.Column("next_attempt_at", _time),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("counted_attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("attempt_id", sa.Uuid),
    sa.Column("opened_at", _time),
    sa.Column("lease_until", _time),
    sa.Column("finished_at", _time),
    sa.Column("smtp_code", sa.SmallInteger),
    sa.Column("enhanced_code", sa.Text),
    sa.Column("reply", sa.Text),
    sa.Column("cause", sa.Text),
    sa.Column("contact_id", sa.Uuid),
    sa.CheckConstraint(
        "status IN ('pending', 'sending', 'deferred', 'sent', 'bounced', 'failed', 'suppressed', 'ambiguous')",
        name="status",
    ),
    sa.UniqueConstraint("organisation_id", "idempotency_key"),
    sa.Index(None, "organisation_id", "id"),
    sa.Index(None, "contact_id", postgresql_where=sa.text("contact_id IS NOT NULL")),
    # Whoever is erased is looked for by address as well.
    sa.Index(None, "organisation_id", "to_email"),
    sa.Index("ix_messages_due", "next_attempt_at", postgresql_where=sa.text("status IN ('pending', 'deferred')")),
    sa.Index("ix_messages_sending", "lease_until", postgresql_where=sa.text("status = 'sending'")),
)

# What organisations allow themselves. `domains` maps a recipient domain or operator to messages per second and
# connections, of which one may be null.
sending_limits = sa.Table(
    "sending_limits",
    metadata,
    sa.Column("organisation_id", sa.Uuid, primary_key=True),
    sa.Column("messages_per_second", sa.Float),
    sa.Column("domains", JSONB, nullable=False),
)

# Domains whose mail we sign. The keys of one generation were made together; those found in the DNS have `verified_at`.
sending_domains = sa.Table(
    "sending_domains",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("checked_at", _time),
    sa.Column("created_at", _time, nullable=False),
    sa.Column("unsubscribe_email", sa.Text),
    sa.UniqueConstraint("organisation_id", "name"),
    sa.Index(None, "organisation_id", "id"),
)

dkim_keys = sa.Table(
    "dkim_keys",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("domain_id", sa.ForeignKey(sending_domains.c.id, ondelete="CASCADE"), nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("algorithm", sa.Text, nullable=False),
    sa.Column("selector", sa.Text, nullable=False),
    sa.Column("public_key", sa.Text, nullable=False),
    sa.Column("sealed_private_key", sa.LargeBinary, nullable=False),
    sa.Column("verified_at", _time),
    sa.Column("created_at", _time, nullable=False),
    sa.CheckConstraint("algorithm IN ('rsa-sha256', 'ed25519-sha256')", name="algorithm"),
    sa.UniqueConstraint("domain_id", "generation", "algorithm"),
)
