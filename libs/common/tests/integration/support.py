"""What the tests of the plumbing do again and again."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from datetime import UTC, datetime

import aio_pika

from posthorn_common.clock import new_id
from posthorn_contracts.auth.v1 import SessionRevoked, SessionRevokedData

EVENT_TYPE = SessionRevoked.event_type


def an_event() -> SessionRevoked:
    return SessionRevoked.about(
        new_id(),
        id=new_id(),
        organisation_id=new_id(),
        occurred_at=datetime.now(UTC),
        data=SessionRevokedData(session_id=new_id(), user_id=new_id()),
        correlation_id="request-1",
    )


async def publish(bus, event) -> None:
    await bus.publish(event.type, event.model_dump_json().encode(), event_id=event.id)


async def eventually(condition, *, seconds: float = 90):
    """Wait until the condition, called or awaited, is true; return what it gave."""
    async with asyncio.timeout(seconds):
        while True:
            result = condition()
            if inspect.isawaitable(result):
                result = await result
            if result:
                return result
            await asyncio.sleep(0.05)


async def queue_state(amqp_url: str, queue: str):
    """Return (messages ready, consumers), or None if there is no such queue."""
    connection = await aio_pika.connect(amqp_url)
    async with connection, connection.channel() as channel:
        with contextlib.suppress(aio_pika.exceptions.ChannelNotFoundEntity):
            result = (await channel.declare_queue(queue, passive=True)).declaration_result
            return result.message_count, result.consumer_count
    return None


async def messages_in(amqp_url: str, queue: str) -> int:
    return (await queue_state(amqp_url, queue))[0]


@contextlib.asynccontextmanager
async def running(bus, amqp_url: str, queue: str):
    """Run the bus until the block ends; the queue has a consumer when the block begins."""
    stop = asyncio.Event()
    task = asyncio.create_task(bus.run(stop))

    async def consumed():
        state = await queue_state(amqp_url, queue)
        return state is not None and state[1] > 0

    try:
        await eventually(consumed)
        yield
    finally:
        stop.set()
        await task
