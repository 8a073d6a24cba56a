"""One transaction of the analytics schema."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from sqlalchemy.ext.asyncio import AsyncEngine

from posthorn_analytics.adapters.db.campaigns import SqlCampaigns
from posthorn_analytics.adapters.db.counters import SqlCounters
from posthorn_analytics.adapters.db.erasures import SqlErasures
from posthorn_analytics.adapters.db.recipients import SqlEngagements, SqlRecipients
from posthorn_common.inbox import first_time
from posthorn_common.outbox import Outbox
from posthorn_contracts.envelope import Event

CONSUMER = "analytics"


class SqlUnitOfWork:
    """See the port UnitOfWork."""

    campaigns: SqlCampaigns
    recipients: SqlRecipients
    engagements: SqlEngagements
    counters: SqlCounters
    erasures: SqlErasures

    def __init__(self, engine: AsyncEngine) -> None:
        self._transaction = engine.begin()
        self._outbox = Outbox()

    async def __aenter__(self) -> Self:
        """Begin."""
        self._connection = await self._transaction.__aenter__()
        self.campaigns = SqlCampaigns(self._connection)
        self.recipients = SqlRecipients(self._connection)
        self.engagements = SqlEngagements(self._connection)
        self.counters = SqlCounters(self._connection)
        self.erasures = SqlErasures(self._connection)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit, or roll back if the block raised."""
        await self._transaction.__aexit__(kind, error, trace)

    async def first_time(self, event: Event) -> bool:
        """Note the event as handled; return False if it was before."""
        return await first_time(self._connection, CONSUMER, event.id)

    async def publish(self, event: Event) -> None:
        """Add an event to the outbox."""
        await self._outbox.add(self._connection, event)
