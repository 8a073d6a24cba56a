"""Composition root: settings → the open resources and use cases of the campaigns service."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import redis.asyncio as redis
from sqlalchemy.ext.asyncio import AsyncEngine

from posthorn_campaigns.adapters.db.tables import outbox
from posthorn_campaigns.adapters.db.unit_of_work import SqlUnitOfWork
from posthorn_campaigns.adapters.jobs import QueueExportBell, QueueImportBell
from posthorn_campaigns.adapters.mailer_client import HttpMailer
from posthorn_campaigns.adapters.record_holders import HttpRecordHolder
from posthorn_campaigns.adapters.redis_subscribe_throttle import RedisSubscribeThrottle
from posthorn_campaigns.adapters.templates import ConfinedTemplateEngine
from posthorn_campaigns.app.choosing_preferences import ChoosingPreferences
from posthorn_campaigns.app.declaring_attributes import DeclaringAttributes
from posthorn_campaigns.app.disclosing import Disclosing
from posthorn_campaigns.app.erasing import Erasing
from posthorn_campaigns.app.exporting import Exporting
from posthorn_campaigns.app.following_sends import FollowingSends
from posthorn_campaigns.app.following_suppressions import FollowingSuppressions
from posthorn_campaigns.app.importing import Importing
from posthorn_campaigns.app.managing_campaigns import ManagingCampaigns
from posthorn_campaigns.app.managing_contacts import ManagingContacts
from posthorn_campaigns.app.managing_lists import ManagingLists
from posthorn_campaigns.app.managing_segments import ManagingSegments
from posthorn_campaigns.app.managing_templates import ManagingTemplates
from posthorn_campaigns.app.receiving_imports import ReceivingImports
from posthorn_campaigns.app.running_campaigns import RunningCampaigns
from posthorn_campaigns.app.sending_tests import SendingTests
from posthorn_campaigns.app.serving_content import ServingContent
from posthorn_campaigns.app.starting_campaigns import StartingCampaigns
from posthorn_campaigns.app.subscribing import Subscribing
from posthorn_campaigns.app.unsubscribing import Unsubscribing
from posthorn_campaigns.app.watching_imports import WatchingImports
from posthorn_campaigns.app.writing_many_contacts import WritingManyContacts
from posthorn_campaigns.domain.erasures import AddressHashes, HoldingService
from posthorn_campaigns.settings import Settings
from posthorn_common.clock import Clock, SystemClock
from posthorn_common.db import create_engine
from posthorn_common.http.client import InternalClient
from posthorn_common.http.identity import Identity
from posthorn_common.jobs import BullJobQueue, JobQueue
from posthorn_common.messaging import EventBus, connect
from posthorn_common.outbox import OutboxRelay
from posthorn_common.settings import secret_bytes
from posthorn_common.tokens import AccessTokenVerifier, HttpJwks, ServiceTokens

MIGRATIONS = Path(__file__).parent / "migrations"
IMPORTS_QUEUE = "imports"
EXPORTS_QUEUE = "exports"


@dataclass(frozen=True)
class Container:
    """Everything the entrypoints use."""

    settings: Settings
    clock: Clock
    engine: AsyncEngine
    redis: redis.Redis
    bus: EventBus
    relay: OutboxRelay
    import_jobs: JobQueue
    export_jobs: JobQueue
    identity: Identity
    managing_contacts: ManagingContacts
    writing_many_contacts: WritingManyContacts
    declaring_attributes: DeclaringAttributes
    managing_lists: ManagingLists
    managing_segments: ManagingSegments
    receiving_imports: ReceivingImports
    watching_imports: WatchingImports
    importing: Importing
    exporting: Exporting
    erasing: Erasing
    disclosing: Disclosing
    managing_templates: ManagingTemplates
    managing_campaigns: ManagingCampaigns
    running_campaigns: RunningCampaigns
    starting_campaigns: StartingCampaigns
    sending_tests: SendingTests
    following_sends: FollowingSends
    following_suppressions: FollowingSuppressions
    unsubscribing: Unsubscribing
    subscribing: Subscribing
    choosing_preferences: ChoosingPreferences
    serving_content: ServingContent


@dataclass(frozen=True)
class _Resources:
    """What has been opened."""

    engine: AsyncEngine
    redis: redis.Redis
    bus: EventBus
    import_jobs: JobQueue
    export_jobs: JobQueue
    http: httpx.AsyncClient
    mailer: InternalClient
    analytics: InternalClient
    templates: ConfinedTemplateEngine


@contextlib.asynccontextmanager
async def bootstrap(settings: Settings, clock: Clock | None = None) -> AsyncGenerator[Container]:
    """Open what the service needs, and close it afterwards."""
    async with contextlib.AsyncExitStack() as stack:
        engine = create_engine(
            settings.database_url.get_secret_value(),
            application_name="posthorn-campaigns",
            pool_size=settings.database_pool_size,
        )
        stack.push_async_callback(engine.dispose)
        redis_url = settings.redis_url.get_secret_value()
        client: redis.Redis = redis.Redis.from_url(redis_url, socket_timeout=2)
        stack.push_async_callback(client.aclose)
        bus = await stack.enter_async_context(connect(settings.amqp_url.get_secret_value(), service="campaigns"))
        import_jobs = BullJobQueue(redis_url, IMPORTS_QUEUE, prefix="posthorn-campaigns")
        stack.push_async_callback(import_jobs.close)
        export_jobs = BullJobQueue(redis_url, EXPORTS_QUEUE, prefix="posthorn-campaigns")
        stack.push_async_callback(export_jobs.close)
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=5))
        clock = clock or SystemClock()
        tokens = ServiceTokens(secret_bytes(settings.internal_secret), service="campaigns", clock=clock)
        mailer = InternalClient(str(settings.mailer_url), service="mailer", tokens=tokens)
        stack.push_async_callback(mailer.close)
        analytics = InternalClient(str(settings.analytics_url), service="analytics", tokens=tokens)
        stack.push_async_callback(analytics.close)
        templates = ConfinedTemplateEngine(processes=settings.template_processes)
        stack.callback(templates.close)
        opened = _Resources(engine, client, bus, import_jobs, export_jobs, http, mailer, analytics, templates)
        yield _container(settings, opened, tokens, clock)


def _container(settings: Settings, opened: _Resources, service_tokens: ServiceTokens, clock: Clock) -> Container:
    def new_unit_of_work() -> SqlUnitOfWork:
        return SqlUnitOfWork(opened.engine)

    keys = HttpJwks(str(settings.jwks_url), opened.http)
    bell = QueueImportBell(opened.import_jobs)
    templates = opened.templates
    public_base = settings.public_base
    return Container(
        settings=settings,
        clock=clock,
        engine=opened.engine,
        redis=opened.redis,
        bus=opened.bus,
        relay=OutboxRelay(opened.engine, outbox, opened.bus),
        import_jobs=opened.import_jobs,
        export_jobs=opened.export_jobs,
        identity=Identity(AccessTokenVerifier(keys, issuer=settings.token_issuer), service_tokens),
        managing_contacts=ManagingContacts(new_unit_of_work=new_unit_of_work, clock=clock),
        writing_many_contacts=WritingManyContacts(new_unit_of_work=new_unit_of_work, clock=clock),
        declaring_attributes=DeclaringAttributes(new_unit_of_work=new_unit_of_work, clock=clock),
        managing_segments=ManagingSegments(new_unit_of_work=new_unit_of_work, clock=clock),
        managing_lists=ManagingLists(new_unit_of_work=new_unit_of_work, clock=clock),
        receiving_imports=ReceivingImports(
            new_unit_of_work=new_unit_of_work,
            bell=bell,
            clock=clock,
            max_bytes=settings.import_max_bytes,
            max_unpacked_bytes=settings.import_max_unpacked_bytes,
            retention=timedelta(days=settings.import_retention_days),
        ),
        watching_imports=WatchingImports(new_unit_of_work=new_unit_of_work, max_streams=settings.import_max_streams),
        exporting=Exporting(
            new_unit_of_work=new_unit_of_work,
            bell=QueueExportBell(opened.export_jobs),
            clock=clock,
            link_secret=secret_bytes(settings.link_secret),
            retention=timedelta(hours=settings.export_retention_hours),
        ),
        erasing=Erasing(
            new_unit_of_work=new_unit_of_work,
            clock=clock,
            hashes=AddressHashes(secret_bytes(settings.link_secret)),
            ask_again_after=timedelta(minutes=settings.erasure_ask_again_minutes),
        ),
        disclosing=Disclosing(
            new_unit_of_work=new_unit_of_work,
            holders=(
                HttpRecordHolder(opened.mailer, HoldingService.MAILER),
                HttpRecordHolder(opened.analytics, HoldingService.ANALYTICS),
            ),
            clock=clock,
            link_secret=secret_bytes(settings.link_secret),
            retention=timedelta(days=settings.access_archive_days),
        ),
        importing=Importing(
            new_unit_of_work=new_unit_of_work,
            bell=bell,
            clock=clock,
            chunk_rows=settings.import_chunk_rows,
            lease_seconds=settings.import_lease_seconds,
        ),
        managing_templates=ManagingTemplates(
            new_unit_of_work=new_unit_of_work, engine=templates, clock=clock, public_base=public_base
        ),
        managing_campaigns=ManagingCampaigns(new_unit_of_work=new_unit_of_work, clock=clock),
        running_campaigns=RunningCampaigns(
            new_unit_of_work=new_unit_of_work,
            clock=clock,
            retry_failed_within=timedelta(days=settings.retry_failed_days),
        ),
        starting_campaigns=StartingCampaigns(
            new_unit_of_work=new_unit_of_work,
            engine=templates,
            clock=clock,
            overdue_after=timedelta(hours=settings.overdue_hours),
        ),
        sending_tests=SendingTests(
            new_unit_of_work=new_unit_of_work,
            engine=templates,
            mailer=HttpMailer(opened.mailer),
            public_base=public_base,
        ),
        following_sends=FollowingSends(new_unit_of_work=new_unit_of_work, clock=clock),
        following_suppressions=FollowingSuppressions(
            new_unit_of_work=new_unit_of_work, source=HttpMailer(opened.mailer), clock=clock
        ),
        choosing_preferences=ChoosingPreferences(
            new_unit_of_work=new_unit_of_work, clock=clock, link_secret=secret_bytes(settings.link_secret)
        ),
        subscribing=Subscribing(
            new_unit_of_work=new_unit_of_work,
            mailer=HttpMailer(opened.mailer),
            throttle=RedisSubscribeThrottle(
                opened.redis, per_address=settings.subscribe_per_address, per_list=settings.subscribe_per_list
            ),
            clock=clock,
            secret=secret_bytes(settings.link_secret),
            public_base=public_base,
        ),
        unsubscribing=Unsubscribing(
            new_unit_of_work=new_unit_of_work, clock=clock, link_secret=secret_bytes(settings.link_secret)
        ),
        serving_content=ServingContent(new_unit_of_work=new_unit_of_work, public_base=public_base),
    )
