"""Events arrive more than once."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import aio_pika

_MARK = "x-chaos-repeated"


async def test_every_event_is_delivered_twice(launch: Any, fleet: Any) -> None:
    async with _repeating(fleet.stack.plan.servers.amqp) as repeated:
        flight = await launch("every event twice")
        await flight.ends()
    types = {type_.rpartition(".")[0] for type_ in repeated}
    assert {"campaigns.campaign.started", "mailer.deliveries.recorded", "mailer.send.drained"} <= types


@contextlib.asynccontextmanager
async def _repeating(amqp_url: str) -> AsyncGenerator[list[str]]:
    """Publish every event a second time; provides the types of the repeated events."""
    types: list[str] = []
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel()
        events = await channel.get_exchange("posthorn.events")
        tap = await channel.declare_queue(exclusive=True)
        await tap.bind(events, routing_key="#")

        async def repeat(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            async with message.process():
                if _MARK not in message.headers:
                    types.append(str(message.routing_key))
                    copy = aio_pika.Message(
                        message.body,
                        headers={**message.headers, _MARK: "1"},
                        message_id=message.message_id,
                        type=message.type,
                        app_id=message.app_id,
                        content_type=message.content_type,
                        delivery_mode=message.delivery_mode,
                    )
                    await events.publish(copy, routing_key=str(message.routing_key))

        await tap.consume(repeat)
        yield types
