"""Composition root: settings → the open resources and use cases of the mailer service."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncGenerator
from dataclasses import dataclass, fields
from pathlib import Path
from uuid import UUID

import httpx
import redis.asyncio as redis
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from posthorn_common.clock import Clock, SystemClock
from posthorn_common.db import create_engine
from posthorn_common.http.client import InternalClient
from posthorn_common.http.identity import Identity
from posthorn_common.jobs import BullJobQueue
from posthorn_common.messaging import EventBus, connect
from posthorn_common.outbox import OutboxRelay
from posthorn_common.settings import secret_bytes
from posthorn_common.tokens import AccessTokenVerifier, HttpJwks, ServiceTokens
from posthorn_mailer.adapters.campaigns_client import HttpCampaignsClient
from posthorn_mailer.adapters.db.ledger import SqlLedger
from posthorn_mailer.adapters.db.tables import outbox, relays
from posthorn_mailer.adapters.db.unit_of_work import SqlUnitOfWork
from posthorn_mailer.adapters.rendering import TemplatePrinter
from posthorn_mailer.adapters.smtp import Dialling, SmtpMailTransport, TlsContexts
from posthorn_mailer.app.controlling import ControllingSends
from posthorn_mailer.app.doorbell import Doorbell
from posthorn_mailer.app.lanes import Lane, LaneParts
from posthorn_mailer.app.outages import OutagePauses
from posthorn_mailer.app.planning import PlanningSends, PlanSizes
from posthorn_mailer.app.ports_transport import MailTransport, RelayLimiter, Relays
from posthorn_mailer.app.reconciling import ReconcilingSends
from posthorn_mailer.app.resolving import ResolvingDeliveries
from posthorn_mailer.app.sending import SendingBatches, WorkerPolicy
from posthorn_mailer.domain.deliveries import Backoff
from posthorn_mailer.domain.errors import RelayNotFound
from posthorn_mailer.domain.relays import Relay, TlsMode
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
    planning: PlanningSends
    sending: SendingBatches
    controlling: ControllingSends
    resolving: ResolvingDeliveries
    reconciling: ReconcilingSends


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
        tokens = ServiceTokens(secret_bytes(settings.internal_secret), service="mailer", clock=clock)
        campaigns = InternalClient(str(settings.campaigns_url), service="campaigns", tokens=tokens, timeout_seconds=30)
        stack.push_async_callback(campaigns.close)
        keys = HttpJwks(str(settings.jwks_url), http)
        transport = SmtpMailTransport(
            Dialling(
                password=_no_password,
                contexts=TlsContexts(),
                ehlo_name=socket.getfqdn(),
                allow_internal=settings.environment == "development",
            )
        )
        stack.push_async_callback(transport.close)
        engine_parts = sending_parts(
            settings,
            engine=engine,
            relays=_InterimRelays(engine),
            transport=transport,
            limiter=_InterimLimiter(),
            campaigns=HttpCampaignsClient(campaigns),
            jobs=jobs,
            clock=clock,
        )
        yield Container(
            settings=settings,
            engine=engine,
            redis=client,
            bus=bus,
            relay=OutboxRelay(engine, outbox, bus),
            jobs=jobs,
            message_jobs=message_jobs,
            identity=Identity(AccessTokenVerifier(keys, issuer=settings.token_issuer), tokens),
            planning=engine_parts.planning,
            sending=engine_parts.sending,
            controlling=engine_parts.controlling,
            resolving=engine_parts.resolving,
            reconciling=engine_parts.reconciling,
        )


@dataclass(frozen=True)
class SendingParts:
    """The use cases of planning and sending campaigns."""

    planning: PlanningSends
    sending: SendingBatches
    controlling: ControllingSends
    resolving: ResolvingDeliveries
    reconciling: ReconcilingSends


def sending_parts(
    settings: Settings,
    *,
    engine: AsyncEngine,
    relays: Relays,
    transport: MailTransport,
    limiter: RelayLimiter,
    campaigns: HttpCampaignsClient,
    jobs: BullJobQueue,
    clock: Clock,
) -> SendingParts:
    """Put together what sends campaigns."""

    def new_unit_of_work() -> SqlUnitOfWork:
        return SqlUnitOfWork(engine)

    def new_lane(relay: Relay, sending: SendingBatches) -> Lane:
        parts = LaneParts(
            transport=transport,
            limiter=limiter,
            ledger=SqlLedger(engine, horizon_seconds=settings.retry_horizon_seconds),
            backoff=Backoff(settings.retry_base_seconds, settings.retry_cap_seconds),
            pauses=OutagePauses(settings.outage_first_pause_seconds, settings.outage_longest_pause_seconds),
            clock=clock,
            on_late=sending.return_late,
        )
        return Lane(relay, parts)

    doorbell = Doorbell(jobs)
    printer = TemplatePrinter(public_base=settings.public_base, link_secret=secret_bytes(settings.link_secret))
    controlling = ControllingSends(
        new_unit_of_work=new_unit_of_work, doorbell=doorbell, on_ambiguous=settings.on_ambiguous, clock=clock
    )
    return SendingParts(
        planning=PlanningSends(
            new_unit_of_work=new_unit_of_work,
            campaigns=campaigns,
            relays=relays,
            printer=printer,
            doorbell=doorbell,
            sizes=PlanSizes(page=settings.audience_page_size, batch=settings.batch_size),
            clock=clock,
        ),
        sending=SendingBatches(
            new_unit_of_work=new_unit_of_work,
            relays=relays,
            printer=printer,
            doorbell=doorbell,
            policy=WorkerPolicy(
                owner=f"{socket.gethostname()}:{os.getpid()}",
                batches=settings.batches_per_worker,
                lease_seconds=settings.lease_seconds,
                report_seconds=settings.report_seconds,
            ),
            clock=clock,
            new_lane=new_lane,
        ),
        controlling=controlling,
        resolving=ResolvingDeliveries(new_unit_of_work=new_unit_of_work, doorbell=doorbell, clock=clock),
        reconciling=ReconcilingSends(
            new_unit_of_work=new_unit_of_work,
            doorbell=doorbell,
            controlling=controlling,
            resend_after_seconds=settings.resend_after_seconds,
            clock=clock,
        ),
    )


async def _no_password(_relay: Relay) -> str | None:
    return None


class _InterimLimiter:
    """Until the limiter in Redis is there."""

    async def reserve(self, relay: Relay, wanted: int) -> tuple[int, float]:  # noqa: ARG002
        """All are granted."""
        return wanted, 0.0


class _InterimRelays:
    """Until the relays' repository is there."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def get(self, organisation_id: UUID, relay_id: UUID) -> Relay:
        """Raises RelayNotFound."""
        found = await self._one(organisation_id, relays.c.id == relay_id)
        if found is None:
            raise RelayNotFound
        return found

    async def default(self, organisation_id: UUID) -> Relay | None:
        """Return the default relay."""
        return await self._one(organisation_id, relays.c.is_default)

    async def _one(self, organisation_id: UUID, condition: sa.ColumnElement[bool]) -> Relay | None:
        query = sa.select(relays).where(
            relays.c.organisation_id == organisation_id, relays.c.deleted_at.is_(None), condition
        )
        async with self._engine.connect() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            return None
        names = {field.name for field in fields(Relay)}
        values = {name: value for name, value in row._mapping.items() if name in names}  # noqa: SLF001
        return Relay(**{**values, "tls": TlsMode(values["tls"])})
