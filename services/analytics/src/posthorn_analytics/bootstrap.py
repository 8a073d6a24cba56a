"""Composition root: settings → the open resources and use cases of the analytics service."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import redis.asyncio as redis
from sqlalchemy.ext.asyncio import AsyncEngine

from posthorn_analytics.adapters.campaigns_client import CampaignsClient
from posthorn_analytics.adapters.db.disclosures import SqlDisclosures
from posthorn_analytics.adapters.db.recipients import SqlPurge
from posthorn_analytics.adapters.db.statistics import SqlStatistics
from posthorn_analytics.adapters.db.tables import outbox
from posthorn_analytics.adapters.db.unit_of_work import CONSUMER, SqlUnitOfWork
from posthorn_analytics.adapters.metrics import PrometheusHitMetrics, measure_streams
from posthorn_analytics.adapters.redis_signal import RedisChangeSignal
from posthorn_analytics.adapters.redis_spill import RedisHitSpill
from posthorn_analytics.app.counting import Counting
from posthorn_analytics.app.erasing import Erasing, Pseudonyms
from posthorn_analytics.app.following import FollowingCampaigns
from posthorn_analytics.app.links import LinkTables
from posthorn_analytics.app.ports_disclosures import Disclosures
from posthorn_analytics.app.queries import Statistics
from posthorn_analytics.app.recording import DrainingSpill, HitBuffer, RecordingHits
from posthorn_analytics.app.tracking import Tracking
from posthorn_analytics.app.watching import WatchingProgress
from posthorn_analytics.settings import Settings
from posthorn_common.clock import Clock, SystemClock
from posthorn_common.db import create_engine
from posthorn_common.http.client import InternalClient
from posthorn_common.http.identity import Identity
from posthorn_common.messaging import EventBus, connect
from posthorn_common.outbox import OutboxRelay
from posthorn_common.settings import secret_bytes
from posthorn_common.tokens import AccessTokenVerifier, HttpJwks, ServiceTokens

MIGRATIONS = Path(__file__).parent / "migrations"

# Somebody waits in front of a browser for what is fetched.
_FETCH_SECONDS = 2.0
_FETCH_ATTEMPTS = 2


@dataclass(frozen=True)
class Container:
    """Everything the entrypoints use."""

    settings: Settings
    clock: Clock
    engine: AsyncEngine
    redis: redis.Redis
    bus: EventBus
    relay: OutboxRelay
    identity: Identity
    signal: RedisChangeSignal
    following: FollowingCampaigns
    counting: Counting
    erasing: Erasing
    disclosures: Disclosures
    recording: RecordingHits
    hit_buffer: HitBuffer
    draining_spill: DrainingSpill
    tracking: Tracking
    watching: WatchingProgress
    statistics: Statistics


@dataclass(frozen=True)
class _Resources:
    engine: AsyncEngine
    redis: redis.Redis
    bus: EventBus
    campaigns: InternalClient
    jwks: httpx.AsyncClient
    service_tokens: ServiceTokens


@contextlib.asynccontextmanager
async def bootstrap(settings: Settings, clock: Clock | None = None) -> AsyncGenerator[Container]:
    """Open what the service needs, and close it afterwards."""
    clock = clock or SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        engine = create_engine(
            settings.database_url.get_secret_value(),
            application_name=f"posthorn-{CONSUMER}",
            pool_size=settings.database_pool_size,
        )
        stack.push_async_callback(engine.dispose)
        client: redis.Redis = redis.Redis.from_url(settings.redis_url.get_secret_value(), socket_timeout=2)
        stack.push_async_callback(client.aclose)
        bus = await stack.enter_async_context(connect(settings.amqp_url.get_secret_value(), service=CONSUMER))
        tokens = ServiceTokens(secret_bytes(settings.internal_secret), service=CONSUMER, clock=clock)
        campaigns = InternalClient(
            str(settings.campaigns_url),
            service="campaigns",
            tokens=tokens,
            timeout_seconds=_FETCH_SECONDS,
            attempts=_FETCH_ATTEMPTS,
        )
        stack.push_async_callback(campaigns.close)
        jwks = await stack.enter_async_context(httpx.AsyncClient(timeout=5))
        container = _container(settings, clock, _Resources(engine, client, bus, campaigns, jwks, tokens))
        stack.push_async_callback(container.signal.close)
        stack.push_async_callback(container.hit_buffer.close)
        yield container


def _container(settings: Settings, clock: Clock, resources: _Resources) -> Container:
    engine = resources.engine

    def new_unit_of_work() -> SqlUnitOfWork:
        return SqlUnitOfWork(engine)

    link_secret = secret_bytes(settings.link_secret)
    pseudonyms = Pseudonyms(link_secret)
    metrics = PrometheusHitMetrics()
    signal = RedisChangeSignal(resources.redis)
    spill = RedisHitSpill(resources.redis, limit=settings.spilled_hits_limit)
    campaigns = CampaignsClient(resources.campaigns)
    statistics = SqlStatistics(engine)
    recording = RecordingHits(
        new_unit_of_work=new_unit_of_work,
        pseudonyms=pseudonyms,
        signal=signal,
        metrics=metrics,
        machine_window=timedelta(seconds=settings.machine_window_seconds),
        clock=clock,
    )
    buffer = HitBuffer(recording, spill, metrics)
    watching = WatchingProgress(
        statistics=statistics,
        signal=signal,
        clock=clock,
        grace=timedelta(seconds=settings.progress_grace_seconds),
        max_streams=settings.max_progress_streams,
    )
    measure_streams(lambda: watching.open_streams)
    return Container(
        settings=settings,
        clock=clock,
        engine=engine,
        redis=resources.redis,
        bus=resources.bus,
        relay=OutboxRelay(engine, outbox, resources.bus),
        identity=Identity(
            AccessTokenVerifier(HttpJwks(str(settings.jwks_url), resources.jwks), issuer=settings.token_issuer),
            resources.service_tokens,
        ),
        signal=signal,
        following=FollowingCampaigns(new_unit_of_work=new_unit_of_work, directory=campaigns, signal=signal),
        counting=Counting(new_unit_of_work=new_unit_of_work, pseudonyms=pseudonyms, signal=signal),
        disclosures=SqlDisclosures(engine),
        erasing=Erasing(
            new_unit_of_work=new_unit_of_work,
            pseudonyms=pseudonyms,
            purge=SqlPurge(engine),
            retention=timedelta(days=settings.engagement_retention_days),
            clock=clock,
        ),
        recording=recording,
        hit_buffer=buffer,
        draining_spill=DrainingSpill(recording, spill, metrics),
        tracking=Tracking(
            link_secret=link_secret,
            links=LinkTables(new_unit_of_work=new_unit_of_work, source=campaigns),
            buffer=buffer,
            metrics=metrics,
            clock=clock,
        ),
        watching=watching,
        statistics=statistics,
    )
