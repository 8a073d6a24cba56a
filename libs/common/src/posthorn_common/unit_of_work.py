"""One transaction of a service's schema: what the units of work of all services have in common."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from posthorn_common.auditing import Auditing
from posthorn_common.outbox import Outbox
from posthorn_contracts.envelope import Event


class SqlTransaction:
    """Commits when the block ends, rolls back if it raised.

    The first transaction of a request that has written something also tells who asked for that; see `auditing`.
    """

    connection: AsyncConnection

    def __init__(self, engine: AsyncEngine) -> None:
        self._transaction = engine.begin()
        self._outbox = Outbox()

    async def __aenter__(self) -> Self:
        """Begin."""
        self.connection = await self._transaction.__aenter__()
        self.open(self.connection)
        return self

    def open(self, connection: AsyncConnection) -> None:
        """Make the repositories, which work in this transaction."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit, or roll back if the block raised."""
        if kind is not None:
            await self._transaction.__aexit__(kind, error, trace)
            return
        auditing = Auditing()
        try:
            await auditing.tell(self.connection, self._outbox)
        except BaseException as failed:
            await self._transaction.__aexit__(type(failed), failed, failed.__traceback__)
            raise
        await self._transaction.__aexit__(None, None, None)
        auditing.told()

    async def publish(self, event: Event, *, written: str | None = None) -> None:
        """Add an event to the outbox; `written` is the event as JSON, if that is there already."""
        await self._outbox.add(self.connection, event, written=written)
