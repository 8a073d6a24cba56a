"""A relay that is warmed up sends no more a day than its plan allows, whoever sends."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from unittest.mock import ANY
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
import sqlalchemy as sa

from posthorn_common.addresses import domain_of
from posthorn_common.testing import TokenMint
from posthorn_contracts.mailer.internal_v1 import TransactionalMessage
from posthorn_contracts.mailer.v1 import SendImpeded
from posthorn_contracts.permissions import ROLE_PERMISSIONS, Role
from posthorn_local.ports import free_ports
from posthorn_mailer.adapters.db.tables import relay_days
from posthorn_mailer.adapters.db.warm_up_days import SqlWarmUpDays
from posthorn_mailer.app.warm_ups import WarmUps
from posthorn_mailer.domain.relays import Relay
from posthorn_mailer.entrypoints.http.app import build_app

from .support import Office, eventually, members

pytestmark = pytest.mark.integration


@pytest_asyncio.fixture(autouse=True)
async def today() -> date:
    """A day that lasts longer than the test."""
    now = datetime.now(UTC)
    midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), UTC)
    if midnight - now < timedelta(minutes=2):
        await asyncio.sleep((midnight - now).total_seconds() + 1)
    return datetime.now(UTC).date()


@pytest_asyncio.fixture
async def http(office: Office, mint: TokenMint) -> AsyncGenerator[httpx.AsyncClient]:
    token = mint.access_token(office.organisation_id, ROLE_PERMISSIONS[Role.OWNER])
    headers = {"Authorization": f"Bearer {token}"}
    transport = httpx.ASGITransport(build_app(office.container))
    async with httpx.AsyncClient(transport=transport, base_url="http://mailer", headers=headers) as client:
        yield client


def plan(today: date, first_day: int, **changes: Any) -> dict[str, Any]:
    fixed = {"starts_on": today.isoformat(), "growth": 2.0, "until": 10_000, "first_day_per_domain": None}
    return {**fixed, "first_day": first_day, **changes}


def people(**domains: int) -> list[Any]:
    """Return so many members of each domain `<name>.example`, mixed."""
    mixed = [one for name, count in domains.items() for one in members(count, domain=f"{name}.example")]
    random.Random(7).shuffle(mixed)
    return mixed


async def used(office: Office) -> int:
    async with office.container.engine.connect() as connection:
        return int(await connection.scalar(sa.select(sa.func.coalesce(sa.func.sum(relay_days.c.used), 0))) or 0)


async def a_relay(office: Office, today: date, first_day: int) -> Relay:
    relay_id = await office.add_relay(1, warm_up=plan(today, first_day))
    return await office.container.relays.get(office.organisation_id, relay_id)


async def test_a_campaign_stops_at_the_days_limit_and_goes_on_the_next_day(
    office: Office, smtp_server: Any, today: date
) -> None:
    campaign_id = await office.plan(members(60), port=smtp_server.port, relay={"warm_up": plan(today, 25)})
    await office.send_all()
    assert await office.counts(campaign_id) == {"sent": 25, "pending": 35}
    assert await used(office) == 25
    (impeded,) = await office.events(SendImpeded)
    assert impeded.data.reason == "The relay main has sent what its warm-up plan allows today."
    # The next day, as another process sees it.
    earlier = plan(today - timedelta(days=1), 25)
    await office.execute("UPDATE relay_days SET day = day - 1")
    await office.execute("UPDATE relays SET warm_up = CAST(:plan AS jsonb), version = 2", plan=json.dumps(earlier))
    await office.execute("UPDATE batches SET not_before = NULL")
    office.container.relays._kept.clear()  # type: ignore[attr-defined]
    await office.send_all()
    assert await office.counts(campaign_id) == {"sent": 60}
    assert len(smtp_server.messages) == 60


async def test_workers_that_race_for_the_last_messages_never_send_more(
    office: Office, smtp_server: Any, today: date
) -> None:
    campaign_id = await office.plan(members(120), port=smtp_server.port, relay={"warm_up": plan(today, 53)})
    workers = [office.worker(lease_seconds=60.0)[0] for _ in range(4)]
    for _ in range(10):
        await asyncio.gather(*(worker.send_all_due() for worker in workers))
        await office.execute("UPDATE batches SET not_before = NULL")
        assert len(smtp_server.messages) <= 53
    last, _gate = office.worker(
        lease_seconds=60.0
    )  # what was given back meanwhile is found by who does not know that it was used up
    await last.send_all_due()
    assert await office.counts(campaign_id) == {"sent": 53, "pending": 67}
    assert await used(office) == 53


async def test_no_domain_gets_more_than_its_part_of_the_day_and_others_are_not_held_up(
    office: Office, http: httpx.AsyncClient, smtp_server: Any, today: date
) -> None:
    warm_up = plan(today, 60, first_day_per_domain=10)
    campaign_id = await office.plan(people(much=40, some=12, few=5), port=smtp_server.port, relay={"warm_up": warm_up})
    for _ in range(3):
        await office.send_all()
        await office.execute("UPDATE batches SET not_before = NULL")
    assert Counter(domain_of(one.envelope_to[0]) for one in smtp_server.messages) == {
        "much.example": 10, "some.example": 10, "few.example": 5,
    }  # fmt: skip
    assert await office.counts(campaign_id) == {"sent": 25, "pending": 32}
    assert await used(office) == 25
    assert (await office.events(SendImpeded))[0].data.reason == (
        "The relay main has sent what its warm-up plan allows today to some recipient domains."
    )
    relay_id = (await http.get("/v1/relays")).json()["items"][0]["id"]
    shown = (await http.get(f"/v1/relays/{relay_id}/warm-up")).json()
    assert shown["limit_per_domain"] == 10
    assert {one["name"]: one["used"] for one in shown["domains"]} == {
        "much.example": 10, "some.example": 10, "few.example": 5,
    }  # fmt: skip
    # The next day each gets twice as many.
    await office.execute("UPDATE relay_domain_days SET day = day - 1")
    await office.execute("UPDATE relay_days SET day = day - 1")
    earlier = {**warm_up, "starts_on": (today - timedelta(days=1)).isoformat()}
    await office.execute("UPDATE relays SET warm_up = CAST(:plan AS jsonb), version = 2", plan=json.dumps(earlier))
    office.container.relays._kept.clear()  # type: ignore[attr-defined]
    worker, _gate = office.worker()
    await worker.send_all_due()
    assert Counter(domain_of(one.envelope_to[0]) for one in smtp_server.messages) == {
        "much.example": 30, "some.example": 12, "few.example": 5,
    }  # fmt: skip


async def test_workers_that_race_for_a_domain_never_send_it_more(office: Office, smtp_server: Any, today: date) -> None:
    warm_up = plan(today, 100, first_day_per_domain=17)
    await office.plan(people(much=30, some=30), port=smtp_server.port, relay={"warm_up": warm_up})
    workers = [office.worker(lease_seconds=60.0)[0] for _ in range(4)]
    for _ in range(2):
        await asyncio.gather(*(worker.send_all_due() for worker in workers))
        await office.execute("UPDATE batches SET not_before = NULL")
    sent = Counter(domain_of(one.envelope_to[0]) for one in smtp_server.messages)
    assert sent == {"much.example": 17, "some.example": 17}


async def test_a_plan_that_became_smaller_gives_a_domain_nothing_more(office: Office, today: date) -> None:
    relay = await a_relay(office, today, 100)
    days = SqlWarmUpDays(office.container.engine)
    wide = replace(relay, warm_up=replace(relay.warm_up, first_day_per_domain=50))
    assert (await days.reserve_by_domain(wide, {"a.example": 40, "b.example": 60})).counts == {
        "a.example": 40, "b.example": 50,
    }  # fmt: skip
    small = replace(relay, warm_up=replace(relay.warm_up, first_day_per_domain=20))
    assert (await days.reserve_by_domain(small, {"a.example": 5, "c.example": 5})).counts == {
        "a.example": 0, "c.example": 5,
    }  # fmt: skip
    assert (await days.reserve_by_domain(wide, {"a.example": 30})).counts == {"a.example": 10}
    free = replace(relay, warm_up=replace(relay.warm_up, starts_on=today - timedelta(days=190)))
    assert (await days.reserve_by_domain(free, {"a.example": 1000})).counts == {"a.example": 1000}


async def test_a_day_without_limit_is_asked_for_once_until_the_plan_changes(office: Office, today: date) -> None:
    relay = await a_relay(office, today, 100)
    grown = replace(relay.warm_up, starts_on=today - timedelta(days=190), first_day_per_domain=20)
    warm_ups = WarmUps(SqlWarmUpDays(office.container.engine))
    assert await warm_ups.take_by_domain(replace(relay, warm_up=grown), {"a.example": 30}) == ({"a.example": 30}, ANY)
    wanted = {"a.example": 30}
    small = replace(relay.warm_up, first_day_per_domain=20)
    assert (await warm_ups.take_by_domain(replace(relay, warm_up=small), wanted))[0] == wanted, "nobody is asked"
    changed = replace(relay, warm_up=small, version=relay.version + 1)
    assert (await warm_ups.take_by_domain(changed, wanted))[0] == {"a.example": 20}


async def test_processes_that_reserve_at_once_get_no_more_than_there_is(office: Office, today: date) -> None:
    relay = await a_relay(office, today, 100)
    days = SqlWarmUpDays(office.container.engine)
    reserved = await asyncio.gather(*(days.reserve(relay, 7) for _ in range(20)))
    assert sum(one.count for one in reserved) == 100
    assert {one.day for one in reserved} == {today}
    assert all(0 < one.seconds_left <= 86_400 for one in reserved)


async def test_a_worker_that_dies_loses_what_it_had_reserved_and_nobody_sends_more(
    office: Office, smtp_server: Any, today: date
) -> None:
    campaign_id = await office.plan(members(60), port=smtp_server.port, relay={"warm_up": plan(today, 30)})
    victim, gate = office.worker()
    gate.before.clear()
    sending = asyncio.create_task(victim.send_batch())
    await eventually(lambda: gate.waiting == 4)
    await victim.abort()
    with pytest.raises(asyncio.CancelledError):
        await sending
    lost = await used(office)
    assert 4 <= lost <= 10
    await office.expire_leases()
    survivor, _gate = office.worker()
    await survivor.send_all_due()
    assert len(smtp_server.messages) == 30 - lost
    assert (await office.counts(campaign_id))["sent"] == 30 - lost


async def test_what_is_reserved_and_not_used_is_given_back(office: Office, smtp_server: Any, today: date) -> None:
    await office.plan(members(3), port=smtp_server.port, relay={"warm_up": plan(today, 5000)})
    await office.send_all()
    assert len(smtp_server.messages) == 3
    assert await used(office) == 3


async def test_what_is_reserved_is_worth_nothing_the_next_day(office: Office, today: date) -> None:
    relay = await a_relay(office, today, 5000)
    warm_ups = WarmUps(SqlWarmUpDays(office.container.engine))
    for _ in range(2):
        assert await warm_ups.take(relay, 5) == (5, 0.0)
    left = warm_ups._of(relay).left
    assert left > 0
    warm_ups._of(relay).ends_at = 0.0
    before = await used(office)
    assert await warm_ups.take(relay, 5) == (5, 0.0)
    assert await used(office) > before, "it has reserved anew"


async def test_while_the_database_is_away_nothing_is_allowed_and_nothing_breaks(office: Office, today: date) -> None:
    relay = await a_relay(office, today, 50)
    port = free_ports(1)[0]
    away = sa.ext.asyncio.create_async_engine(f"postgresql+asyncpg://nobody@127.0.0.1:{port}/none")
    warm_ups = WarmUps(SqlWarmUpDays(away))
    allowed, seconds = await warm_ups.take(relay, 5)
    assert allowed == 0
    assert seconds > 0
    assert warm_ups.used_up_for(relay) == 0
    await away.dispose()


async def test_another_relay_takes_what_the_plan_does_not_allow(office: Office, smtp_server: Any, today: date) -> None:
    await office.add_relay(smtp_server.port, name="standby", is_default=False)
    campaign_id = await office.plan(members(60), port=smtp_server.port, relay={"warm_up": plan(today, 20), "weight": 5})
    await office.send_all()
    assert await office.counts(campaign_id) == {"sent": 60}
    assert await used(office) == 20
    assert await office.events(SendImpeded) == []


async def test_single_messages_count_and_are_not_held_back(office: Office, smtp_server: Any, today: date) -> None:
    await office.add_relay(smtp_server.port, warm_up=plan(today, 2))
    for _ in range(4):
        wanted = TransactionalMessage(
            organisation_id=office.organisation_id,
            idempotency_key=str(uuid4()),
            purpose="test_send",
            to_email="ada@example.com",
            from_email="post@example.org",
            subject="Hello",
            text="Dear Ada",
        )
        message = await office.container.accepting_messages.accept(wanted)
        await office.container.sending_messages.send(message.id)
    assert len(smtp_server.messages) == 4
    assert await used(office) == 4
    campaign_id = office.add_campaign(members(3))
    await office.start(campaign_id)
    await office.container.planning.plan_send(campaign_id)
    await office.send_all()
    assert await office.counts(campaign_id) == {"pending": 3}


async def test_a_plan_is_set_shown_and_ended_through_the_api(
    office: Office, http: httpx.AsyncClient, smtp_server: Any, today: date, mint: TokenMint
) -> None:
    body = {"name": "Main", "host": "127.0.0.1", "port": smtp_server.port, "tls": "none"}
    created = await http.post("/v1/relays", json={**body, "warm_up": plan(today, 20)})
    assert created.status_code == 201, created.text
    assert created.json()["warm_up"] == plan(today, 20)
    path = f"/v1/relays/{created.json()['id']}"
    campaign_id = office.add_campaign(members(30))
    await office.start(campaign_id)
    await office.container.planning.plan_send(campaign_id)
    await office.send_all()
    shown = (await http.get(f"{path}/warm-up")).json()
    assert shown == {
        "plan": plan(today, 20), "day": today.isoformat(), "limit": 20, "used": 20, "left": 0,
        "limit_per_domain": None, "domains": [],
    }  # fmt: skip
    tomorrow = plan(today + timedelta(days=1), 20)
    await http.patch(path, json={"warm_up": tomorrow})
    assert (await http.get(f"{path}/warm-up")).json()["limit"] == 0
    assert (await http.patch(path, json={"name": "Renamed"})).json()["warm_up"] == tomorrow
    ended = await http.patch(path, json={"warm_up": None})
    assert ended.json()["warm_up"] is None
    assert (await http.get(f"{path}/warm-up")).json() == {
        "plan": None, "day": today.isoformat(), "limit": None, "used": 20, "left": None,
        "limit_per_domain": None, "domains": [],
    }  # fmt: skip
    await office.execute("UPDATE batches SET not_before = NULL")
    office.container.relays._kept.clear()  # type: ignore[attr-defined]
    await office.send_all()
    assert await office.counts(campaign_id) == {"sent": 30}
    stranger = {"Authorization": f"Bearer {mint.access_token(uuid4(), ROLE_PERMISSIONS[Role.OWNER])}"}
    foreign = await http.get(f"{path}/warm-up", headers=stranger)
    assert (foreign.status_code, foreign.json()["code"]) == (404, "relay_not_found")
    await office.execute("UPDATE sends SET drained_at = now()")
    assert (await http.delete(path)).status_code == 204
    assert await used(office) == 0


@pytest.mark.parametrize(
    "change",
    [{"growth": 1.05}, {"growth": 3.5}, {"first_day": 0}, {"until": 20}, {"until": 10_000_001}, {"starts_on": "soon"},
     {"first_day_per_domain": 21}, {"more": 1}],
)  # fmt: skip
async def test_a_plan_that_makes_no_sense_is_refused(
    http: httpx.AsyncClient, today: date, change: dict[str, Any]
) -> None:
    body = {"name": "Main", "host": "127.0.0.1", "port": 25, "tls": "none", "warm_up": {**plan(today, 20), **change}}
    refused = await http.post("/v1/relays", json=body)
    assert refused.status_code == 422, refused.text
