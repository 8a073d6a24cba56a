"""Names and properties of everything Posthorn declares in RabbitMQ.

posthorn.events (topic) ──▶ <consumer>.<event type>   quorum, one per subscription
     │ alternate                 │ dead letters
     ▼                           ▼
posthorn.unrouted (fanout)  posthorn.dead (direct) ──▶ <consumer>.dead   quorum
     └──▶ posthorn.unrouted      quorum, bounded

Events of types that no service of ours listens to go to posthorn.others (fanout), to which others may bind queues.
Without it they would fill the queue of the unrouted.
"""

from __future__ import annotations

import secrets

from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractQueue

from posthorn_contracts.registry import EVENTS as EVENT_CLASSES

EVENTS = "posthorn.events"
DEAD = "posthorn.dead"
UNROUTED = "posthorn.unrouted"
OTHERS = "posthorn.others"

MAX_ATTEMPTS = 5
"""Attempts a consumer has before its message is dead-lettered."""

_UNROUTED_MAX_MESSAGES = 10_000
_UNROUTED_TTL_SECONDS = 7 * 24 * 3600


def queue_name(consumer: str, event_type: str) -> str:
    """Return the name of the queue of one consumer service for one event type."""
    return f"{consumer}.{event_type}"


def dead_letter_queue_name(consumer: str) -> str:
    """Return the name of the queue that keeps what a consumer service could not handle."""
    return f"{consumer}.dead"


def is_for_others(event_type: str) -> bool:
    """Return whether no service of ours listens to an event type."""
    event_class = EVENT_CLASSES.get(event_type)
    return event_class is not None and event_class.is_for_others


async def declare_events(channel: AbstractChannel) -> AbstractExchange:
    """Declare what publishers need, so that every event is stored even before its first consumer exists."""
    unrouted = await channel.declare_exchange(UNROUTED, ExchangeType.FANOUT, durable=True)
    queue = await channel.declare_queue(
        UNROUTED,
        durable=True,
        arguments={
            "x-queue-type": "quorum",
            "x-max-length": _UNROUTED_MAX_MESSAGES,
            "x-message-ttl": _UNROUTED_TTL_SECONDS * 1000,
            "x-overflow": "drop-head",
        },
    )
    await queue.bind(unrouted)
    events = await channel.declare_exchange(
        EVENTS, ExchangeType.TOPIC, durable=True, arguments={"alternate-exchange": UNROUTED}
    )
    others = await channel.declare_exchange(OTHERS, ExchangeType.FANOUT, durable=True)
    for event_type in filter(is_for_others, EVENT_CLASSES):
        await others.bind(events, routing_key=event_type)
    return events


async def declare_dead_letters(channel: AbstractChannel, consumer: str) -> None:
    """Declare where a consumer's dead letters go; before its queues, or letters could be lost meanwhile."""
    exchange = await channel.declare_exchange(DEAD, ExchangeType.DIRECT, durable=True)
    queue = await channel.declare_queue(
        dead_letter_queue_name(consumer),
        durable=True,
        # Looking at letters counts as a delivery; RabbitMQ 4 would drop them after twenty looks.
        arguments={"x-queue-type": "quorum", "x-delivery-limit": 1_000_000},
    )
    await queue.bind(exchange, routing_key=consumer)


async def declare_subscription(channel: AbstractChannel, consumer: str, event_type: str) -> AbstractQueue:
    """Declare and bind the queue of one consumer service for one event type."""
    queue = await channel.declare_queue(
        queue_name(consumer, event_type),
        durable=True,
        arguments={
            "x-queue-type": "quorum",
            # The consumer gives up first, by its own count; this limit ends messages that kill their consumer.
            "x-delivery-limit": MAX_ATTEMPTS,
            "x-dead-letter-exchange": DEAD,
            "x-dead-letter-routing-key": consumer,
            # Without reject-publish the broker falls back to at-most-once without a word.
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        },
    )
    await queue.bind(EVENTS, routing_key=event_type)
    return queue


async def declare_broadcast(channel: AbstractChannel, consumer: str, event_type: str) -> AbstractQueue:
    """Declare and bind a queue that one process has for itself and that ends with its connection."""
    queue = await channel.declare_queue(
        f"{queue_name(consumer, event_type)}.{secrets.token_hex(6)}", exclusive=True, auto_delete=True
    )
    await queue.bind(EVENTS, routing_key=event_type)
    return queue
