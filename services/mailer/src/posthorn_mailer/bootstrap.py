"""Composition root: settings → the open resources and use cases of the mailer service."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import ipaddress
import os
import secrets
import socket
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import UUID

import httpx
import redis.asyncio as redis
from sqlalchemy.ext.asyncio import AsyncEngine

from posthorn_common.addresses import domain_of
from posthorn_common.clock import Clock, SystemClock
from posthorn_common.db import create_engine
from posthorn_common.http.client import InternalClient
from posthorn_common.http.identity import Identity
from posthorn_common.jobs import BullJobQueue
from posthorn_common.messaging import EventBus, connect
from posthorn_common.outbox import OutboxRelay
from posthorn_common.secretbox import SecretBox
from posthorn_common.settings import secret_bytes
from posthorn_common.tokens import AccessTokenVerifier, HttpJwks, ServiceTokens
from posthorn_mailer.adapters.campaigns_client import HttpCampaignsClient
from posthorn_mailer.adapters.composing.manuscripts import Editor
from posthorn_mailer.adapters.composing.printer import ConfinedPrinter
from posthorn_mailer.adapters.db import tables
from posthorn_mailer.adapters.db.disclosures import SqlDisclosures
from posthorn_mailer.adapters.db.domains import SqlDomainsUnitOfWork
from posthorn_mailer.adapters.db.ledger import SqlLedger
from posthorn_mailer.adapters.db.records import SqlRecordsUnitOfWork
from posthorn_mailer.adapters.db.relays import SqlRelayDirectory
from posthorn_mailer.adapters.db.retention import SqlRetention
from posthorn_mailer.adapters.db.sending_limits import SqlSendingLimits
from posthorn_mailer.adapters.db.signing_keys import SqlSigningKeys
from posthorn_mailer.adapters.db.unit_of_work import SqlUnitOfWork
from posthorn_mailer.adapters.db.warm_up_days import SqlWarmUpDays
from posthorn_mailer.adapters.dkim import make_key
from posthorn_mailer.adapters.dns import ResolverDns
from posthorn_mailer.adapters.letters import compose
from posthorn_mailer.adapters.mx import MxOperators
from posthorn_mailer.adapters.redis_breakers import RedisBreakers
from posthorn_mailer.adapters.redis_pace import RedisPace
from posthorn_mailer.adapters.relay_hosts import ResolvingRelayHosts
from posthorn_mailer.adapters.smtp import Dialling, SmtpMailTransport, TlsContexts
from posthorn_mailer.adapters.smtp.addresses import ascii_form
from posthorn_mailer.app.breakers import Breakers
from posthorn_mailer.app.controlling import ControllingSends
from posthorn_mailer.app.doorbell import Doorbell
from posthorn_mailer.app.erasing import ErasingContacts
from posthorn_mailer.app.guarding import GuardingSends
from posthorn_mailer.app.lanes import Lane, LaneParts
from posthorn_mailer.app.leases import Uptime, uptime
from posthorn_mailer.app.managing_domains import ManagingDomains
from posthorn_mailer.app.managing_limits import ManagingLimits
from posthorn_mailer.app.managing_relays import ManagingRelays
from posthorn_mailer.app.outages import OutagePauses
from posthorn_mailer.app.pacing import PaceParts
from posthorn_mailer.app.planning import PlanningSends, PlanSizes
from posthorn_mailer.app.ports_breakers import SharedBreakers
from posthorn_mailer.app.ports_content import Printer
from posthorn_mailer.app.ports_disclosures import Disclosures
from posthorn_mailer.app.ports_transport import MailTransport, Relays
from posthorn_mailer.app.reconciling import ReconcilingSends
from posthorn_mailer.app.resolving import ResolvingDeliveries
from posthorn_mailer.app.retaining import RetainingDeliveries, RetentionPolicy
from posthorn_mailer.app.routes import Routes
from posthorn_mailer.app.sending import SendingBatches, WorkerPolicy
from posthorn_mailer.app.sending_messages import AcceptingMessages, MessageBell, SendingMessages
from posthorn_mailer.app.suppressing import Suppressing
from posthorn_mailer.app.taking_feedback import TakingFeedback
from posthorn_mailer.app.taking_unsubscribes import TakingUnsubscribes
from posthorn_mailer.app.warm_ups import WarmUps
from posthorn_mailer.app.withdrawing import WithdrawingRecipients
from posthorn_mailer.domain.deliveries import Backoff
from posthorn_mailer.domain.guards import Limits
from posthorn_mailer.domain.relays import Relay
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
    relays: Relays
    transport: SmtpMailTransport
    pace: PaceParts
    shared_breakers: SharedBreakers
    breakers: Breakers
    campaigns: HttpCampaignsClient
    printer: ConfinedPrinter
    planning: PlanningSends
    sending: SendingBatches
    controlling: ControllingSends
    resolving: ResolvingDeliveries
    reconciling: ReconcilingSends
    retaining: RetainingDeliveries
    managing_relays: ManagingRelays
    managing_domains: ManagingDomains
    managing_limits: ManagingLimits
    suppressing: Suppressing
    withdrawing: WithdrawingRecipients
    taking_unsubscribes: TakingUnsubscribes
    erasing: ErasingContacts
    disclosures: Disclosures
    taking_feedback: TakingFeedback
    accepting_messages: AcceptingMessages
    sending_messages: SendingMessages


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
        internal = InternalClient(str(settings.campaigns_url), service="campaigns", tokens=tokens, timeout_seconds=30)
        stack.push_async_callback(internal.close)
        campaigns = HttpCampaignsClient(internal)
        keys = HttpJwks(str(settings.jwks_url), http)
        box = SecretBox(secret_bytes(settings.encryption_key))
        relays = SqlRelayDirectory(engine, box)
        transport = SmtpMailTransport(
            Dialling(
                password=relays.password,
                contexts=TlsContexts(settings.relay_ca_file),
                ehlo_name=settings.ehlo_name or _ehlo_name(str(settings.public_url.host)),
                allow_internal=settings.private_relays_allowed,
            )
        )
        stack.push_async_callback(transport.close)
        dns = ResolverDns(settings.dns_server)
        operators = MxOperators(dns)
        stack.push_async_callback(operators.close)
        limits = SqlSendingLimits(engine)
        pace = PaceParts(RedisPace(client), limits, operators, transport, worker=_worker())
        shared_breakers = RedisBreakers(client)
        printer = ConfinedPrinter(
            Editor(public_base=settings.public_base, link_secret=secret_bytes(settings.link_secret))
        )
        stack.push_async_callback(printer.close)
        engine_parts = sending_parts(
            settings,
            engine=engine,
            relays=relays,
            transport=transport,
            pace=pace,
            shared_breakers=shared_breakers,
            campaigns=campaigns,
            printer=printer,
            jobs=jobs,
            clock=clock,
        )
        new_records = _records(settings, engine)
        bell = MessageBell(message_jobs)
        yield Container(
            settings=settings,
            engine=engine,
            redis=client,
            bus=bus,
            relay=OutboxRelay(engine, tables.outbox, bus),
            jobs=jobs,
            message_jobs=message_jobs,
            identity=Identity(AccessTokenVerifier(keys, issuer=settings.token_issuer), tokens),
            relays=relays,
            transport=transport,
            pace=pace,
            shared_breakers=shared_breakers,
            breakers=engine_parts.breakers,
            campaigns=campaigns,
            printer=printer,
            planning=engine_parts.planning,
            sending=engine_parts.sending,
            controlling=engine_parts.controlling,
            resolving=engine_parts.resolving,
            reconciling=engine_parts.reconciling,
            retaining=RetainingDeliveries(
                SqlRetention(engine), RetentionPolicy(settings.close_after_days, settings.keep_deliveries_days)
            ),
            managing_relays=ManagingRelays(
                new_unit_of_work=new_records,
                vault=box,
                hosts=ResolvingRelayHosts(allow_internal=settings.private_relays_allowed),
                probe=transport,
                days=SqlWarmUpDays(engine),
                clock=clock,
            ),
            managing_domains=ManagingDomains(
                new_unit_of_work=lambda: SqlDomainsUnitOfWork(engine),
                vault=box,
                make_key=make_key,
                dns=dns,
                clock=clock,
            ),
            managing_limits=ManagingLimits(limits),
            suppressing=Suppressing(new_unit_of_work=new_records, clock=clock),
            withdrawing=WithdrawingRecipients(new_unit_of_work=new_records),
            disclosures=SqlDisclosures(engine),
            taking_unsubscribes=TakingUnsubscribes(
                new_unit_of_work=new_records, clock=clock, link_secret=secret_bytes(settings.link_secret)
            ),
            erasing=ErasingContacts(new_unit_of_work=new_records, directory=campaigns, clock=clock),
            taking_feedback=TakingFeedback(new_unit_of_work=new_records, guarding=engine_parts.guarding, clock=clock),
            accepting_messages=AcceptingMessages(new_unit_of_work=new_records, bell=bell, clock=clock),
            sending_messages=SendingMessages(
                new_unit_of_work=new_records,
                routes=engine_parts.routes,
                breakers=engine_parts.breakers,
                transport=transport,
                pace=pace.shared,
                limits=limits,
                compose=compose,
                signing_keys=SqlSigningKeys(engine, box),
                bell=bell,
                backoff=Backoff(settings.retry_base_seconds, settings.retry_cap_seconds),
                clock=clock,
            ),
        )


@dataclass(frozen=True)
class SendingParts:
    """The use cases of planning and sending campaigns."""

    planning: PlanningSends
    sending: SendingBatches
    controlling: ControllingSends
    resolving: ResolvingDeliveries
    reconciling: ReconcilingSends
    guarding: GuardingSends
    breakers: Breakers
    routes: Routes


def sending_parts(
    settings: Settings,
    *,
    engine: AsyncEngine,
    relays: Relays,
    transport: MailTransport,
    pace: PaceParts,
    shared_breakers: SharedBreakers,
    campaigns: HttpCampaignsClient,
    printer: Printer,
    jobs: BullJobQueue,
    clock: Clock,
    uptime: Uptime = uptime,
) -> SendingParts:
    """Put together what sends campaigns."""

    def new_unit_of_work() -> SqlUnitOfWork:
        return SqlUnitOfWork(engine)

    pauses = OutagePauses(settings.outage_first_pause_seconds, settings.outage_longest_pause_seconds)
    breakers = Breakers(shared_breakers, pauses)
    warm_ups = WarmUps(SqlWarmUpDays(engine))
    routes = Routes(relays, breakers, warm_ups)

    def new_lane(relay: Relay, sending: SendingBatches) -> Lane:
        parts = LaneParts(
            transport=transport,
            pace=pace,
            warm_ups=warm_ups,
            ledger=SqlLedger(engine, horizon_seconds=settings.retry_horizon_seconds),
            backoff=Backoff(settings.retry_base_seconds, settings.retry_cap_seconds),
            clock=clock,
            on_late=sending.return_late,
        )
        return Lane(relay, breakers.of(relay.id), parts)

    doorbell = Doorbell(jobs)
    controlling = ControllingSends(
        new_unit_of_work=new_unit_of_work, doorbell=doorbell, on_ambiguous=settings.on_ambiguous, clock=clock
    )
    limits = Limits(
        hard_bounce_rate=settings.guard_hard_bounce_rate,
        hard_bounces_after=settings.guard_hard_bounces_after,
        complaint_rate=settings.guard_complaint_rate,
        complaints_after=settings.guard_complaints_after,
    )
    guarding = GuardingSends(new_unit_of_work=new_unit_of_work, limits=limits, clock=clock)
    return SendingParts(
        planning=PlanningSends(
            new_unit_of_work=new_unit_of_work,
            campaigns=campaigns,
            relays=relays,
            printer=printer,
            doorbell=doorbell,
            sizes=PlanSizes(page=settings.audience_page_size, batch=settings.batch_size),
            clock=clock,
            unsubscribe_email=partial(_unsubscribe_email, engine),
            reinstate=Suppressing(new_unit_of_work=_records(settings, engine), clock=clock).reinstate,
        ),
        sending=SendingBatches(
            new_unit_of_work=new_unit_of_work,
            routes=routes,
            printer=printer,
            signing_keys=SqlSigningKeys(engine, SecretBox(secret_bytes(settings.encryption_key))),
            doorbell=doorbell,
            policy=WorkerPolicy(
                owner=pace.worker,
                batches=settings.batches_per_worker,
                lease_seconds=settings.lease_seconds,
                report_seconds=settings.report_seconds,
            ),
            clock=clock,
            uptime=uptime,
            new_lane=new_lane,
        ),
        controlling=controlling,
        guarding=guarding,
        resolving=ResolvingDeliveries(new_unit_of_work=new_unit_of_work, doorbell=doorbell, clock=clock),
        reconciling=ReconcilingSends(
            new_unit_of_work=new_unit_of_work,
            doorbell=doorbell,
            controlling=controlling,
            guarding=guarding,
            resend_after_seconds=settings.resend_after_seconds,
            clock=clock,
        ),
        breakers=breakers,
        routes=routes,
    )


def _records(settings: Settings, engine: AsyncEngine) -> Callable[[], SqlRecordsUnitOfWork]:
    """Return what starts units of work that know the key for hashes of erased addresses."""
    secret = secret_bytes(settings.encryption_key)
    hash_key = hmac.new(secret, b"erased suppressions", hashlib.sha256).digest()
    return lambda: SqlRecordsUnitOfWork(engine, hash_key)


def _worker() -> str:
    """Return the name of this process among all workers."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


def _ehlo_name(public_host: str) -> str:
    """Return how we introduce ourselves to relays; an IP address as RFC 5321 §4.1.3 writes it."""
    try:
        address = ipaddress.ip_address(public_host.strip("[]"))
    except ValueError:
        return public_host
    return f"[IPv6:{address}]" if address.version == 6 else f"[{address}]"


async def _unsubscribe_email(engine: AsyncEngine, organisation_id: UUID, from_email: str) -> str | None:
    async with SqlDomainsUnitOfWork(engine) as uow:
        return await uow.domains.unsubscribe_email(organisation_id, domain_of(ascii_form(from_email)))
