"""One transaction of the mailer schema."""

from __future__ import annotations

from types import TracebackType
from typing import Self
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from posthorn_common.inbox import first_time
from posthorn_common.outbox import Outbox
from posthorn_contracts.envelope import Event
from posthorn_mailer.adapters.db.batches import SqlBatches
from posthorn_mailer.adapters.db.deliveries import SqlDeliveries
from posthorn_mailer.adapters.db.sends import SqlSends


class SqlUnitOfWork:
    """See the port UnitOfWork."""

    sends: SqlSends
    batches: SqlBatches
    deliveries: SqlDeliveries

    def __init__(self, engine: AsyncEngine) -> None:
        self._transaction = engine.begin()
        self._outbox = Outbox()

    async def __aenter__(self) -> Self:
        """Begin."""
        self._connection = await self._transaction.__aenter__()
        self.sends = SqlSends(self._connection)
        self.batches = SqlBatches(self._connection)
        self.deliveries = SqlDeliveries(self._connection)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit, or roll back if the block raised."""
        await self._transaction.__aexit__(kind, error, trace)

    async def publish(self, event: Event, *, written: str | None = None) -> None:
        """Add an event to the outbox; `written` is the event as JSON, if that is there already."""
        await self._outbox.add(self._connection, event, written=written)

    async def first_time(self, consumer: str, event_id: UUID) -> bool:
        """Note the event as handled; return False if it was noted before."""
        return await first_time(self._connection, consumer, event_id)
