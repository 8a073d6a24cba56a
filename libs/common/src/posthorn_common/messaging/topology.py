"""Names and properties of everything Posthorn declares in RabbitMQ.

posthorn.events (topic) ──▶ <consumer>.<event type>   quorum, one per subscription
     │ alternate                 │ dead letters
     ▼                           ▼
posthorn.unrouted (fanout)  posthorn.dead (direct) ──▶ <consumer>.dead   quorum
     └──▶ posthorn.unrouted      quorum, bounded
"""

from __future__ import annotations

from faststream.rabbit import ExchangeType, QueueType, RabbitBroker, RabbitExchange, RabbitQueue

MAX_ATTEMPTS = 5
"""Attempts a consumer has before its message is dead-lettered."""

UNROUTED_MAX_MESSAGES = 10_000
UNROUTED_TTL_SECONDS = 7 * 24 * 3600

EVENTS = RabbitExchange(
    "posthorn.events", type=ExchangeType.TOPIC, arguments={"alternate-exchange": "posthorn.unrouted"}
)
DEAD = RabbitExchange("posthorn.dead", type=ExchangeType.DIRECT)
UNROUTED = RabbitExchange("posthorn.unrouted", type=ExchangeType.FANOUT)
UNROUTED_QUEUE = RabbitQueue(
    "posthorn.unrouted",
    queue_type=QueueType.QUORUM,
    arguments={
        "x-max-length": UNROUTED_MAX_MESSAGES,
        "x-message-ttl": UNROUTED_TTL_SECONDS * 1000,
        "x-overflow": "drop-head",
    },
)


def subscription_queue(consumer: str, event_type: str) -> RabbitQueue:
    """Return the queue of one consumer service for one event type."""
    return RabbitQueue(
        f"{consumer}.{event_type}",
        queue_type=QueueType.QUORUM,
        routing_key=event_type,
        arguments={
            # The consumer gives up first, by its own count; this limit ends messages that kill their consumer.
            "x-delivery-limit": MAX_ATTEMPTS,
            "x-dead-letter-exchange": DEAD.name,
            "x-dead-letter-routing-key": consumer,
            # Without reject-publish the broker falls back to at-most-once without a word.
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        },
    )


def broadcast_queue(consumer: str, event_type: str, instance: str) -> RabbitQueue:
    """Return a queue that one process has for itself and that ends with its connection."""
    return RabbitQueue(
        f"{consumer}.{event_type}.{instance}", routing_key=event_type, durable=False, exclusive=True, auto_delete=True
    )


def dead_letter_queue(consumer: str) -> RabbitQueue:
    """Return the queue that keeps what a consumer service could not handle."""
    return RabbitQueue(
        f"{consumer}.dead",
        queue_type=QueueType.QUORUM,
        routing_key=consumer,
        # Looking at letters counts as a delivery; RabbitMQ 4 would drop them after twenty looks.
        arguments={"x-delivery-limit": 1_000_000},
    )


async def declare_exchanges(broker: RabbitBroker) -> None:
    """Declare what publishers need, so that every event is stored even before its first consumer exists."""
    unrouted = await broker.declare_exchange(UNROUTED)
    queue = await broker.declare_queue(UNROUTED_QUEUE)
    await queue.bind(unrouted)
    await broker.declare_exchange(EVENTS)


async def declare_dead_letters(broker: RabbitBroker, consumer: str) -> None:
    """Declare where a consumer's dead letters go; before its queues, or letters could be lost meanwhile."""
    exchange = await broker.declare_exchange(DEAD)
    queue = await broker.declare_queue(dead_letter_queue(consumer))
    await queue.bind(exchange, routing_key=consumer)
