"""Runs a service's subscriptions on one connection, from the first declaration to the last acknowledgement."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator, Sequence
from typing import Any

import structlog
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage, AbstractQueue

from posthorn_common.loops import stops_within
from posthorn_common.messaging import metrics, topology
from posthorn_common.messaging.connection import CONNECTION_ERRORS
from posthorn_common.messaging.delivery import MessageProcessor, Subscription
from posthorn_common.messaging.errors import ConsumerLost
from posthorn_common.messaging.queues import message_counts, return_unrouted

log = structlog.get_logger(__name__)

# Handlers at work in one process, whatever the number of queues: about what a database pool bears.
_CONCURRENCY = 20
_WATCH_SECONDS = 15.0


class ConsumerSession:
    """Consumes on one connection until told to stop, or until anything about it is not as it should be."""

    def __init__(
        self, connection: AbstractConnection, subscriptions: Sequence[Subscription[Any]], stop: asyncio.Event
    ) -> None:
        self._connection = connection
        self._subscriptions = subscriptions
        self._stop = stop
        self._slots = asyncio.Semaphore(_CONCURRENCY)
        self._consuming: list[tuple[AbstractQueue, str]] = []
        self._working = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._lost = asyncio.Event()

    async def run(self, *, grace_seconds: float) -> None:
        """Consume until `stop` is set, then finish the handlers at work, for at most `grace_seconds`.

        Raises ConsumerLost, or one of CONNECTION_ERRORS, when the connection, a channel, a queue or a consumer is gone.
        """
        self._connection.close_callbacks.add(self._on_lost)
        await self._declare()
        for subscription in self._subscriptions:
            await self._subscribe(subscription)
        log.info("consumer_started", queues=len(self._subscriptions))
        returning = asyncio.create_task(self._return_unrouted())
        try:
            await self._watch()
        finally:
            returning.cancel()
            await asyncio.gather(returning, return_exceptions=True)
        await self._drain(grace_seconds)

    async def _declare(self) -> None:
        async with self._connection.channel() as channel:
            await topology.declare_events(channel)
            for consumer in self._consumers():
                await topology.declare_dead_letters(channel, consumer)

    async def _subscribe(self, subscription: Subscription[Any]) -> None:
        # A channel each: the broker closes one whose message is held too long, and only that one.
        channel = await self._connection.channel(publisher_confirms=False)
        channel.close_callbacks.add(self._on_lost)
        (await channel.get_underlay_channel()).on_consumer_cancel_callbacks.add(self._on_lost)
        await channel.set_qos(prefetch_count=subscription.prefetch)
        declare = topology.declare_broadcast if subscription.broadcast else topology.declare_subscription
        queue = await declare(channel, subscription.consumer, subscription.event_type)
        processor = MessageProcessor(subscription, slots=self._slots, stop=self._stop)

        async def process(message: AbstractIncomingMessage) -> None:
            with self._at_work():
                await processor.process(message)

        self._consuming.append((queue, await queue.consume(process)))

    @contextlib.contextmanager
    def _at_work(self) -> Generator[None]:
        self._working += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._working -= 1
            if self._working == 0:
                self._idle.set()

    async def _return_unrouted(self) -> None:
        try:
            await return_unrouted(self._connection, self._stop)
        except CONNECTION_ERRORS as error:
            log.warning("unrouted_events_not_returned", error=type(error).__name__)
            self._lost.set()

    async def _watch(self) -> None:
        while not self._stop.is_set():
            async with asyncio.timeout(_WATCH_SECONDS):
                counts = await message_counts(self._connection, self._watched_queues())
            for name, count in counts.items():
                metrics.QUEUE_MESSAGES.labels(name).set(count)
            await self._wait(_WATCH_SECONDS)
            if self._lost.is_set():
                raise ConsumerLost

    async def _wait(self, seconds: float) -> None:
        waiters = [asyncio.create_task(event.wait()) for event in (self._stop, self._lost)]
        await asyncio.wait(waiters, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for waiter in waiters:
            waiter.cancel()

    async def _drain(self, grace_seconds: float) -> None:
        for queue, tag in self._consuming:
            await queue.cancel(tag)
        if not await stops_within(self._idle, grace_seconds):
            # Closing the connection cancels them, and their messages are delivered again.
            log.warning("handlers_cut_off", handlers=self._working, grace_seconds=grace_seconds)

    def _on_lost(self, *_reason: object) -> None:
        self._lost.set()

    def _consumers(self) -> list[str]:
        return sorted({subscription.consumer for subscription in self._subscriptions})

    def _watched_queues(self) -> list[str]:
        return [
            *(subscription.queue for subscription in self._subscriptions if not subscription.broadcast),
            *(topology.dead_letter_queue_name(consumer) for consumer in self._consumers()),
            topology.UNROUTED,
        ]
