"""One transaction of the campaigns schema."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_campaigns.adapters.db.access_requests import SqlAccessRequests
from posthorn_campaigns.adapters.db.activities import SqlActivities
from posthorn_campaigns.adapters.db.attribute_indexes import SqlAttributeIndexes
from posthorn_campaigns.adapters.db.attributes import SqlAttributes
from posthorn_campaigns.adapters.db.audiences import SqlAudiences
from posthorn_campaigns.adapters.db.campaigns import SqlCampaigns
from posthorn_campaigns.adapters.db.contacts import SqlContacts
from posthorn_campaigns.adapters.db.engagements import SqlEngagements
from posthorn_campaigns.adapters.db.erasures import SqlErasures
from posthorn_campaigns.adapters.db.exports import SqlExports
from posthorn_campaigns.adapters.db.imports import SqlImports
from posthorn_campaigns.adapters.db.lists import SqlLists
from posthorn_campaigns.adapters.db.segments import SqlSegments
from posthorn_campaigns.adapters.db.subscriptions import SqlSubscriptions
from posthorn_campaigns.adapters.db.suppressions import SqlSuppressions
from posthorn_campaigns.adapters.db.templates import SqlTemplates
from posthorn_common.inbox import first_time
from posthorn_common.unit_of_work import SqlTransaction
from posthorn_contracts.envelope import Event


class SqlUnitOfWork(SqlTransaction):
    """See the port UnitOfWork."""

    contacts: SqlContacts
    attributes: SqlAttributes
    attribute_indexes: SqlAttributeIndexes
    segments: SqlSegments
    audiences: SqlAudiences
    engagements: SqlEngagements
    subscriptions: SqlSubscriptions
    suppressions: SqlSuppressions
    activities: SqlActivities
    lists: SqlLists
    imports: SqlImports
    exports: SqlExports
    erasures: SqlErasures
    access_requests: SqlAccessRequests
    templates: SqlTemplates
    campaigns: SqlCampaigns

    def open(self, connection: AsyncConnection) -> None:
        """Make the repositories."""
        self.contacts = SqlContacts(connection)
        self.attributes = SqlAttributes(connection)
        self.attribute_indexes = SqlAttributeIndexes(connection)
        self.segments = SqlSegments(connection)
        self.audiences = SqlAudiences(connection)
        self.engagements = SqlEngagements(connection)
        self.subscriptions = SqlSubscriptions(connection)
        self.suppressions = SqlSuppressions(connection)
        self.activities = SqlActivities(connection)
        self.lists = SqlLists(connection)
        self.imports = SqlImports(connection)
        self.exports = SqlExports(connection)
        self.erasures = SqlErasures(connection)
        self.access_requests = SqlAccessRequests(connection)
        self.templates = SqlTemplates(connection)
        self.campaigns = SqlCampaigns(connection)

    async def first_time(self, event: Event) -> bool:
        """Whether the event was not handled before; remembered in this transaction."""
        return await first_time(self.connection, event.type, event.id)
