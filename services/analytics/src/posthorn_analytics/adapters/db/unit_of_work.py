"""One transaction of the analytics schema."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_analytics.adapters.db.campaigns import SqlCampaigns
from posthorn_analytics.adapters.db.counters import SqlCounters
from posthorn_analytics.adapters.db.erasures import SqlErasures
from posthorn_analytics.adapters.db.recipients import SqlEngagements, SqlRecipients
from posthorn_common.inbox import first_time
from posthorn_common.unit_of_work import SqlTransaction
from posthorn_contracts.envelope import Event

CONSUMER = "analytics"


class SqlUnitOfWork(SqlTransaction):
    """See the port UnitOfWork."""

    campaigns: SqlCampaigns
    recipients: SqlRecipients
    engagements: SqlEngagements
    counters: SqlCounters
    erasures: SqlErasures

    def open(self, connection: AsyncConnection) -> None:
        """Make the repositories."""
        self.campaigns = SqlCampaigns(connection)
        self.recipients = SqlRecipients(connection)
        self.engagements = SqlEngagements(connection)
        self.counters = SqlCounters(connection)
        self.erasures = SqlErasures(connection)

    async def first_time(self, event: Event) -> bool:
        """Note the event as handled; return False if it was before."""
        return await first_time(self.connection, CONSUMER, event.id)
