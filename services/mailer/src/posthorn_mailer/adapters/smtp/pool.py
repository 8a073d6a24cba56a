"""The connections to one relay: some at work, some idle, never more than the relay allows."""

from __future__ import annotations

import asyncio
import time

from posthorn_mailer.adapters.smtp.connection import SmtpConnection
from posthorn_mailer.adapters.smtp.settings import ReuseLimits


class RelayPool:
    """Hands out idle connections, the last used first, so that those not needed grow old and are closed."""

    def __init__(self, max_connections: int, limits: ReuseLimits) -> None:
        self.slots = asyncio.Semaphore(max_connections)
        self._limits = limits
        self._idle: list[SmtpConnection] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._retired = False

    def take(self) -> SmtpConnection | None:
        """Return an idle connection that can be used, if there is one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and not self._too_old(connection):
                return connection
            self._close(connection)
        return None

    def give_back(self, connection: SmtpConnection) -> None:
        """Keep the connection for the next message, or close it."""
        if self._retired or not connection.usable or connection.messages >= self._limits.messages:
            self._close(connection)
            return
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(self._limits.idle_seconds, self._close_old)

    def retire(self) -> None:
        """Close what is idle, and whatever comes back later."""
        self._retired = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        while self._idle:
            self._close(self._idle.pop())

    async def closed(self) -> None:
        """Wait until the connections being closed are."""
        await asyncio.gather(*self._closing)

    def _close_old(self) -> None:
        self._sweep = None
        kept = []
        for connection in self._idle:
            if self._too_old(connection) or not connection.usable:
                self._close(connection)
            else:
                kept.append(connection)
        self._idle = kept
        if kept:
            self._sweep = asyncio.get_running_loop().call_later(self._limits.idle_seconds, self._close_old)

    def _too_old(self, connection: SmtpConnection) -> bool:
        return time.monotonic() - connection.used_at >= self._limits.idle_seconds

    def _close(self, connection: SmtpConnection) -> None:
        if not connection.usable:
            connection.abort()
            return
        task = asyncio.create_task(connection.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
