"""The running service: events through RabbitMQ, poison, roles, command line."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from posthorn_analytics.adapters.db.unit_of_work import CONSUMER
from posthorn_analytics.bootstrap import Container
from posthorn_analytics.entrypoints.cli import main
from posthorn_analytics.entrypoints.consumers import subscribe
from posthorn_analytics.entrypoints.roles import ROLES, start
from posthorn_common.clock import new_id
from posthorn_common.messaging import connect, delivery, list_dead_letters
from posthorn_contracts.analytics.v1 import EngagementsRecorded
from posthorn_contracts.campaigns.v1 import CampaignPaused
from posthorn_contracts.envelope import Event
from posthorn_contracts.mailer.v1 import DeliveriesRecorded
from posthorn_local.ports import free_ports

from .support import LINKS, Letter, eventually, record

pytestmark = pytest.mark.integration


@contextlib.asynccontextmanager
async def _consuming(container: Container) -> AsyncGenerator[None]:
    subscribe(container)
    stop = asyncio.Event()
    task = asyncio.create_task(container.bus.run(stop))
    try:
        yield
    finally:
        stop.set()
        await task


async def _publish(container: Container, *events: Event) -> None:
    for event in events:
        await container.bus.publish(event.type, event.model_dump_json().encode(), event_id=event.id)


async def test_every_event_finds_its_handler(
    container: Container,
    client: httpx.AsyncClient,
    organisation_id: UUID,
    reader: dict[str, str],
    campaigns_service: Any,
) -> None:
    letter = Letter(organisation_id)
    ada, ben = new_id(), new_id()
    async with _consuming(container):
        await _publish(
            container,
            letter.scheduled(),
            letter.started(),
            letter.changed(CampaignPaused, 1.5),
            letter.impeded(2),
            letter.planned(2),
            letter.recorded(record(ada, "sent"), record(ben, "sent")),
            letter.unsubscribed(ada),
            letter.erased(ben),
            letter.completed(),
        )

        async def counted() -> bool:
            answer = await client.get(f"/v1/campaigns/{letter.campaign_id}/statistics", headers=reader)
            if answer.status_code == 404:
                return False
            now = answer.json()
            told = (now["name"], now["status"], now["audience"], now["sent"], now["unsubscribes"])
            return told == ("March letter", "completed", 2, 2, 1)

        await eventually(counted)
        links = await client.get(f"/v1/campaigns/{letter.campaign_id}/statistics/links", headers=reader)
        assert [link["url"] for link in links.json()["items"]] == list(LINKS.values())

        async def nobody_identified() -> bool:
            async with container.engine.connect() as connection:
                query = sa.text("SELECT contact_id FROM recipients WHERE campaign_id = :id")
                return ben not in set(await connection.scalars(query, {"id": letter.campaign_id}))

        await eventually(nobody_identified)


async def test_poison_goes_to_the_dead_letters_and_the_rest_goes_on(
    container: Container, client: httpx.AsyncClient, organisation_id: UUID, reader: dict[str, str], amqp_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(delivery, "_FIRST_PAUSE_SECONDS", 0.01)
    letter = Letter(organisation_id)
    async with _consuming(container):
        unreadable = new_id()
        await container.bus.publish(DeliveriesRecorded.event_type, b'{"id": "no event"}', event_id=unreadable)
        impossible = letter.planned(10**30)
        await _publish(container, impossible)
        for _ in range(10):
            await _publish(container, letter.recorded(record(new_id(), "sent")))

        async def the_rest() -> bool:
            answer = await client.get(f"/v1/campaigns/{letter.campaign_id}/statistics", headers=reader)
            return answer.status_code == 200 and answer.json()["sent"] == 10

        poison = {
            str(unreadable): f"{CONSUMER}.{DeliveriesRecorded.event_type}",
            str(impossible.id): f"{CONSUMER}.{impossible.type}",
        }

        async def buried() -> bool:
            letters = await list_dead_letters(amqp_url, CONSUMER, limit=100)
            return {dead.event_id: dead.queue for dead in letters if dead.event_id in poison} == poison

        await eventually(the_rest)
        await eventually(buried)


async def test_the_whole_service_takes_a_click_and_tells_of_it(
    settings: Any, organisation_id: UUID, token_of: Any, amqp_url: str
) -> None:
    port = free_ports(1)[0]
    letter, contact = Letter(organisation_id), new_id()
    told: list[EngagementsRecorded] = []

    async def hear(event: EngagementsRecorded) -> None:
        told.append(event)

    stop = asyncio.Event()
    async with (
        start(settings.model_copy(update={"port": port}), frozenset(ROLES)) as roles,
        connect(amqp_url, service="tests") as bus,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers={"User-Agent": "Firefox/140"}) as person,
    ):
        assert {role.name for role in roles} == {"http", "signals", "consumer", "relay", "scheduler"}
        bus.subscribe(EngagementsRecorded, hear, consumer="tests")
        running = [asyncio.create_task(role.run(stop)) for role in roles]
        running.append(asyncio.create_task(bus.run(stop)))
        started = letter.started()
        await bus.publish(started.type, started.model_dump_json().encode(), event_id=started.id)
        path = f"/t/c/{token_of(letter.campaign_id, contact)}/1"

        async def redirected() -> bool:
            try:
                answer = await person.get(path)
            except httpx.ConnectError:
                return False
            return answer.headers.get("location") == LINKS[1]

        await eventually(redirected)
        await eventually(lambda: [event for event in told if event.data.campaign_id == letter.campaign_id])
        stop.set()
        await asyncio.gather(*running)
    [engagement] = told[-1].data.engagements
    assert (engagement.contact_id, engagement.link_number) == (contact, 1)


async def test_roles_can_be_run_apart(settings: Any) -> None:
    async with start(settings, frozenset({"consumer"})) as roles:
        assert [role.name for role in roles] == ["http", "consumer"]


def test_the_command_line_explains_itself() -> None:
    runner = CliRunner()
    assert "POSTHORN_ANALYTICS_LINK_SECRET" in runner.invoke(main, ["settings"]).output
    assert '"/t/c/{token}/{number}"' in runner.invoke(main, ["openapi"]).output
    assert "redrive" in runner.invoke(main, ["dead-letters", "--help"]).output
