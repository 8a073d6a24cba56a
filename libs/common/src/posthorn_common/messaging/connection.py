"""Connections to RabbitMQ that end with the first fault: whoever uses one makes the next, and declares all anew.

The client library's self-healing connections are not used. They keep callers waiting while they heal, and a publisher
must know within seconds that nothing was stored.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import aio_pika
import structlog
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError

log = structlog.get_logger(__name__)

CONNECT_SECONDS = 5.0
GET_SECONDS = 30.0
"""How long to wait for one message of a queue, or for the answer that there is none."""

_CLOSE_SECONDS = 5.0

CONNECTION_ERRORS = (AMQPError, ChannelInvalidStateError, OSError)
"""What the client library raises when connection or channel are gone, or do not answer (TimeoutError is an OSError)."""


async def open_connection(amqp_url: str, *, name: str) -> AbstractConnection:
    """Return a connection that operators see as `name`. Raises one of CONNECTION_ERRORS, after 5 s at the latest."""
    async with asyncio.timeout(CONNECT_SECONDS):
        return await aio_pika.connect(amqp_url, client_properties={"connection_name": name})


async def close_connection(connection: AbstractConnection) -> None:
    """Close the connection, or leave it to the broker's heartbeat if it does not answer."""
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await connection.close()
    except CONNECTION_ERRORS as error:
        log.warning("broker_connection_not_closed", error=type(error).__name__)


@contextlib.asynccontextmanager
async def connected(amqp_url: str, *, name: str) -> AsyncGenerator[AbstractConnection]:
    """Provide a connection for the length of a block."""
    connection = await open_connection(amqp_url, name=name)
    try:
        yield connection
    finally:
        await close_connection(connection)
