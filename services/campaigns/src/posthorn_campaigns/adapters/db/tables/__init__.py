"""Tables of the schema `campaigns`."""

from posthorn_campaigns.adapters.db.tables.campaigns import (
    campaign_contents,
    campaigns,
    template_versions,
    templates,
)
from posthorn_campaigns.adapters.db.tables.contacts import (
    activities,
    contact_attribute_values,
    contact_attributes,
    contacts,
    dropped_attribute_indexes,
    engagements,
    segments,
    suppressed_addresses,
)
from posthorn_campaigns.adapters.db.tables.files import (
    access_requests,
    erasures,
    export_pieces,
    exports,
    import_pieces,
    imports,
    rejected_rows,
)
from posthorn_campaigns.adapters.db.tables.lists import (
    confirmations,
    list_counts,
    lists,
    subscription_changes,
    subscriptions,
)
from posthorn_campaigns.adapters.db.tables.shared import metadata
from posthorn_common.inbox import inbox_table
from posthorn_common.outbox import outbox_table

outbox = outbox_table(metadata)
inbox = inbox_table(metadata)

__all__ = [
    "access_requests",
    "activities",
    "campaign_contents",
    "campaigns",
    "confirmations",
    "contact_attribute_values",
    "contact_attributes",
    "contacts",
    "dropped_attribute_indexes",
    "engagements",
    "erasures",
    "export_pieces",
    "exports",
    "import_pieces",
    "imports",
    "inbox",
    "list_counts",
    "lists",
    "metadata",
    "outbox",
    "rejected_rows",
    "segments",
    "subscription_changes",
    "subscriptions",
    "suppressed_addresses",
    "template_versions",
    "templates",
]
