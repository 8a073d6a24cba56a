"""The connections to one relay: some at work, some idle, never more than the relay allows."""

from __future__ import annotations

import asyncio
from collections import deque

from posthorn_mailer.adapters.smtp.connection import SmtpConnection
from posthorn_mailer.adapters.smtp.settings import ReuseLimits


class RelayPool:
    """Hands out idle connections, the last used first, so that those not needed grow old and are closed.

    A connection counts until it is closed: while it says good-bye nobody opens another in its place.
    """

    def __init__(self, max_connections: int, limits: ReuseLimits) -> None:
        self._size = max_connections
        self._free = max_connections
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._idle: list[SmtpConnection] = []
        self._waiting: deque[asyncio.Future[SmtpConnection | None]] = deque()
        self._leaving: set[asyncio.Future[None]] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._retired = False

    async def take(self) -> SmtpConnection | None:
        """Return a connection to use, or None for the right to open one; wait for either. See `give_back`."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and not self._too_old(connection):
                return connection
            self._dismiss(connection)
        if self._free > 0:
            self._free -= 1
            return None
        waiter: asyncio.Future[SmtpConnection | None] = self._loop.create_future()
        self._waiting.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.give_back(waiter.result())
            raise

    def give_back(self, connection: SmtpConnection | None) -> None:
        """Keep a connection for the next message, or close it; None: it was never opened, or is broken."""
        if connection is None:
            self._release()
        elif self._is_too_much(connection):
            self._dismiss(connection)
        elif not self._pass_on(connection):
            self._idle.append(connection)
            if self._sweep is None:
                self._sweep = self._loop.call_later(self._limits.idle_seconds, self._close_old)

    def resize(self, connections: int) -> int:
        """Keep at most so many connections from now on; return how many there are still, those in use among them."""
        self._free += connections - self._size
        self._size = connections
        while self._free < 0 and self._idle:
            self._dismiss(self._idle.pop(0))
        while self._free > 0 and self._pass_on(None):
            self._free -= 1
        return self._size - self._free

    def retire(self) -> None:
        """Close what is idle, and whatever comes back later."""
        self._retired = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        while self._idle:
            self._dismiss(self._idle.pop())

    async def closed(self) -> None:
        """Wait until the connections that say good-bye have said it."""
        await asyncio.gather(*self._leaving)

    def _pass_on(self, connection: SmtpConnection | None) -> bool:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return True
        return False

    def _release(self) -> None:
        if self._free < 0 or not self._pass_on(None):
            self._free += 1

    def _dismiss(self, connection: SmtpConnection) -> None:
        if not connection.usable:
            self._release()
            return
        gone = connection.quit()
        self._leaving.add(gone)
        gone.add_done_callback(self._on_gone)

    def _on_gone(self, gone: asyncio.Future[None]) -> None:
        self._leaving.discard(gone)
        self._release()

    def _close_old(self) -> None:
        self._sweep = None
        connections, self._idle = self._idle, []
        for connection in connections:
            if self._too_old(connection) or not connection.usable:
                self._dismiss(connection)
            else:
                self._idle.append(connection)
        if self._idle:
            self._sweep = self._loop.call_later(self._limits.idle_seconds, self._close_old)

    def _is_too_much(self, connection: SmtpConnection) -> bool:
        return self._retired or self._free < 0 or not connection.usable or connection.messages >= self._limits.messages

    def _too_old(self, connection: SmtpConnection) -> bool:
        return self._loop.time() - connection.used_at >= self._limits.idle_seconds
