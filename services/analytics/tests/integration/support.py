"""Events as other services publish them, and ways to look at what they leave."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from posthorn_analytics.adapters.db import tables
from posthorn_analytics.bootstrap import Container
from posthorn_common.clock import new_id
from posthorn_contracts.analytics.v1 import EngagementsRecorded
from posthorn_contracts.campaigns import v1 as campaigns
from posthorn_contracts.envelope import Event, Payload
from posthorn_contracts.mailer import v1 as mailer
from posthorn_contracts.mailer.v1 import DeliveryOutcome, DeliveryRecord

LINK_SECRET = b"a link secret that tests alone use"
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
LINKS = {0: "https://example.com/march", 1: "https://example.com/shop?from=letter&x=%C3%A9;y"}


@dataclass
class Letter:
    """A campaign of the tests: makes the events about it. `minute` is the time on its own clock."""

    organisation_id: UUID
    campaign_id: UUID = field(default_factory=new_id)

    def event(self, kind: type[Event], data: Payload, minute: float = 0) -> Any:
        return kind.about(
            self.campaign_id,
            id=new_id(),
            organisation_id=self.organisation_id,
            occurred_at=NOON + timedelta(minutes=minute),
            data=data,
        )

    def scheduled(self, minute: float = 0, name: str = "March letter") -> Any:
        data = campaigns.CampaignScheduledData(campaign_id=self.campaign_id, name=name, scheduled_at=NOON)
        return self.event(campaigns.CampaignScheduled, data, minute)

    def started(self, minute: float = 1, name: str = "March letter") -> Any:
        data = campaigns.CampaignStartedData(
            campaign_id=self.campaign_id,
            name=name,
            template_version_id=new_id(),
            links=tuple(campaigns.TrackedLink(number=number, url=url) for number, url in LINKS.items()),
        )
        return self.event(campaigns.CampaignStarted, data, minute)

    def changed(self, kind: type[Event], minute: float) -> Any:
        return self.event(kind, campaigns.CampaignRef(campaign_id=self.campaign_id), minute)

    def completed(self, minute: float = 9, status: Any = "completed") -> Any:
        data = campaigns.CampaignCompletedData(campaign_id=self.campaign_id, status=status)
        return self.event(campaigns.CampaignCompleted, data, minute)

    def planned(self, audience: int, minute: float = 2) -> Any:
        return self.event(
            mailer.SendPlanned, mailer.SendPlannedData(campaign_id=self.campaign_id, audience=audience), minute
        )

    def impeded(self, minute: float, reason: str = "Relay main refuses connections") -> Any:
        data = mailer.SendImpededData(campaign_id=self.campaign_id, reason=reason, since=NOON)
        return self.event(mailer.SendImpeded, data, minute)

    def recovered(self, minute: float) -> Any:
        return self.event(mailer.SendRecovered, mailer.SendRecoveredData(campaign_id=self.campaign_id), minute)

    def recorded(self, *records: DeliveryRecord, minute: float = 3) -> Any:
        data = mailer.DeliveriesRecordedData(campaign_id=self.campaign_id, records=records)
        return self.event(mailer.DeliveriesRecorded, data, minute)

    def unsubscribed(self, contact_id: UUID, minute: float = 5, *, through_campaign: bool = True) -> Any:
        data = campaigns.ContactUnsubscribedData(
            contact_id=contact_id, campaign_id=self.campaign_id if through_campaign else None, method="one_click"
        )
        return self.event(campaigns.ContactUnsubscribed, data, minute)

    def erased(self, contact_id: UUID, minute: float = 6) -> Any:
        return self.event(
            campaigns.ContactErased, campaigns.ContactErasedData(contact_id=contact_id, erasure_id=new_id()), minute
        )


def record(
    contact_id: UUID,
    outcome: str,
    *,
    previous: str | None = None,
    domain: str = "example.com",
    minute: float = 3,
) -> DeliveryRecord:
    return DeliveryRecord(
        contact_id=contact_id,
        outcome=DeliveryOutcome(outcome),
        previous=None if previous is None else DeliveryOutcome(previous),
        domain=domain,
        at=NOON + timedelta(minutes=minute),
    )


async def handle(container: Container, *events: Event) -> None:
    """Have the events handled in this order, as the consumer does."""
    following, counting = container.following, container.counting
    handlers: dict[type[Event], Any] = {
        campaigns.CampaignStarted: following.on_campaign_started,
        mailer.SendPlanned: following.on_send_planned,
        mailer.SendImpeded: following.on_notice,
        mailer.SendRecovered: following.on_notice,
        mailer.DeliveriesRecorded: counting.on_deliveries_recorded,
        campaigns.ContactUnsubscribed: counting.on_contact_unsubscribed,
        campaigns.ContactErased: container.erasing.on_contact_erased,
    }
    for event in events:
        await handlers.get(type(event), following.on_status)(event)


async def picture(engine: AsyncEngine, campaign_id: UUID) -> dict[str, Any]:
    """Return all that is stored of a campaign, but for the time of the last change."""
    found: dict[str, Any] = {}
    async with engine.connect() as connection:
        for table in (
            tables.campaigns,
            tables.campaign_hours,
            tables.campaign_links,
            tables.campaign_domains,
            tables.recipients,
            tables.engagements,
        ):
            rows = await connection.execute(sa.select(table).where(table.c.campaign_id == campaign_id))
            found[table.name] = sorted(
                (
                    {name: value for name, value in row.items() if name not in {"updated_at", "campaign_id"}}
                    for row in rows.mappings()
                ),
                key=repr,
            )
    return found


async def eventually(condition: Any, *, seconds: float = 90) -> Any:
    """Wait until the condition, called or awaited, is true; return what it gave."""
    async with asyncio.timeout(seconds):
        while True:
            result = condition()
            if inspect.isawaitable(result):
                result = await result
            if result:
                return result
            await asyncio.sleep(0.05)


async def published(container: Container, letter: Letter) -> list[EngagementsRecorded]:
    """Return what waits in the outbox about the campaign."""
    async with container.engine.connect() as connection:
        query = sa.text("SELECT body FROM outbox WHERE body LIKE :campaign ORDER BY id")
        bodies = await connection.scalars(query, {"campaign": f"%{letter.campaign_id}%"})
        return [EngagementsRecorded.model_validate_json(body) for body in bodies]
