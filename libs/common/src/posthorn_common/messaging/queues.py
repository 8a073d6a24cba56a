"""Looking at queues, and moving messages between them without losing one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog
from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractConnection, AbstractExchange, AbstractIncomingMessage

from posthorn_common.messaging import topology
from posthorn_common.messaging.connection import GET_SECONDS

log = structlog.get_logger(__name__)

# What the broker adds on the way. Kept, it would make the broker see a cycle and drop the message.
_BROKER_HEADERS = ("x-death", "x-delivery-count", "x-acquired-count", "x-first-death-", "x-last-death-")


async def message_counts(connection: AbstractConnection, names: Iterable[str]) -> dict[str, int]:
    """Return how many messages are ready in the queues; raises ChannelNotFoundEntity if one does not exist."""
    counts = {}
    async with connection.channel(publisher_confirms=False) as channel:
        for name in names:
            queue = await channel.declare_queue(name, passive=True)
            counts[name] = queue.declaration_result.message_count or 0
    return counts


async def return_unrouted(connection: AbstractConnection, stop: asyncio.Event) -> None:
    """Publish anew what nobody had asked for when it was published.

    What still has no consumer goes back to the end of the queue.
    """
    async with connection.channel(on_return_raises=True) as channel:
        queue = await channel.declare_queue(topology.UNROUTED, passive=True)
        exchange = await channel.get_exchange(topology.EVENTS)
        expected = queue.declaration_result.message_count or 0
        returned = 0
        while returned < expected and not stop.is_set():
            message = await queue.get(fail=False, timeout=GET_SECONDS)
            if message is None:
                break
            await move(message, exchange, message.routing_key or "")
            returned += 1
    if returned:
        log.info("unrouted_events_returned", events=returned)


async def move(message: AbstractIncomingMessage, exchange: AbstractExchange, routing_key: str) -> None:
    """Publish a copy with confirm, then acknowledge; a crash between the two leaves two copies, never none."""
    headers = {name: value for name, value in message.headers.items() if not name.startswith(_BROKER_HEADERS)}
    copy = Message(
        message.body,
        headers=headers,
        message_id=message.message_id,
        type=message.type,
        app_id=message.app_id,
        content_type=message.content_type,
        delivery_mode=DeliveryMode.PERSISTENT,
    )
    await exchange.publish(copy, routing_key=routing_key, mandatory=not topology.is_for_others(routing_key))
    await message.ack()
