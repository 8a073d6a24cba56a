"""Publishes to RabbitMQ so that a normal return means: stored, and safe from a restart of the broker."""

from __future__ import annotations

import asyncio
from uuid import UUID

from aio_pika.exceptions import (
    AMQPError,
    ChannelInvalidStateError,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    DeliveryError,
    PublishError,
)
from faststream.rabbit import Channel, RabbitBroker
from yarl import URL

from posthorn_common.messaging import metrics, topology
from posthorn_common.messaging.errors import BrokerUnavailable, EventNotRouted, PublishRefused

_CONNECT_SECONDS = 5.0
_CONFIRM_SECONDS = 20.0


class Publisher:
    """One publishing connection, made when first needed, made anew after anything odd."""

    def __init__(self, amqp_url: str, *, service: str) -> None:
        self._amqp_url = amqp_url
        self._service = service
        self._broker: RabbitBroker | None = None
        self._connecting = asyncio.Lock()

    async def publish(self, event_type: str, body: bytes, *, event_id: UUID) -> None:
        """Publish one event; see EventBus.publish."""
        outcome = "failed"
        try:
            broker = await self._connected()
            await self._publish(broker, event_type, body, event_id)
            outcome = "confirmed"
        finally:
            metrics.PUBLISHED.labels(event_type, outcome).inc()

    async def _publish(self, broker: RabbitBroker, event_type: str, body: bytes, event_id: UUID) -> None:
        try:
            async with asyncio.timeout(_CONFIRM_SECONDS):
                await broker.publish(
                    body,
                    exchange=topology.EVENTS,
                    routing_key=event_type,
                    mandatory=True,
                    persist=True,
                    message_id=str(event_id),
                    message_type=event_type,
                    content_type="application/json",
                )
        except PublishError as error:
            # The unrouted queue or the alternate exchange has been deleted: declare them again.
            await self._discard(broker)
            raise EventNotRouted(event_type) from error
        except DeliveryError as error:
            raise PublishRefused(event_type) from error
        except (ChannelNotFoundEntity, ChannelPreconditionFailed) as error:
            await self._discard(broker)
            raise PublishRefused(f"{event_type}: {type(error).__name__}") from error
        except (AMQPError, ChannelInvalidStateError, OSError) as error:
            await self._discard(broker)
            raise BrokerUnavailable(type(error).__name__) from error

    async def ping(self) -> None:
        """Raise BrokerUnavailable unless there is a connection."""
        await self._connected()

    async def close(self) -> None:
        """Close the connection."""
        if self._broker is not None:
            await self._discard(self._broker)

    async def _connected(self) -> RabbitBroker:
        async with self._connecting:
            if self._broker is not None:
                if await self._broker.ping(timeout=0.5):
                    return self._broker
                await self._discard(self._broker)
            broker = RabbitBroker(
                named_url(self._amqp_url, f"{self._service}.publisher"),
                app_id=self._service,
                default_channel=Channel(publisher_confirms=True, on_return_raises=True),
                apply_types=False,
                logger=None,
            )
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    await broker.connect()
                    await topology.declare_exchanges(broker)
            except (AMQPError, ChannelInvalidStateError, OSError) as error:
                await broker.stop()
                raise BrokerUnavailable(type(error).__name__) from error
            self._broker = broker
            return broker

    async def _discard(self, broker: RabbitBroker) -> None:
        """Give the connection up. Publishers that still wait on it fail, and try again on the next one."""
        if self._broker is broker:
            self._broker = None
        await broker.stop()


def named_url(amqp_url: str, name: str) -> URL:
    """Return the URL with the name that operators see at the connection."""
    return URL(amqp_url).update_query(name=name)
