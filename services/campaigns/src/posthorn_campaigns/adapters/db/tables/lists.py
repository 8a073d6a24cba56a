"""Lists, who is on them, and how that came about."""

from __future__ import annotations

import sqlalchemy as sa

from posthorn_campaigns.adapters.db.tables.contacts import contacts
from posthorn_campaigns.adapters.db.tables.shared import metadata

_time = sa.DateTime(timezone=True)

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
