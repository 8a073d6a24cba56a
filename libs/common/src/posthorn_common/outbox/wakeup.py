"""Wakes a relay when something was committed to its outbox, by PostgreSQL's LISTEN and NOTIFY."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Any, Self

import asyncpg
import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from posthorn_common.loops import stops_within
from posthorn_common.outbox.table import NOTIFY_CHANNEL

log = structlog.get_logger(__name__)

_PAUSE_SECONDS = 5.0


class Wakeup:
    """Listens while its context is open. Whoever waits must also poll: notifications are lost with a connection."""

    def __init__(self, engine: AsyncEngine, stop: asyncio.Event) -> None:
        self._engine = engine
        self._stop = stop
        self._awake = asyncio.Event()
        self._schema: str | None = None
        self._listening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start to listen."""
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the connection back."""
        if self._listening is not None:
            self._listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listening

    async def wait(self, seconds: float) -> None:
        """Return when a notification came since the last call, when the process stops, or after `seconds`."""
        await stops_within(self._awake, seconds)
        self._awake.clear()

    async def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                await self._listen_once()
            except (OSError, sa.exc.SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                # Polling goes on meanwhile: events leave a little later.
                log.warning("outbox_listen_failed", error=type(error).__name__, pause_seconds=_PAUSE_SECONDS)
                await stops_within(self._stop, _PAUSE_SECONDS)
        self._awake.set()

    async def _listen_once(self) -> None:
        async with self._engine.connect() as connection:
            self._schema = await connection.scalar(sa.text("SELECT current_schema()"))
            await connection.commit()
            driver: Any = (await connection.get_raw_connection()).driver_connection
            lost = asyncio.Event()
            driver.add_termination_listener(lambda _connection: lost.set())
            await driver.add_listener(NOTIFY_CHANNEL, self._notified)
            self._awake.set()
            try:
                await _first(lost, self._stop)
            finally:
                # A connection that listens must not go back to the pool.
                await connection.invalidate()

    def _notified(self, _connection: object, _pid: int, _channel: str, schema: object) -> None:
        if schema == self._schema:
            self._awake.set()


async def _first(*events: asyncio.Event) -> None:
    waiters = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiter in waiters:
            waiter.cancel()
