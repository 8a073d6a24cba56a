"""One transaction of the campaigns schema."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from sqlalchemy.ext.asyncio import AsyncEngine

from posthorn_campaigns.adapters.db.activities import SqlActivities
from posthorn_campaigns.adapters.db.attributes import SqlAttributes
from posthorn_campaigns.adapters.db.audiences import SqlAudiences
from posthorn_campaigns.adapters.db.campaigns import SqlCampaigns
from posthorn_campaigns.adapters.db.contacts import SqlContacts
from posthorn_campaigns.adapters.db.engagements import SqlEngagements
from posthorn_campaigns.adapters.db.exports import SqlExports
from posthorn_campaigns.adapters.db.imports import SqlImports
from posthorn_campaigns.adapters.db.lists import SqlLists
from posthorn_campaigns.adapters.db.segments import SqlSegments
from posthorn_campaigns.adapters.db.subscriptions import SqlSubscriptions
from posthorn_campaigns.adapters.db.templates import SqlTemplates
from posthorn_common.inbox import first_time
from posthorn_common.outbox import Outbox
from posthorn_contracts.envelope import Event


class SqlUnitOfWork:
    """See the port UnitOfWork."""

    contacts: SqlContacts
    attributes: SqlAttributes
    segments: SqlSegments
    audiences: SqlAudiences
    engagements: SqlEngagements
    subscriptions: SqlSubscriptions
    activities: SqlActivities
    lists: SqlLists
    imports: SqlImports
    exports: SqlExports
    templates: SqlTemplates
    campaigns: SqlCampaigns

    def __init__(self, engine: AsyncEngine) -> None:
        self._transaction = engine.begin()
        self._outbox = Outbox()

    async def __aenter__(self) -> Self:
        """Begin."""
        self._connection = await self._transaction.__aenter__()
        self.contacts = SqlContacts(self._connection)
        self.attributes = SqlAttributes(self._connection)
        self.segments = SqlSegments(self._connection)
        self.audiences = SqlAudiences(self._connection)
        self.engagements = SqlEngagements(self._connection)
        self.subscriptions = SqlSubscriptions(self._connection)
        self.activities = SqlActivities(self._connection)
        self.lists = SqlLists(self._connection)
        self.imports = SqlImports(self._connection)
        self.exports = SqlExports(self._connection)
        self.templates = SqlTemplates(self._connection)
        self.campaigns = SqlCampaigns(self._connection)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit, or roll back if the block raised."""
        await self._transaction.__aexit__(kind, error, trace)

    async def publish(self, event: Event) -> None:
        """Add an event to the outbox."""
        await self._outbox.add(self._connection, event)

    async def first_time(self, event: Event) -> bool:
        """Whether the event was not handled before; remembered in this transaction."""
        return await first_time(self._connection, event.type, event.id)
