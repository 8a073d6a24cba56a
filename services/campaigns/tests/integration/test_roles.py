"""The whole service in one process, as it runs on a laptop."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from posthorn_campaigns.bootstrap import Container
from posthorn_campaigns.entrypoints.roles import ROLES, start
from posthorn_campaigns.settings import Settings

from .campaign_support import Office, drained, event_types_about

pytestmark = pytest.mark.integration


async def test_a_campaign_goes_its_way_by_itself_and_all_roles_end_when_told(
    settings: Settings,
    container: Container,
    client: httpx.AsyncClient,
    headers: Any,
    organisation_id: Any,
    eventually: Any,
) -> None:
    office = Office(client, headers, organisation_id)
    stop = asyncio.Event()
    async with start(settings, frozenset(ROLES)) as roles:
        assert {role.name for role in roles} == {
            "http",
            "consumer",
            "worker",
            "export_worker",
            "access_worker",
            "redis_watch",
            "relay",
            "scheduler",
        }
        running = [asyncio.create_task(role.run(stop)) for role in roles]
        try:
            campaign = await office.a_campaign()
            await office.act(campaign, "send")
            await eventually(lambda: office.campaign(campaign), lambda now: now["status"] == "sending")
            # What has left the outbox is stored by RabbitMQ.
            await eventually(lambda: event_types_about(container, campaign), lambda waiting: waiting == [])
            told = drained(office, campaign, sent=1)
            await container.bus.publish(told.type, told.model_dump_json().encode(), event_id=told.id)
            await eventually(lambda: office.campaign(campaign), lambda now: now["status"] == "completed")
        finally:
            stop.set()
            await asyncio.gather(*running)
