"""Tells watchers in all processes through Redis that a campaign's numbers have changed."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Generator, Iterable
from uuid import UUID

import redis.asyncio as redis
import structlog
from redis.exceptions import RedisError

from posthorn_common.loops import stops_within

log = structlog.get_logger(__name__)

_CHANNEL = "posthorn:analytics:changed"
_READ_SECONDS = 1.0
_PAUSE_SECONDS = 2.0


class _Waiter:
    """See the port ChangeWaiter."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Return when the campaign has changed since the last call, or after `seconds`."""
        await stops_within(self.changed, seconds)
        self.changed.clear()


class RedisChangeSignal:
    """See the port ChangeSignal. `listen` has to run where campaigns are watched; without it watchers poll."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._waiters: defaultdict[UUID, set[_Waiter]] = defaultdict(set)
        self._untold: set[UUID] = set()
        self._telling: asyncio.Task[None] | None = None

    def changed(self, campaign_ids: Iterable[UUID]) -> None:
        """Wake those who watch, soon; when Redis is away they find out by themselves a little later."""
        self._untold.update(campaign_ids)
        if self._untold and self._telling is None:
            self._telling = asyncio.create_task(self._tell())

    async def close(self) -> None:
        """Tell no more."""
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.wait([self._telling])

    async def _tell(self) -> None:
        try:
            while self._untold:
                campaign_ids, self._untold = self._untold, set()
                await self._publish(campaign_ids)
        finally:
            self._telling = None

    async def _publish(self, campaign_ids: Iterable[UUID]) -> None:
        try:
            async with self._client.pipeline(transaction=False) as pipeline:
                for campaign_id in campaign_ids:
                    pipeline.publish(_CHANNEL, campaign_id.bytes)
                await pipeline.execute()
        except (RedisError, OSError) as error:
            log.warning("change_not_signalled", error=type(error).__name__)

    @contextlib.contextmanager
    def watch(self, campaign_id: UUID) -> Generator[_Waiter]:
        """Provide a waiter for changes of the campaign."""
        waiter = _Waiter()
        self._waiters[campaign_id].add(waiter)
        try:
            yield waiter
        finally:
            self._waiters[campaign_id].discard(waiter)
            if not self._waiters[campaign_id]:
                del self._waiters[campaign_id]

    async def listen(self, stop: asyncio.Event) -> None:
        """Pass signals on to waiters until `stop` is set."""
        while not stop.is_set():
            try:
                async with self._client.pubsub(ignore_subscribe_messages=True) as subscription:
                    await subscription.subscribe(_CHANNEL)
                    while not stop.is_set():
                        message = await subscription.get_message(timeout=_READ_SECONDS)
                        if message is not None:
                            self._wake(message["data"])
            except (RedisError, OSError) as error:
                log.warning("signals_not_heard", error=type(error).__name__, pause_seconds=_PAUSE_SECONDS)
                await stops_within(stop, _PAUSE_SECONDS)

    def _wake(self, data: bytes) -> None:
        try:
            campaign_id = UUID(bytes=data)
        except ValueError:
            log.warning("signal_not_understood")
            return
        for waiter in self._waiters.get(campaign_id, ()):
            waiter.changed.set()
