"""Publishes to RabbitMQ so that a normal return means: stored, and safe from a restart of the broker."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from uuid import UUID

from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange
from aio_pika.exceptions import (
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    DeliveryError,
    PublishError,
)

from posthorn_common.messaging import metrics, topology
from posthorn_common.messaging.connection import (
    CONNECT_SECONDS,
    CONNECTION_ERRORS,
    close_connection,
    open_connection,
)
from posthorn_common.messaging.errors import BrokerUnavailable, EventNotRouted, PublishRefused

_CONFIRM_SECONDS = 20.0


@dataclass(frozen=True, eq=False)
class _Link:
    connection: AbstractConnection
    channel: AbstractChannel
    exchange: AbstractExchange

    @property
    def is_open(self) -> bool:
        return not (self.connection.is_closed or self.channel.is_closed)


class Publisher:
    """One publishing connection, made when first needed, made anew after any fault."""

    def __init__(self, amqp_url: str, *, service: str) -> None:
        self._amqp_url = amqp_url
        self._service = service
        self._link: _Link | None = None
        self._connecting = asyncio.Lock()

    async def publish(self, event_type: str, body: bytes, *, event_id: UUID) -> None:
        """Publish one event; see EventBus.publish."""
        outcome = "failed"
        try:
            link = await self._linked()
            await self._publish(link, event_type, body, event_id)
            outcome = "confirmed"
        finally:
            metrics.PUBLISHED.labels(event_type, outcome).inc()

    async def ping(self) -> None:
        """Raise BrokerUnavailable unless there is a connection."""
        await self._linked()

    async def close(self) -> None:
        """Close the connection."""
        if self._link is not None:
            await self._discard(self._link)

    async def _publish(self, link: _Link, event_type: str, body: bytes, event_id: UUID) -> None:
        message = Message(
            body,
            message_id=str(event_id),
            type=event_type,
            app_id=self._service,
            content_type="application/json",
            delivery_mode=DeliveryMode.PERSISTENT,
        )
        try:
            async with asyncio.timeout(_CONFIRM_SECONDS):
                mandatory = not topology.is_for_others(event_type)
                await link.exchange.publish(message, routing_key=event_type, mandatory=mandatory)
        except PublishError as error:
            # The queue for unrouted events has been deleted: a new connection declares it again.
            await self._discard(link)
            raise EventNotRouted(event_type) from error
        except DeliveryError as error:
            raise PublishRefused(event_type) from error
        except (ChannelNotFoundEntity, ChannelPreconditionFailed) as error:
            await self._discard(link)
            raise PublishRefused(f"{event_type}: {type(error).__name__}") from error
        except CONNECTION_ERRORS as error:
            await self._discard(link)
            raise BrokerUnavailable(type(error).__name__) from error

    async def _linked(self) -> _Link:
        async with self._connecting:
            if self._link is not None and self._link.is_open:
                return self._link
            try:
                connection = await open_connection(self._amqp_url, name=f"{self._service}.publisher")
                try:
                    async with asyncio.timeout(CONNECT_SECONDS):
                        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
                        self._link = _Link(connection, channel, await topology.declare_events(channel))
                except BaseException:
                    await close_connection(connection)
                    raise
            except CONNECTION_ERRORS as error:
                raise BrokerUnavailable(type(error).__name__) from error
            return self._link

    async def _discard(self, link: _Link) -> None:
        """Give the connection up. Publishers that still wait on it fail, and try again on the next one."""
        if self._link is link:
            self._link = None
        await close_connection(link.connection)
