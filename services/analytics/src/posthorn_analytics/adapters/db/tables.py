"""Tables of the schema `analytics`.

Counters are signed and may be negative for a moment: events come in no certain order, and a move of a delivery may be
told before its first outcome. Readers show no less than 0.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from posthorn_analytics.domain.campaigns import CampaignStatus
from posthorn_analytics.domain.tallies import ENGAGEMENTS, OUTCOMES
from posthorn_common.db import new_metadata
from posthorn_common.inbox import inbox_table
from posthorn_common.outbox import outbox_table

metadata = new_metadata()
_time = sa.DateTime(timezone=True)

HOUR_COUNTERS = ("sent", "deferred", "bounced", "failed", "complained", *ENGAGEMENTS)
LINK_COUNTERS = ("clicks", "unique_clicks", "machine_clicks")
DOMAIN_COUNTERS = (*OUTCOMES, "unique_opens", "unique_clicks", "unsubscribes")
CAMPAIGN_COUNTERS = (*OUTCOMES, *ENGAGEMENTS)


def _counters(names: Iterable[str]) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False, server_default="0") for name in names]


# A row comes to be with the first event about a campaign, whichever that is; the rest is filled in later.
campaigns = sa.Table(
    "campaigns",
    metadata,
    sa.Column("campaign_id", sa.Uuid, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("name", sa.Text),
    sa.Column("name_at", _time),
    sa.Column("status", sa.Text),
    sa.Column("status_at", _time),
    sa.Column("started_at", _time),
    sa.Column("audience", sa.BigInteger),
    sa.Column("audience_at", _time),
    sa.Column("notice", sa.Text),
    sa.Column("notice_at", _time),
    sa.Column("links_known", sa.Boolean, nullable=False, server_default=sa.false()),
    *_counters(CAMPAIGN_COUNTERS),
    sa.Column("first_activity_at", _time),
    sa.Column("last_activity_at", _time),
    sa.Column("updated_at", _time, nullable=False, server_default=sa.func.now()),
    sa.CheckConstraint(f"status IN ({', '.join(repr(str(status)) for status in CampaignStatus)})", name="status"),
    sa.Index(None, "organisation_id", "campaign_id"),
)

campaign_hours = sa.Table(
    "campaign_hours",
    metadata,
    sa.Column("campaign_id", sa.Uuid, primary_key=True),
    sa.Column("hour", _time, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    *_counters(HOUR_COUNTERS),
    sa.Index(None, "organisation_id", "hour"),
)

campaign_links = sa.Table(
    "campaign_links",
    metadata,
    sa.Column("campaign_id", sa.Uuid, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    *_counters(LINK_COUNTERS),
)

campaign_domains = sa.Table(
    "campaign_domains",
    metadata,
    sa.Column("campaign_id", sa.Uuid, primary_key=True),
    sa.Column("domain", sa.Text, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    *_counters(DOMAIN_COUNTERS),
)

# Who was delivered to and what they did. An erased contact's rows keep their counts under a pseudonym.
recipients = sa.Table(
    "recipients",
    metadata,
    sa.Column("campaign_id", sa.Uuid, primary_key=True),
    sa.Column("contact_id", sa.Uuid, primary_key=True, index=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("domain", sa.Text),
    sa.Column("sent_at", _time),
    sa.Column("opens", sa.Integer, nullable=False, server_default="0"),
    sa.Column("clicks", sa.Integer, nullable=False, server_default="0"),
    sa.Column("machine_hits", sa.Integer, nullable=False, server_default="0"),
    sa.Column("clicked_links", sa.ARRAY(sa.Integer), nullable=False, server_default="{}"),
    sa.Column("first_open_at", _time),
    sa.Column("first_click_at", _time),
    sa.Column("unsubscribed_at", _time),
)

# Single opens and clicks, for lists and exports; deleted after the retention time. Neither address nor user agent.
engagements = sa.Table(
    "engagements",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("campaign_id", sa.Uuid, nullable=False),
    sa.Column("contact_id", sa.Uuid, nullable=False, index=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("link_number", sa.Integer),
    sa.Column("is_machine", sa.Boolean, nullable=False),
    sa.Column("at", _time, nullable=False, index=True),
    sa.CheckConstraint("kind IN ('open', 'click')", name="kind"),
    sa.Index(None, "campaign_id", "id"),
)

# Pseudonyms of erased contacts: events that come late must not bring a contact's id back.
erased_contacts = sa.Table(
    "erased_contacts",
    metadata,
    sa.Column("pseudonym", sa.Uuid, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("erased_at", _time, nullable=False),
)

inbox = inbox_table(metadata)
outbox = outbox_table(metadata)
