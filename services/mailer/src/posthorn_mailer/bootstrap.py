"""Composition root: settings → the open resources and use cases of the mailer service."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import httpx
import redis.asyncio as redis
from sqlalchemy.ext.asyncio import AsyncEngine

from posthorn_common.clock import Clock, SystemClock
from posthorn_common.db import create_engine
from posthorn_common.http.identity import Identity
from posthorn_common.jobs import BullJobQueue
from posthorn_common.messaging import EventBus, connect
from posthorn_common.outbox import OutboxRelay
from posthorn_common.settings import secret_bytes
from posthorn_common.tokens import AccessTokenVerifier, HttpJwks, ServiceTokens
from posthorn_mailer.adapters.db.tables import outbox
from posthorn_mailer.settings import Settings

MIGRATIONS = Path(__file__).parent / "migrations"


@dataclass(frozen=True)
class Container:
    """Everything the entrypoints use."""

    settings: Settings
    engine: AsyncEngine
    redis: redis.Redis
    bus: EventBus
    relay: OutboxRelay
    jobs: BullJobQueue
    message_jobs: BullJobQueue
    identity: Identity


@contextlib.asynccontextmanager
async def bootstrap(settings: Settings, clock: Clock | None = None) -> AsyncGenerator[Container]:
    """Open what the service needs, and close it afterwards."""
    clock = clock or SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        engine = create_engine(
            settings.database_url.get_secret_value(),
            application_name="posthorn-mailer",
            pool_size=settings.database_pool_size,
        )
        stack.push_async_callback(engine.dispose)
        redis_url = settings.redis_url.get_secret_value()
        client: redis.Redis = redis.Redis.from_url(redis_url, socket_timeout=2)
        stack.push_async_callback(client.aclose)
        jobs = BullJobQueue(redis_url, "mailer")
        stack.push_async_callback(jobs.close)
        message_jobs = BullJobQueue(redis_url, "mailer-messages")
        stack.push_async_callback(message_jobs.close)
        bus = await stack.enter_async_context(connect(settings.amqp_url.get_secret_value(), service="mailer"))
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=5))
        keys = HttpJwks(str(settings.jwks_url), http)
        yield Container(
            settings=settings,
            engine=engine,
            redis=client,
            bus=bus,
            relay=OutboxRelay(engine, outbox, bus),
            jobs=jobs,
            message_jobs=message_jobs,
            identity=Identity(
                AccessTokenVerifier(keys, issuer=settings.token_issuer),
                ServiceTokens(secret_bytes(settings.internal_secret), service="mailer", clock=clock),
            ),
        )
