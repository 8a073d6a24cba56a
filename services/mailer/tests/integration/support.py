"""What the tests of sending share: a campaigns service, and an office that sends what it says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

import aio_pika
import sqlalchemy as sa
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Response

from posthorn_common.clock import SystemClock, new_id
from posthorn_common.http.identity import Identity, internal_caller
from posthorn_common.http.problems import install_problem_handlers
from posthorn_contracts.campaigns.internal_v1 import AudienceMember, AudiencePage, CampaignContent, ErasureSubject
from posthorn_contracts.envelope import EVENTS, Event
from posthorn_contracts.mailer.v1 import DeliveriesRecorded, DeliveryRecord
from posthorn_local.ports import free_ports
from posthorn_mailer.adapters.db.tables import batches, deliveries, metadata, relays, sends
from posthorn_mailer.adapters.db.unit_of_work import SqlUnitOfWork
from posthorn_mailer.app.controlling import Order
from posthorn_mailer.app.erasing import ErasureRequest
from posthorn_mailer.app.leases import Uptime, uptime
from posthorn_mailer.app.ports_transport import MailTransport, MayGo, OutgoingMessage, always
from posthorn_mailer.app.sending import SendingBatches
from posthorn_mailer.bootstrap import Container, sending_parts
from posthorn_mailer.domain.relays import Relay
from posthorn_mailer.domain.replies import Attempt
from posthorn_mailer.entrypoints.roles import roles

AnyEvent = TypeVar("AnyEvent", bound=Event)
_GUARD_SECONDS = 120


async def eventually(check: Callable[[], Any]) -> Any:
    """Call `check`, a function or coroutine function, until it returns something true; return that."""
    async with asyncio.timeout(_GUARD_SECONDS):
        while True:
            found = check()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.02)


class CampaignsService:
    """The campaigns service as the mailer sees it, on a real port."""

    def __init__(self, identity: Identity) -> None:
        self.port = free_ports(1)[0]
        self.contents: dict[UUID, CampaignContent] = {}
        self.audiences: dict[UUID, list[AudienceMember]] = {}
        self.answering = asyncio.Event()
        self.answering.set()
        self.audience_instead: bytes | None = None
        self.calls: list[str] = []
        self.broken_after_pages: int | None = None
        self._app = FastAPI()
        install_problem_handlers(self._app, {})
        self._app.state.identity = identity
        self.erased: dict[UUID, ErasureSubject] = {}
        self._app.get("/internal/erasures/{id_}")(self._erasure)
        self._app.get("/internal/campaigns/{id_}/content")(self._content)
        self._app.get("/internal/campaigns/{id_}/audience", response_model=AudiencePage)(self._audience)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        config = uvicorn.Config(self._app, host="127.0.0.1", port=self.port, log_config=None, lifespan="off")
        server = uvicorn.Server(config)
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
        serving = asyncio.create_task(server.serve())
        await eventually(lambda: server.started)
        try:
            yield
        finally:
            server.should_exit = True
            await serving

    async def _content(self, id_: UUID, caller: Annotated[str, Depends(internal_caller)]) -> CampaignContent:
        assert caller == "mailer"
        self.calls.append("content")
        if id_ not in self.contents:
            raise HTTPException(404)
        return self.contents[id_]

    async def _erasure(self, id_: UUID, caller: Annotated[str, Depends(internal_caller)]) -> ErasureSubject:
        assert caller == "mailer"
        self.calls.append("erasure")
        if id_ not in self.erased:
            raise HTTPException(404)
        return self.erased[id_]

    async def _audience(
        self, id_: UUID, caller: Annotated[str, Depends(internal_caller)], limit: int, cursor: str | None = None
    ) -> AudiencePage | Response:
        assert caller == "mailer"
        self.calls.append("audience")
        if self.broken_after_pages is not None and self.calls.count("audience") > self.broken_after_pages:
            raise HTTPException(503)
        await self.answering.wait()
        if self.audience_instead is not None:
            return Response(self.audience_instead, media_type="application/json")
        start = int(cursor or 0)
        members = self.audiences[id_]
        following = start + limit
        return AudiencePage(
            members=tuple(members[start:following]),
            next_cursor=str(following) if following < len(members) else None,
        )


def members(count: int, *, domain: str = "example.com") -> list[AudienceMember]:
    return [
        AudienceMember(
            contact_id=new_id(), email=f"reader.{number}@{domain}", fields={"first_name": f"Reader {number}"}
        )
        for number in range(count)
    ]


class Gate:
    """A transport that can hold messages up on their way to the relay, or on the way back."""

    def __init__(self, transport: MailTransport) -> None:
        self._transport = transport
        self.before = asyncio.Event()
        self.after = asyncio.Event()
        self.before.set()
        self.after.set()
        self.waiting = 0
        self.passed = 0
        self.most_at_once = 0
        self.answer_instead: Attempt | None = None

    async def send(self, relay: Relay, message: OutgoingMessage, may_go: MayGo = always) -> Attempt:
        self.waiting += 1
        self.most_at_once = max(self.most_at_once, self.waiting)
        try:
            await self.before.wait()
            if self.answer_instead is not None:
                return self.answer_instead
            attempt = await self._transport.send(relay, message, may_go)
            await self.after.wait()
            self.passed += 1
            return attempt
        finally:
            self.waiting -= 1

    def resize(self, relay: Relay, connections: int) -> int:
        """The workers of a test share their connections, so that one who is held up here must not hold up others."""
        return 0


@dataclass
class Office:
    """One organisation's campaigns, and a look behind the counter."""

    container: Container
    campaigns: CampaignsService
    organisation_id: UUID = field(default_factory=new_id)
    workers: list[SendingBatches] = field(default_factory=list)

    def worker(self, *, uptime: Uptime = uptime, **changes: Any) -> tuple[SendingBatches, Gate]:
        """Return another worker's use cases, with a gate in front of its relays."""
        container = self.container
        gate = Gate(container.transport)
        parts = sending_parts(
            container.settings.model_copy(update=changes),
            engine=container.engine,
            relays=container.relays,
            transport=gate,
            pace=replace(container.pace, worker=new_id().hex, transport=gate),
            shared_breakers=container.shared_breakers,
            campaigns=container.campaigns,
            printer=container.printer,
            jobs=container.jobs,
            clock=SystemClock(),
            uptime=uptime,
        )
        self.workers.append(parts.sending)
        return parts.sending, gate

    async def close(self) -> None:
        """Stop what tests have left at work, while there is a database and a Redis to take leave of."""
        for worker in (*self.workers, self.container.sending):
            await worker.abort()

    async def expire_leases(self) -> None:
        """Let all leases run out, as if their holders had been silent for long."""
        await self.execute("UPDATE batches SET lease_until = now() - interval '1 second' WHERE state = 'leased'")

    async def clear(self) -> None:
        async with self.container.engine.begin() as connection:
            names = ", ".join(table.name for table in metadata.sorted_tables)
            await connection.execute(sa.text(f"TRUNCATE {names}"))
        await self.container.redis.flushdb()

    async def add_relay(self, port: int, **changes: Any) -> UUID:
        now = datetime.now(UTC)
        values: dict[str, Any] = {
            "id": new_id(),
            "organisation_id": self.organisation_id,
            "name": "main",
            "host": "127.0.0.1",
            "port": port,
            "tls": "none",
            "verify_certificate": True,
            "max_connections": 4,
            "is_default": True,
            "version": 1,
            "created_at": now,
            "updated_at": now,
        }
        values |= changes
        async with self.container.engine.begin() as connection:
            await connection.execute(sa.insert(relays).values(values))
        relay_id: UUID = values["id"]
        return relay_id

    def add_campaign(self, audience: Sequence[AudienceMember], **changes: Any) -> UUID:
        campaign_id = new_id()
        content: dict[str, Any] = {
            "campaign_id": campaign_id,
            "organisation_id": self.organisation_id,
            "template_version_id": new_id(),
            "name": "Letter",
            "subject": "Hello {{ contact.first_name }}",
            "html": '<p>Dear {{ contact.first_name }}, <a href="{{ posthorn_link(0) }}">read</a></p>',
            "text": "Dear {{ contact.first_name }}",
            "from_name": "Ada",
            "from_email": "post@posthorn.example",
            "list_id": "letters.posthorn.example",
            "track_opens": True,
            "track_clicks": True,
        }
        self.campaigns.contents[campaign_id] = CampaignContent.model_validate({**content, **changes})
        self.campaigns.audiences[campaign_id] = list(audience)
        return campaign_id

    async def erase(self, contact_id: UUID, *, email: str | None = None, event_id: UUID | None = None) -> None:
        """Have the mailer forget a contact; `email` is what campaigns knows of it."""
        wanted = ErasureRequest(
            event_id=event_id or new_id(),
            erasure_id=new_id(),
            organisation_id=self.organisation_id,
            contact_id=contact_id,
            email=email,
            at=datetime.now(UTC),
        )
        await self.container.erasing.erase(wanted)

    def order(self, campaign_id: UUID, *, at: datetime | None = None) -> Order:
        return Order(new_id(), self.organisation_id, campaign_id, at or datetime.now(UTC))

    async def start(self, campaign_id: UUID, relay_id: UUID | None = None, *, rate: float | None = None) -> None:
        order = self.order(campaign_id)
        await self.container.controlling.start(order, name="Letter", relay_id=relay_id, messages_per_second=rate)

    async def plan(self, audience: Sequence[AudienceMember], *, port: int, relay: dict[str, Any] | None = None) -> UUID:
        """Start and plan a campaign that nobody has begun to send."""
        await self.add_relay(port, **(relay or {}))
        campaign_id = self.add_campaign(audience)
        await self.start(campaign_id)
        await self.container.planning.plan_send(campaign_id)
        return campaign_id

    async def send_all(self) -> None:
        """Send what is due, in this task."""
        await self.container.sending.send_all_due()

    async def counts(self, campaign_id: UUID) -> dict[str, int]:
        view = await self.container.resolving.get_send(self.organisation_id, campaign_id)
        return {state.value: count for state, count in view.counts.items() if count}

    async def check_counts(self) -> None:
        """The counts that batches keep are those of their deliveries."""
        async with SqlUnitOfWork(self.container.engine) as uow:
            for campaign_id in self.campaigns.audiences:
                assert await uow.deliveries.counts(campaign_id) == await uow.deliveries.recount(campaign_id)

    def forget(self, campaign_id: UUID) -> None:
        """Have nobody count the deliveries of a campaign that has none any more."""
        del self.campaigns.audiences[campaign_id]

    async def phase(self, campaign_id: UUID) -> str:
        return (await self.container.resolving.get_send(self.organisation_id, campaign_id)).send.phase.value

    async def rows(self, table: sa.Table, campaign_id: UUID) -> list[Any]:
        key = table.c.id if table is sends else table.c.send_id
        order = {deliveries: deliveries.c.number, batches: batches.c.first_number}.get(table, key)
        async with self.container.engine.connect() as connection:
            return list(await connection.execute(sa.select(table).where(key == campaign_id).order_by(order)))

    async def execute(self, statement: str, **values: Any) -> None:
        async with self.container.engine.begin() as connection:
            await connection.execute(sa.text(statement), values)

    async def events(self, kind: type[AnyEvent]) -> list[AnyEvent]:
        """What the outbox holds, in order of its ids."""
        async with self.container.engine.connect() as connection:
            query = sa.text("SELECT body FROM outbox WHERE event_type = :kind ORDER BY id")
            bodies = (await connection.execute(query, {"kind": kind.event_type})).scalars()
            assert kind in EVENTS.values()
            return [kind.model_validate_json(body) for body in bodies]

    async def records(self, campaign_id: UUID) -> list[DeliveryRecord]:
        found = await self.events(DeliveriesRecorded)
        return [record for one in found if one.data.campaign_id == campaign_id for record in one.data.records]

    async def told(self, campaign_id: UUID) -> dict[str, int]:
        """The outcomes by count, as somebody keeps them who hears the events only."""
        totals: dict[str, int] = {}
        for record in await self.records(campaign_id):
            totals[record.outcome.value] = totals.get(record.outcome.value, 0) + 1
            if record.previous is not None:
                totals[record.previous.value] -= 1
        return {outcome: count for outcome, count in totals.items() if count}

    async def _queues_are_there(self) -> None:
        """Wait for them: an event that comes before goes to those only who have asked for it already."""
        url = self.container.settings.amqp_url.get_secret_value()
        for subscription in self.container.bus._subscriptions:

            async def declared(name: str = subscription.queue) -> bool:
                async with await aio_pika.connect(url) as connection, connection.channel() as channel:
                    try:
                        await channel.get_queue(name, ensure=True)
                    except aio_pika.exceptions.ChannelNotFoundEntity:
                        return False
                return True

            await eventually(declared)

    @contextlib.asynccontextmanager
    async def working(self, *wanted: str) -> AsyncGenerator[None]:
        """Run roles of the service, and stop them as SIGTERM does."""
        stop = asyncio.Event()
        running = [asyncio.create_task(role.run(stop)) for role in roles(self.container, frozenset(wanted))]
        try:
            if "consumer" in wanted:
                await self._queues_are_there()
            yield
        finally:
            stop.set()
            await asyncio.gather(*running)
