"""What the tests of templates and campaigns do again and again."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import sqlalchemy as sa
import uvicorn
from fastapi import FastAPI

from posthorn_campaigns.bootstrap import Container
from posthorn_common.clock import new_id
from posthorn_contracts.mailer.v1 import (
    DeliveriesRecorded,
    DeliveriesRecordedData,
    DeliveryOutcome,
    DeliveryRecord,
    SendDrained,
    SendDrainedData,
)

HTML = (
    "<p>Dear {{ contact.first_name }} of {{ contact.attributes.city }}, "
    '<a href="https://example.com/read">read on</a>.</p>'
)
Json = dict[str, Any]


class Office:
    """An organisation's owner at work."""

    def __init__(self, client: httpx.AsyncClient, headers: dict[str, str], organisation_id: UUID) -> None:
        self.client = client
        self.headers = headers
        self.organisation_id = organisation_id

    async def post(self, path: str, body: Any = None, *, status: int = 201) -> Json:
        answer = await self.client.post(path, json=body, headers=self.headers)
        assert answer.status_code == status, answer.text
        document: Json = answer.json()
        return document

    async def get(self, path: str) -> Json:
        answer = await self.client.get(path, headers=self.headers)
        assert answer.status_code == 200, answer.text
        document: Json = answer.json()
        return document

    async def a_list(self) -> str:
        return str((await self.post("/v1/lists", {"name": "Readers"}))["id"])

    async def a_contact(self, *list_ids: str, **fields: Any) -> Json:
        body = {"email": f"{uuid4()}@example.com", "first_name": "Ada", "list_ids": list(list_ids), **fields}
        return await self.post("/v1/contacts", body)

    async def a_template(self, **changes: Any) -> Json:
        body = {"name": "Letter", "subject": "Hello {{ contact.first_name }}", "html": HTML, **changes}
        return await self.post("/v1/templates", body)

    async def a_campaign(self, **changes: Any) -> Json:
        body = {
            "name": "Autumn",
            "template_id": changes.pop("template_id", None) or (await self.a_template())["id"],
            "list_ids": changes.pop("list_ids", None) or [await self.a_list()],
            "from_name": "Books",
            "from_email": "post@example.com",
            **changes,
        }
        return await self.post("/v1/campaigns", body)

    async def act(self, campaign: Json, verb: str, body: Any = None, *, status: int = 200) -> Json:
        return await self.post(f"/v1/campaigns/{campaign['id']}/actions/{verb}", body, status=status)

    async def campaign(self, campaign: Json) -> Json:
        return await self.get(f"/v1/campaigns/{campaign['id']}")

    async def a_started_campaign(self, container: Container, **changes: Any) -> Json:
        campaign = await self.a_campaign(**changes)
        await self.act(campaign, "send")
        await container.starting_campaigns.start_due_campaigns()
        started = await self.campaign(campaign)
        assert started["status"] == "sending", started
        return started


@contextlib.asynccontextmanager
async def listening(app: FastAPI) -> AsyncGenerator[str]:
    """Serve an application on a real port; provide its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


async def events_about(container: Container, campaign: Json) -> list[tuple[str, Json]]:
    """Return type and data of the events about a campaign that wait in the outbox, in order."""
    query = sa.text(
        "SELECT event_type, body::jsonb -> 'data' FROM outbox WHERE body::jsonb ->> 'subject' = :subject ORDER BY id"
    )
    async with container.engine.connect() as connection:
        rows = await connection.execute(query, {"subject": campaign["id"]})
        return [(kind.removeprefix("campaigns.").removesuffix(".v1"), data) for kind, data in rows]


async def event_types_about(container: Container, campaign: Json) -> list[str]:
    return [kind for kind, _ in await events_about(container, campaign)]


def told(kind: Any, office: Office, subject: str, data: Any, *, at: datetime | None = None) -> Any:
    """Return an event of the mailer."""
    return kind.about(
        UUID(subject),
        id=new_id(),
        organisation_id=office.organisation_id,
        occurred_at=at or datetime.now(UTC),
        data=data,
    )


def recorded(office: Office, campaign: Json, *outcomes: tuple[str, str | None], at: datetime | None = None) -> Any:
    now = at or datetime.now(UTC)
    records = tuple(
        DeliveryRecord(
            contact_id=new_id(),
            outcome=DeliveryOutcome(outcome),
            previous=None if previous is None else DeliveryOutcome(previous),
            domain="example.com",
            at=now,
        )
        for outcome, previous in outcomes
    )
    data = DeliveriesRecordedData(campaign_id=UUID(campaign["id"]), records=records)
    return told(DeliveriesRecorded, office, campaign["id"], data, at=now)


def drained(office: Office, campaign: Json, *, later: float = 0, **counts: int) -> SendDrained:
    names = ("sent", "bounced", "failed", "suppressed", "cancelled", "ambiguous")
    every = {name: counts.get(name, 0) for name in names}
    data = SendDrainedData(campaign_id=UUID(campaign["id"]), audience=sum(every.values()), **every)
    event: SendDrained = told(
        SendDrained, office, campaign["id"], data, at=datetime.now(UTC) + timedelta(seconds=later)
    )
    return event
