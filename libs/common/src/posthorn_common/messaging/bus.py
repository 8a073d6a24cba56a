"""The connection of a service to RabbitMQ: publishes events with confirms, and runs subscriptions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any
from uuid import UUID

import structlog

from posthorn_common.loops import stops_within
from posthorn_common.messaging.connection import CONNECTION_ERRORS, connected
from posthorn_common.messaging.consumer import ConsumerSession
from posthorn_common.messaging.delivery import AnyEvent, Handler, Subscription
from posthorn_common.messaging.errors import ConsumerLost
from posthorn_common.messaging.publisher import Publisher

log = structlog.get_logger(__name__)

_PREFETCH = 20
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 5.0


@contextlib.asynccontextmanager
async def connect(amqp_url: str, *, service: str) -> AsyncGenerator[EventBus]:
    """Provide the service's event bus. RabbitMQ need not be there yet: connections are made when needed."""
    bus = EventBus(amqp_url, service=service)
    try:
        yield bus
    finally:
        await bus.close()


class EventBus:
    """Publishes events and runs subscriptions, on two connections: a broker short of memory blocks publishers only."""

    def __init__(self, amqp_url: str, *, service: str) -> None:
        self._amqp_url = amqp_url
        self._service = service
        self._publisher = Publisher(amqp_url, service=service)
        self._subscriptions: list[Subscription[Any]] = []

    async def publish(self, event_type: str, body: bytes, *, event_id: UUID) -> None:
        """Publish a persistent event and wait until the broker has stored it.

        An event that no consumer has asked for yet is stored too, in the bounded queue `posthorn.unrouted`, from where
        consumers that come later take it; but not one that is for others only (`Event.is_for_others`).

        Raises BrokerUnavailable, EventNotRouted or PublishRefused; after each of them publish again with the same id.
        Only the outbox relay should call this.
        """
        await self._publisher.publish(event_type, body, event_id=event_id)

    async def ping(self) -> None:
        """Raise BrokerUnavailable unless there is a connection to RabbitMQ."""
        await self._publisher.ping()

    def subscribe(
        self,
        event_class: type[AnyEvent],
        handler: Handler[AnyEvent],
        *,
        consumer: str,
        prefetch: int = _PREFETCH,
    ) -> None:
        """Have `handler` called for every such event, by one of the processes of the service `consumer`.

        The queue is `<consumer>.<event type>`; at most `prefetch` messages of it are in this process at once. Delivery
        is at least once and in no certain order: see `MessageProcessor` for what happens when the handler fails.
        Subscribe before `run`.
        """
        self._subscriptions.append(Subscription(consumer, event_class, handler, prefetch))

    def subscribe_broadcast(self, event_class: type[AnyEvent], handler: Handler[AnyEvent], *, consumer: str) -> None:
        """Have `handler` called for every such event in **every** process, while it is connected.

        Events published while the process is away are missed: for caches that are filled anew at start.
        """
        self._subscriptions.append(Subscription(consumer, event_class, handler, _PREFETCH, broadcast=True))

    async def run(self, stop: asyncio.Event, *, grace_seconds: float = 20.0) -> None:
        """Consume until `stop` is set, then finish the handlers at work, for at most `grace_seconds`.

        Connects again and declares everything again, for as long as it takes.
        """
        failures = 0
        while not stop.is_set():
            try:
                async with connected(self._amqp_url, name=f"{self._service}.consumer") as connection:
                    session = ConsumerSession(connection, self._subscriptions, stop)
                    await session.run(grace_seconds=grace_seconds)
            except (ConsumerLost, *CONNECTION_ERRORS) as error:
                failures = 1 if isinstance(error, ConsumerLost) else failures + 1
                pause = min(_FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 10), _LONGEST_PAUSE_SECONDS)
                log.warning("consumer_disconnected", error=type(error).__name__, pause_seconds=pause)
                await stops_within(stop, pause)

    async def close(self) -> None:
        """Close the publishing connection."""
        await self._publisher.close()
