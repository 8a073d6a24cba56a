"""Dead letters: what a consumer service could not handle, to be looked at and sent back when the cause is mended."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aio_pika.abc import AbstractExchange, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import ChannelNotFoundEntity, PublishError

from posthorn_common.messaging import topology
from posthorn_common.messaging.connection import CONNECTION_ERRORS, GET_SECONDS, connected
from posthorn_common.messaging.errors import BrokerUnavailable, EventNotRouted
from posthorn_common.messaging.queues import move


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was given up. Its body stays in the queue: bodies are not for terminals."""

    event_id: str | None
    event_type: str | None
    queue: str
    reason: str
    died_at: datetime | None


async def list_dead_letters(amqp_url: str, consumer: str, limit: int) -> list[DeadLetter]:
    """Return up to `limit` dead letters of a consumer, oldest first. They stay where they are.

    Raises BrokerUnavailable.
    """
    letters: list[DeadLetter] = []
    async with _dead_letters(amqp_url, consumer) as (queue, _exchange):
        # Closing the channel gives all of them back.
        while len(letters) < limit and (message := await queue.get(fail=False, timeout=GET_SECONDS)) is not None:
            letters.append(_describe(message))
    return letters


async def redrive_dead_letters(amqp_url: str, consumer: str, limit: int) -> int:
    """Move up to `limit` dead letters back to the queues they came from, oldest first; return how many were moved.

    Each is stored in its queue before it leaves the dead letters. Raises EventNotRouted at one whose queue no longer
    exists, which stays, and BrokerUnavailable.
    """
    moved = 0
    async with _dead_letters(amqp_url, consumer) as (queue, exchange):
        while moved < limit and (message := await queue.get(fail=False, timeout=GET_SECONDS)) is not None:
            letter = _describe(message)
            try:
                await move(message, exchange, letter.queue)
            except PublishError as error:
                raise EventNotRouted(f"queue {letter.queue} does not exist; moved {moved} before") from error
            moved += 1
    return moved


@contextlib.asynccontextmanager
async def _dead_letters(amqp_url: str, consumer: str) -> AsyncGenerator[tuple[AbstractQueue, AbstractExchange]]:
    name = topology.dead_letter_queue_name(consumer)
    try:
        async with connected(amqp_url, name=f"{consumer}.dead-letters") as connection:
            channel = await connection.channel(on_return_raises=True)
            yield await channel.declare_queue(name, passive=True), channel.default_exchange
    except ChannelNotFoundEntity as error:
        raise BrokerUnavailable(f"there is no queue {name}: the consumer has not run yet") from error
    except CONNECTION_ERRORS as error:
        raise BrokerUnavailable(type(error).__name__) from error


def _describe(message: AbstractIncomingMessage) -> DeadLetter:
    deaths: Any = message.headers.get("x-death") or [{}]
    latest = deaths[0]
    return DeadLetter(
        event_id=message.message_id,
        event_type=message.type,
        queue=str(latest.get("queue", "")),
        reason=str(latest.get("reason", "")),
        died_at=latest.get("time"),
    )
