"""A relay that one worker finds dead is left alone by all, and tried by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio
import redis.asyncio as redis

from posthorn_common.testing import TokenMint
from posthorn_contracts.permissions import ROLE_PERMISSIONS, Role
from posthorn_local.ports import free_ports
from posthorn_mailer.adapters.db.tables import deliveries
from posthorn_mailer.adapters.redis_breakers import RedisBreakers
from posthorn_mailer.app.breakers import Breaker, Breakers
from posthorn_mailer.app.outages import OutagePauses
from posthorn_mailer.bootstrap import Container
from posthorn_mailer.domain.relays import RelayState, RelayTrouble
from posthorn_mailer.domain.replies import Attempt, Stage, classify, replied, unanswered
from posthorn_mailer.entrypoints.http.app import build_app

from .support import Office, eventually, members

pytestmark = pytest.mark.integration
REFUSED = unanswered(Stage.CONNECT, "The connection was refused")
SENT = replied(Stage.CONTENT, 250, "2.0.0 ok")
LONG, SHORT = OutagePauses(600, 600), OutagePauses(0.001, 0.001)


@pytest_asyncio.fixture
async def client(redis_url: str) -> AsyncGenerator[redis.Redis]:
    connected: redis.Redis = redis.Redis.from_url(redis_url, socket_timeout=2)
    yield connected
    await connected.aclose()


@dataclass
class Two:
    """Two processes, and one relay."""

    one: Breakers
    other: Breakers
    relay_id: UUID
    shared: RedisBreakers

    @classmethod
    def of(cls, client: redis.Redis, pauses: OutagePauses) -> Two:
        shared = RedisBreakers(client)
        return cls(Breakers(shared, pauses), Breakers(shared, pauses), uuid4(), shared)

    @property
    def both(self) -> tuple[Breaker, Breaker]:
        return self.one.of(self.relay_id), self.other.of(self.relay_id)

    async def state(self) -> RelayState:
        return (await self.shared.health([self.relay_id]))[self.relay_id].state


async def note(breaker: Breaker, attempt: Attempt) -> bool:
    opened = breaker.note(attempt, classify(attempt))
    await breaker.told()
    return opened


async def admitted(breaker: Breaker, who: str = "campaigns") -> bool:
    return (await breaker.admit(who)).seconds == 0


async def test_what_one_process_finds_dead_the_other_leaves_alone(client: redis.Redis) -> None:
    two = Two.of(client, LONG)
    one, other = two.both
    assert await admitted(one)
    assert await admitted(other)
    assert await note(one, REFUSED)
    answer = await other.admit("campaigns")
    assert 500 < answer.seconds <= 600
    assert other.width(10) == 1
    assert not await note(other, REFUSED), "what it had under way says nothing new"
    assert (await client.hget(f"posthorn:mailer:breaker:{two.relay_id}", "failures")) == b"1"
    health = (await two.shared.health([two.relay_id]))[two.relay_id]
    assert (health.state, health.trouble) == (RelayState.OPEN, RelayTrouble.UNREACHABLE)


async def test_failures_of_two_processes_at_once_are_one_and_the_pause_doubles_over_both(client: redis.Redis) -> None:
    two = Two.of(client, OutagePauses(60, 600))
    one, other = two.both
    assert await admitted(other)
    pauses = []
    for failures in range(1, 6):
        assert await admitted(one)
        assert await note(one, REFUSED)
        await note(other, REFUSED)
        known = (await two.shared.look([two.relay_id]))[two.relay_id]
        assert known.failures == failures
        pauses.append(known.seconds_left)
        await client.hset(f"posthorn:mailer:breaker:{two.relay_id}", "open_until", "1")  # the pause is over
        one, other = other, one
    assert pauses == [pytest.approx(pause, abs=50) for pause in (60, 120, 240, 480, 600)]


async def test_after_the_pause_one_user_of_one_process_tries(client: redis.Redis) -> None:
    two = Two.of(client, SHORT)
    one, other = two.both
    await note(one, REFUSED)
    breakers = [one, other, *(Breakers(two.shared, SHORT).of(two.relay_id) for _ in range(5))]
    users = [(breaker, who) for breaker in breakers for who in ("campaigns", "message")]
    await asyncio.sleep(0.05)
    for _ in range(5):
        answers = await asyncio.gather(*(breaker.admit(who) for breaker, who in users))
        assert [answer.seconds for answer in answers].count(0) == 1
    assert await two.state() is RelayState.HALF_OPEN


async def test_when_the_probe_gets_through_all_use_the_relay(client: redis.Redis) -> None:
    two = Two.of(client, SHORT)
    one, other = two.both
    await note(one, REFUSED)
    await two.other.refresh()  # it learns of the outage
    await eventually(lambda: admitted(one))
    assert (one.width(10), other.width(10)) == (1, 1)
    await note(one, SENT)
    assert one.width(10) == 10
    await two.other.refresh()
    assert other.width(10) == 10
    assert await admitted(other)
    assert await two.state() is RelayState.CLOSED


async def test_a_probe_that_was_not_made_is_left_to_others(client: redis.Redis) -> None:
    two = Two.of(client, SHORT)
    one, other = two.both
    await note(one, REFUSED)
    await asyncio.sleep(0.05)
    first, second = await one.admit("campaigns"), await one.admit("campaigns")
    assert not await admitted(other)
    one.leave(first)
    await one.told()
    assert not await admitted(other), "another batch of the same process is still at it"
    one.leave(second)
    await one.told()
    assert await admitted(other)


async def test_a_process_that_dies_while_it_tries_is_waited_for_and_no_longer(client: redis.Redis) -> None:
    two = Two.of(client, SHORT)
    dead, other = two.both
    await note(dead, REFUSED)
    await eventually(lambda: admitted(dead))
    assert not await admitted(other)
    await two.one.refresh()
    key = f"posthorn:mailer:breaker:{two.relay_id}"
    assert float(await client.hget(key, "probe_until") or 0) > float((await client.time())[0]) + 20
    await client.hset(key, "probe_until", "1")
    assert await admitted(other)


async def test_who_is_at_work_hears_of_an_outage(client: redis.Redis) -> None:
    two = Two.of(client, LONG)
    one, other = two.both
    heard = []
    other.on_open = lambda: heard.append(other.seconds_left())
    await two.other.refresh()
    assert heard == []
    await note(one, REFUSED)
    await two.other.refresh()
    await two.other.refresh()
    assert len(heard) == 1
    assert heard[0] > 500


async def test_what_was_seen_before_a_probe_began_does_not_stop_it(client: redis.Redis) -> None:
    two = Two.of(client, SHORT)
    one = two.one.of(two.relay_id)
    await note(one, REFUSED)
    await asyncio.sleep(0.05)
    seen = (await two.shared.look([two.relay_id]))[two.relay_id]
    assert seen.probed_elsewhere
    assert await admitted(one)
    one.learn(seen)
    assert one.seconds_left() == 0
    await note(one, SENT)
    assert one.width(10) == 10


async def test_an_emptied_redis_is_taught_by_who_knows(client: redis.Redis) -> None:
    two = Two.of(client, LONG)
    one, other = two.both
    await note(one, REFUSED)
    await client.flushdb()
    await client.script_flush()
    assert not await admitted(one), "it knows by itself"
    assert not await admitted(other), "it was told"
    assert await two.state() is RelayState.OPEN


async def test_while_redis_is_away_each_process_knows_what_it_has_seen() -> None:
    away: redis.Redis = redis.Redis(host="127.0.0.1", port=free_ports(1)[0], socket_timeout=1)
    patient, other = Two.of(away, LONG).both
    await note(patient, REFUSED)
    assert not await admitted(patient)
    assert await admitted(other)
    assert other.width(10) == 10
    two = Two.of(away, SHORT)
    one = two.one.of(two.relay_id)
    await note(one, REFUSED)
    await eventually(lambda: admitted(one))
    assert one.width(10) == 1
    assert not await admitted(one, "a message"), "one of its users tries"
    await note(one, SENT)
    assert await admitted(one, "a message")
    assert one.width(10) == 10
    await two.one.refresh()
    assert await two.state() is RelayState.UNKNOWN
    await away.aclose()


async def test_a_second_worker_opens_no_connection_to_a_relay_that_the_first_found_dead(
    office: Office, smtp_server: Any
) -> None:
    long = {"outage_first_pause_seconds": 60.0, "outage_longest_pause_seconds": 600.0}
    campaign_id = await office.plan(members(30), port=free_ports(1)[0])
    first, first_gate = office.worker(**long)
    second, second_gate = office.worker(**long)
    await first.send_batch()
    assert first_gate.passed > 0
    await second.send_all_due()
    assert second_gate.passed == 0
    assert await office.counts(campaign_id) == {"pending": 30}
    assert {row.attempts for row in await office.rows(deliveries, campaign_id)} == {0}
    # Whoever forgets everything, and has a relay that works, sends all the same.
    await office.container.redis.flushdb()
    await office.execute("UPDATE relays SET port = :port, version = 2", port=smtp_server.port)
    await office.execute("UPDATE batches SET not_before = NULL")
    third, _ = office.worker(**long)
    office.container.relays._kept.clear()  # type: ignore[attr-defined]
    await third.send_all_due()
    assert await office.counts(campaign_id) == {"sent": 30}


async def test_one_message_tries_a_relay_for_all_workers(office: Office, smtp_server: Any) -> None:
    campaign_id = await office.plan(members(40), port=smtp_server.port)
    workers = [office.worker() for _ in range(3)]
    gates = [gate for _worker, gate in workers]
    for gate in gates:
        gate.answer_instead = REFUSED
    await workers[0][0].send_batch()
    for gate in gates:
        gate.answer_instead = None
        gate.before.clear()
    await asyncio.sleep(0.1)
    sending = []
    for worker, _gate in workers:
        await office.execute("UPDATE batches SET not_before = NULL")
        sending.append(asyncio.create_task(worker.send_all_due()))
    await eventually(lambda: sum(gate.waiting for gate in gates))
    for _ in range(10):
        await office.execute("UPDATE batches SET not_before = NULL")
        await asyncio.sleep(0.02)
        assert sum(gate.waiting for gate in gates) == 1
    for gate in gates:
        gate.before.set()

    async def sent() -> bool:
        await asyncio.gather(*(worker.send_all_due() for worker, _gate in workers))
        return await office.counts(campaign_id) == {"sent": 40}

    await eventually(sent)
    await asyncio.gather(*sending)


async def test_a_relay_shows_its_health(office: Office, container: Container, mint: TokenMint) -> None:
    port = free_ports(1)[0]
    relay_id = await office.add_relay(port)
    principal = mint.access_token(office.organisation_id, ROLE_PERMISSIONS[Role.OWNER])
    transport = httpx.ASGITransport(build_app(container))
    async with httpx.AsyncClient(transport=transport, base_url="http://mailer") as http:

        async def shown() -> dict[str, Any]:
            headers = {"Authorization": f"Bearer {principal}"}
            one = (await http.get(f"/v1/relays/{relay_id}", headers=headers)).json()
            (listed,) = (await http.get("/v1/relays", headers=headers)).json()["items"]
            assert one == listed
            health: dict[str, Any] = one["health"]
            return health

        assert await shown() == {"state": "closed", "since": None, "reason": None}
        worker, _gate = office.worker(outage_first_pause_seconds=60.0, outage_longest_pause_seconds=600.0)
        campaign_id = office.add_campaign(members(3))
        await office.start(campaign_id)
        await office.container.planning.plan_send(campaign_id)
        await worker.send_all_due()
        health = await shown()
        assert (health["state"], health["reason"]) == ("open", "The relay cannot be reached.")
        assert health["since"] is not None
