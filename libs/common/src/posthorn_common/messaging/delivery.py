"""What happens to one delivered message: parse, handle, then acknowledge, try again or give up."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import structlog
from aio_pika.abc import AbstractIncomingMessage
from pydantic import ValidationError
from structlog.contextvars import bind_contextvars, bound_contextvars

from posthorn_common.context import child_traceparent
from posthorn_common.loops import stops_within
from posthorn_common.messaging import metrics
from posthorn_common.messaging.connection import CONNECTION_ERRORS
from posthorn_common.messaging.topology import MAX_ATTEMPTS, queue_name
from posthorn_common.transient import is_transient
from posthorn_contracts.envelope import Event

log = structlog.get_logger(__name__)

AnyEvent = TypeVar("AnyEvent", bound=Event)
Handler = Callable[[AnyEvent], Awaitable[None]]
"""Handles one event. It may be called again with the same event, also at the same time in another process."""

# RabbitMQ closes the channel of a consumer that holds a message for 30 minutes.
_PATIENCE_SECONDS = 300.0
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 15.0


@dataclass(frozen=True)
class Subscription(Generic[AnyEvent]):
    """One consumer's interest in one event type."""

    consumer: str
    event_class: type[AnyEvent]
    handler: Handler[AnyEvent]
    prefetch: int
    broadcast: bool = False

    @property
    def event_type(self) -> str:
        """The event type, which is the routing key."""
        return self.event_class.event_type

    @property
    def queue(self) -> str:
        """The queue's name; of a broadcast, what the names of all its queues begin with."""
        return queue_name(self.consumer, self.event_type)


class _Interrupted(Exception):
    """The process stops while the handler waits for something that is away."""


class MessageProcessor(Generic[AnyEvent]):
    """Runs a subscription's handler for each message of its queue.

    - A body that is not this event is dead-lettered at once.
    - A handler that fails because something is away (`is_transient`) is called again, with growing pauses, for up to
      five minutes: an outage costs no attempt.
    - A handler that fails otherwise costs an attempt; the message comes back after a pause, or is dead-lettered after
      the fifth.
    - A cancelled handler leaves its message unacknowledged: it comes back when the connection closes.
    """

    def __init__(self, subscription: Subscription[AnyEvent], *, slots: asyncio.Semaphore, stop: asyncio.Event) -> None:
        """`slots` bounds the handlers at work in this process; `stop` ends all waiting."""
        self._subscription = subscription
        self._slots = slots
        self._stop = stop

    async def process(self, message: AbstractIncomingMessage) -> None:
        """Process one delivery to its end."""
        started = time.perf_counter()
        outcome = "interrupted"
        subscription = self._subscription
        with bound_contextvars(
            event_id=message.message_id,
            event_type=subscription.event_type,
            # Known when the message is parsed.
            organisation_id=None,
            correlation_id=None,
            traceparent=None,
        ):
            try:
                outcome = await self._process(message)
            except CONNECTION_ERRORS as error:
                # The broker delivers it again; consumers are ready for that.
                outcome = "unsettled"
                log.warning("event_not_acknowledged", error=type(error).__name__)
            finally:
                seconds = time.perf_counter() - started
                metrics.CONSUMED.labels(subscription.consumer, subscription.event_type, outcome).inc()
                metrics.HANDLE_SECONDS.labels(subscription.consumer, subscription.event_type).observe(seconds)
                log.info(
                    "event_consumed",
                    consumer=subscription.consumer,
                    outcome=outcome,
                    attempt=_attempt(message),
                    duration_seconds=round(seconds, 6),
                )

    async def _process(self, message: AbstractIncomingMessage) -> str:
        try:
            event = self._subscription.event_class.model_validate_json(message.body)
        except ValidationError as error:
            await self._bury(message, reason="unreadable", problems=_problems(error))
            return "unreadable"
        bind_contextvars(
            event_id=str(event.id),
            organisation_id=str(event.organisation_id),
            correlation_id=event.correlation_id or str(event.id),
            traceparent=child_traceparent(event.traceparent),
        )
        return await self._handle(event, message)

    async def _handle(self, event: AnyEvent, message: AbstractIncomingMessage) -> str:
        try:
            await self._call(event)
        except _Interrupted:
            # Nothing failed, so this must not count as an attempt: on newer brokers a nack does not.
            await message.nack(requeue=True)
            return "returned"
        except Exception as error:  # noqa: BLE001  whatever the handler raises decides the message's fate, here
            return await self._retry_or_bury(message, error)
        await message.ack()
        return "ok"

    async def _call(self, event: AnyEvent) -> None:
        patience_ends = time.monotonic() + _PATIENCE_SECONDS
        failures = 0
        while True:
            try:
                async with self._slots:
                    return await self._subscription.handler(event)
            except Exception as error:
                if not is_transient(error) or time.monotonic() > patience_ends:
                    raise
                failures += 1
                pause = _pause_seconds(failures)
                log.warning("event_waits", error=type(error).__name__, pause_seconds=round(pause, 3))
            if await stops_within(self._stop, pause):
                raise _Interrupted

    async def _retry_or_bury(self, message: AbstractIncomingMessage, error: Exception) -> str:
        attempt = _attempt(message)
        if attempt >= MAX_ATTEMPTS:
            await self._bury(message, reason="attempts_used_up", exc_info=error)
            return "dead_lettered"
        pause = _pause_seconds(attempt)
        log.warning("event_handler_failed", attempt=attempt, pause_seconds=round(pause, 3), exc_info=error)
        await stops_within(self._stop, pause)
        # A reject counts towards the delivery limit on every RabbitMQ; a nack no longer does since 4.3.
        await message.reject(requeue=True)
        return "retried"

    async def _bury(self, message: AbstractIncomingMessage, *, reason: str, **facts: Any) -> None:
        log.error("event_dead_lettered", queue=self._subscription.queue, reason=reason, **facts)
        metrics.DEAD_LETTERS.labels(self._subscription.queue).inc()
        await message.reject(requeue=False)


def _attempt(message: AbstractIncomingMessage) -> int:
    """Return which attempt at the message this is.

    Quorum queues count in a header. A broadcast queue does not, so that there a second delivery is the last.
    """
    returned = message.headers.get("x-delivery-count")
    if isinstance(returned, int):
        return returned + 1
    return MAX_ATTEMPTS if message.redelivered else 1


def _problems(error: ValidationError) -> list[str]:
    """Return what is wrong and where, without the values."""
    details = error.errors(include_input=False, include_context=False, include_url=False)
    return [f"{'.'.join(str(part) for part in item['loc'])}: {item['type']}" for item in details[:10]]


def _pause_seconds(failures: int) -> float:
    longest = min(_FIRST_PAUSE_SECONDS * 2.0 ** (failures - 1), _LONGEST_PAUSE_SECONDS)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  jitter is no secret
