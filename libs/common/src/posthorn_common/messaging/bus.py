"""The connection of a service to RabbitMQ: publishes events with confirms, and runs subscriptions."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator
from typing import Any
from uuid import UUID

import structlog
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError
from faststream import AckPolicy
from faststream.rabbit import Channel, RabbitBroker, RabbitMessage

from posthorn_common.loops import stops_within
from posthorn_common.messaging import metrics, topology
from posthorn_common.messaging.delivery import AnyEvent, Handler, MessageProcessor, Subscription
from posthorn_common.messaging.errors import ConsumerLost
from posthorn_common.messaging.publisher import Publisher, named_url
from posthorn_common.messaging.queues import queue_counts, return_unrouted

log = structlog.get_logger(__name__)

_PREFETCH = 20
_CONCURRENCY = 20
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 15.0
_WATCH_SECONDS = 15.0


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
        self._instance = secrets.token_hex(6)

    async def publish(self, event_type: str, body: bytes, *, event_id: UUID) -> None:
        """Publish a persistent event and wait until the broker has stored it.

        An event that no consumer has asked for yet is stored too, in the bounded queue `posthorn.unrouted`, from where
        consumers that come later take it.

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
        """
        queue = topology.subscription_queue(consumer, event_class.event_type)
        self._subscriptions.append(Subscription(consumer, event_class, handler, queue, prefetch))

    def subscribe_broadcast(self, event_class: type[AnyEvent], handler: Handler[AnyEvent], *, consumer: str) -> None:
        """Have `handler` called for every such event in **every** process, while it is connected.

        Events published while the process is away are missed: for caches that are filled anew at start.
        """
        queue = topology.broadcast_queue(consumer, event_class.event_type, self._instance)
        self._subscriptions.append(Subscription(consumer, event_class, handler, queue, _PREFETCH))

    async def run(self, stop: asyncio.Event, *, grace_seconds: float = 20.0) -> None:
        """Consume until `stop` is set, then finish the handlers at work, for at most `grace_seconds`.

        Connects again, and declares everything again, for as long as it takes.
        """
        failures = 0
        while not stop.is_set():
            try:
                await self._consume(stop, grace_seconds)
                failures = 0
            except (AMQPError, ChannelInvalidStateError, ConsumerLost, OSError) as error:
                failures += 1
                pause = min(_FIRST_PAUSE_SECONDS * 2.0 ** (failures - 1), _LONGEST_PAUSE_SECONDS)
                log.warning("consumer_disconnected", error=type(error).__name__, pause_seconds=pause)
                await stops_within(stop, pause)

    async def close(self) -> None:
        """Close the publishing connection."""
        await self._publisher.close()

    async def _consume(self, stop: asyncio.Event, grace_seconds: float) -> None:
        """Consume until `stop` is set, or until a queue of ours is gone or has no consumer."""
        broker = RabbitBroker(
            named_url(self._amqp_url, f"{self._service}.consumer"),
            app_id=self._service,
            reconnect_interval=2,
            graceful_timeout=grace_seconds,
            apply_types=False,
            logger=None,
        )
        slots = asyncio.Semaphore(_CONCURRENCY)
        channels = {
            prefetch: Channel(prefetch_count=prefetch) for prefetch in {s.prefetch for s in self._subscriptions}
        }
        for subscription in self._subscriptions:
            processor = MessageProcessor(subscription, slots=slots, stop=stop)
            broker.subscriber(
                subscription.queue,
                topology.EVENTS,
                channel=channels[subscription.prefetch],
                ack_policy=AckPolicy.MANUAL,
                decoder=_undecoded,
                no_reply=True,
            )(processor.process)
        try:
            await broker.connect()
            await topology.declare_exchanges(broker)
            for consumer in sorted({subscription.consumer for subscription in self._subscriptions}):
                await topology.declare_dead_letters(broker, consumer)
            await broker.start()
            log.info("consumer_started", queues=len(self._subscriptions))
            await return_unrouted(broker, stop)
            await self._watch(broker, stop)
        finally:
            await broker.stop()

    async def _watch(self, broker: RabbitBroker, stop: asyncio.Event) -> None:
        """Look after the queues until `stop` is set; raises if one has disappeared or lost our consumer for good."""
        orphans: set[str] = set()
        while not await stops_within(stop, _WATCH_SECONDS):
            async with asyncio.timeout(_WATCH_SECONDS):
                counts = await queue_counts(broker, self._watched_queues())
            for name, count in counts.items():
                metrics.QUEUE_MESSAGES.labels(name).set(count.messages)
            without = {s.queue.name for s in self._subscriptions if counts[s.queue.name].consumers == 0}
            # The client consumes again by itself after most faults, so one look is not enough.
            if lost := orphans & without:
                raise ConsumerLost(sorted(lost))
            orphans = without

    def _watched_queues(self) -> list[str]:
        consumers = {subscription.consumer for subscription in self._subscriptions}
        return [
            *(subscription.queue.name for subscription in self._subscriptions),
            *(topology.dead_letter_queue(consumer).name for consumer in sorted(consumers)),
            topology.UNROUTED_QUEUE.name,
        ]


async def _undecoded(message: RabbitMessage) -> RabbitMessage:
    return message
