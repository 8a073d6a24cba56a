"""Sending within limits: fair to campaigns, past domains that have had enough, and single messages first."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import redis.asyncio as redis

from posthorn_common.clock import new_id
from posthorn_common.errors import TransientError
from posthorn_contracts.campaigns.internal_v1 import AudienceMember
from posthorn_contracts.mailer.internal_v1 import TransactionalMessage
from posthorn_local.ports import free_ports
from posthorn_mailer.adapters.db.sending_limits import SqlSendingLimits
from posthorn_mailer.adapters.db.tables import batches, deliveries
from posthorn_mailer.adapters.redis_pace import RedisPace
from posthorn_mailer.bootstrap import Container
from posthorn_mailer.domain.limits import ALL_OF_RELAY, DomainLimit, SendingLimits
from posthorn_mailer.settings import Settings

from .smtp_peer import Peer
from .support import CampaignsService, Office, eventually, members

pytestmark = pytest.mark.integration

NewContainer = Callable[..., AbstractAsyncContextManager[Container]]
ALMOST_NEVER = 0.01
"""Messages per second: one at once, the next after longer than any test lasts."""


@pytest.fixture
def quick(quick: Settings) -> Settings:
    return quick.model_copy(update={"batch_size": 40, "audience_page_size": 80})


class Choosy(Peer):
    """A relay whose answer to RCPT depends on the recipient's domain."""

    def __init__(self) -> None:
        super().__init__()
        self.refusals: dict[str, list[str]] = {}

    async def _answer(self, step: str, default: str, writer: asyncio.StreamWriter) -> bool:
        waiting = self.refusals.get(_domain(self.commands[-1]), []) if step == "RCPT" else []
        return await super()._answer(step, waiting.pop(0) if waiting else default, writer)

    @property
    def recipients(self) -> list[str]:
        """The domains that messages were for, in order."""
        return [_domain(line) for line in self.commands if line.startswith("RCPT")]

    @property
    def letters(self) -> Counter[bytes]:
        """How many messages each recipient has got."""
        return Counter(re.findall(rb"(?m)^To: (.*)\r$", b"".join(self.contents)))


def _domain(command: str) -> str:
    return command.rpartition("@")[2].partition(">")[0]


@contextlib.asynccontextmanager
async def choosy() -> AsyncGenerator[Choosy]:
    peer = Choosy()
    async with peer.listening():
        yield peer


async def planned(office: Office, audience: Sequence[AudienceMember], **how: Any) -> UUID:
    campaign_id = office.add_campaign(audience)
    await office.start(campaign_id, **how)
    await office.container.planning.plan_send(campaign_id)
    return campaign_id


async def limit(office: Office, *domains: DomainLimit, messages_per_second: float | None = None) -> None:
    await office.container.managing_limits.replace(
        office.organisation_id, messages_per_second=messages_per_second, domains=domains
    )


@contextlib.asynccontextmanager
async def at_work(office: Office) -> AsyncGenerator[None]:
    """Send campaigns as the worker does, until the block is over."""
    async with office.working("worker", "scheduler"):
        yield


# Fair to campaigns.


@pytest.mark.parametrize("max_connections", [1, 2, 3, 6])
async def test_two_campaigns_share_a_slow_relay_message_by_message(office: Office, max_connections: int) -> None:
    async with choosy() as relay:
        await office.add_relay(relay.port, messages_per_second=10.0, max_connections=max_connections)
        ids = [await planned(office, members(40, domain=domain)) for domain in ("one.example", "two.example")]
        worker, gate = office.worker(lease_seconds=600.0)
        gate.before.clear()
        sending = [asyncio.create_task(worker.send_batch()) for _ in ids]

        async def both_are_held() -> bool:
            found = [batch.state for campaign_id in ids for batch in await office.rows(batches, campaign_id)]
            return found == ["leased", "leased"] and gate.waiting > 0

        await eventually(both_are_held)
        gate.before.set()
        await eventually(lambda: len(relay.recipients) >= 22)
        worker.stop()
        await asyncio.gather(*sending)
        served = Counter(relay.recipients[6:22])
    assert served["one.example"] == pytest.approx(8, abs=3)


async def test_a_campaign_with_a_limit_of_its_own_is_slow_and_others_are_not(office: Office) -> None:
    async with choosy() as relay:
        await office.add_relay(relay.port)
        slow = await planned(office, members(10), rate=ALMOST_NEVER)
        fast = await planned(office, members(30))
        async with at_work(office):
            await eventually(lambda: len(relay.contents) == 31)
        assert await office.counts(fast) == {"sent": 30}
        assert await office.counts(slow) == {"sent": 1, "pending": 9}


async def test_an_organisations_limit_holds_over_its_relays(office: Office) -> None:
    async with choosy() as one, choosy() as two:
        relays = [
            await office.add_relay(one.port),
            await office.add_relay(two.port, name="second", is_default=False),
        ]
        await limit(office, messages_per_second=ALMOST_NEVER)
        ids = [await planned(office, members(5), relay_id=relay) for relay in relays]
        worker, _gate = office.worker()
        sending = [asyncio.create_task(worker.send_batch()) for _ in ids]
        await eventually(lambda: one.contents or two.contents)
        worker.stop()
        await asyncio.gather(*sending)
        counts = Counter[str]()
        for campaign_id in ids:
            counts.update(await office.counts(campaign_id))
    assert counts == {"sent": 1, "pending": 9}


# Past domains that have had enough.


async def test_recipients_of_a_slow_domain_are_passed_over_and_the_batch_gives_its_place_back(office: Office) -> None:
    async with choosy() as relay:
        await office.add_relay(relay.port)
        await limit(office, DomainLimit("google", ALMOST_NEVER, None))
        campaign_id = await planned(office, [*members(25, domain="gmail.com"), *members(15, domain="other.example")])
        await office.container.sending.send_batch()
        assert relay.recipients.count("gmail.com") == 1
        assert relay.recipients.count("other.example") == 15
        assert await office.counts(campaign_id) == {"sent": 16, "pending": 24}
        (batch,) = await office.rows(batches, campaign_id)
        assert batch.state == "ready"
        assert batch.not_before is not None
        assert batch.not_before > datetime.now(UTC)
        assert await office.container.sending.send_batch() is False, "it is not due"
        assert {row.attempts for row in await office.rows(deliveries, campaign_id)} == {0, 1}


async def test_all_domains_of_an_operator_have_one_limit(office: Office) -> None:
    async with choosy() as relay:
        await office.add_relay(relay.port)
        await limit(office, DomainLimit("microsoft", ALMOST_NEVER, None))
        audience = [
            member for domain in ("hotmail.com", "outlook.com", "live.com") for member in members(3, domain=domain)
        ]
        campaign_id = await planned(office, audience)
        await office.container.sending.send_batch()
        assert await office.counts(campaign_id) == {"sent": 1, "pending": 8}


async def test_a_domain_gets_no_more_at_a_time_than_it_may(office: Office) -> None:
    async with choosy() as relay:
        relay.script["dot"] = 0.02
        await office.add_relay(relay.port, max_connections=6)
        await limit(office, DomainLimit("google", None, 1))
        campaign_id = await planned(office, members(20, domain="gmail.com"))
        async with at_work(office):
            await eventually(lambda: len(relay.contents) == 20)
        assert await office.counts(campaign_id) == {"sent": 20}
        assert relay.most_open == 1


async def test_who_answers_too_fast_is_mailed_more_slowly_and_nobody_is_worn_down(office: Office) -> None:
    async with choosy() as relay:
        relay.refusals["gmail.com"] = ["451 4.7.0 Receiving mail too quickly, try again in 1 second"] * 3
        relay_id = await office.add_relay(relay.port)
        campaign_id = await planned(office, [*members(20, domain="gmail.com"), *members(20, domain="other.example")])
        async with at_work(office):

            async def slowed() -> bool:
                share = await office.container.pace.shared.share(relay_id, "looks", maximum=0, open_connections=0)
                return share.slowed.keys() == {"google"}

            await eventually(slowed)
            await eventually(lambda: len(relay.contents) == 40)
        assert await office.counts(campaign_id) == {"sent": 40}
        assert {row.attempts for row in await office.rows(deliveries, campaign_id)} == {1}


async def test_a_relay_that_says_421_gets_everything_more_slowly(office: Office) -> None:
    async with choosy() as relay:
        relay.script["MAIL"] = ["421 4.3.2 Too many messages, try again in 1 second"]
        relay_id = await office.add_relay(relay.port)
        campaign_id = await planned(office, members(30))
        async with at_work(office):

            async def slowed() -> bool:
                share = await office.container.pace.shared.share(relay_id, "looks", maximum=0, open_connections=0)
                return ALL_OF_RELAY in share.slowed

            await eventually(slowed)
            await eventually(lambda: len(relay.contents) == 30)
        assert await office.counts(campaign_id) == {"sent": 30}
        assert {row.attempts for row in await office.rows(deliveries, campaign_id)} == {1}


# All workers together.


async def test_workers_together_open_no_more_connections_than_the_relay_allows(
    office: Office, new_container: NewContainer, campaigns: CampaignsService
) -> None:
    async with choosy() as relay, new_container() as second, new_container() as third:
        relay.script["dot"] = 0.01
        await office.add_relay(relay.port, max_connections=4)
        campaign_id = await planned(office, members(240))
        offices = [office, *(replace(office, container=one) for one in (second, third))]
        await asyncio.gather(*(one.send_all() for one in offices))
        assert await office.counts(campaign_id) == {"sent": 240}
        assert relay.most_open <= 4
        assert set(relay.letters.values()) == {1}


async def test_an_emptied_redis_loses_nobody_and_mails_nobody_twice(office: Office) -> None:
    async with choosy() as relay:
        await office.add_relay(relay.port, messages_per_second=50.0)
        await limit(office, DomainLimit("google", 30.0, 2))
        audience = [*members(30, domain="gmail.com"), *members(30, domain="other.example")]
        campaign_id = await planned(office, audience)
        async with at_work(office):
            for count in (10, 30, 50):
                await eventually(lambda count=count: len(relay.contents) >= count)
                await office.container.redis.flushdb()
                await office.container.redis.script_flush()
            await eventually(lambda: len(relay.contents) == 60)
        assert await office.counts(campaign_id) == {"sent": 60}
        assert set(relay.letters.values()) == {1}


async def test_who_cannot_read_the_limits_at_first_waits_and_then_sends(
    office: Office, smtp_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign_id = await office.plan(members(20), port=smtp_server.port)
    read, asked = SqlSendingLimits.of, []

    async def away_at_first(self: SqlSendingLimits, organisation_id: UUID) -> SendingLimits:
        asked.append(organisation_id)
        if len(asked) == 1:
            raise TransientError("the database is away")
        return await read(self, organisation_id)

    monkeypatch.setattr(SqlSendingLimits, "of", away_at_first)
    await office.send_all()
    assert await office.counts(campaign_id) == {"sent": 20}
    assert len(asked) > 1


async def test_without_redis_limits_are_kept_by_each_worker(office: Office) -> None:
    away: redis.Redis = redis.Redis(host="127.0.0.1", port=free_ports(1)[0], socket_timeout=1)
    pace = replace(office.container.pace, shared=RedisPace(away))
    alone = replace(office, container=replace(office.container, pace=pace))
    async with choosy() as relay:
        await office.add_relay(relay.port)
        await limit(office, DomainLimit("google", 5.0, None))
        campaign_id = await planned(office, [*members(4, domain="gmail.com"), *members(20, domain="other.example")])
        worker, _gate = alone.worker()
        await worker.send_batch()
        assert (await office.counts(campaign_id))["sent"] >= 20
        assert relay.recipients[0] == "other.example", "its bucket is empty at first"
    await away.aclose()


# Single messages first.


async def test_a_single_message_overtakes_a_campaign(office: Office) -> None:
    async with choosy() as relay:
        await office.add_relay(relay.port, messages_per_second=4.0, max_connections=1, from_email="post@example.org")
        campaign_id = await planned(office, members(40))
        async with at_work(office):
            await eventually(lambda: len(relay.contents) >= 3)
            letter = TransactionalMessage(
                organisation_id=office.organisation_id,
                idempotency_key=str(new_id()),
                purpose="test_send",
                to_email="ada@urgent.example",
                subject="Hello",
                text="Dear Ada",
            )
            before = len(relay.recipients)
            await office.container.accepting_messages.accept(letter)
            await eventually(lambda: "urgent.example" in relay.recipients)
            overtaking = relay.recipients.index("urgent.example") - before
        assert (await office.counts(campaign_id))["pending"] > 20
    assert overtaking <= 4, "no more than a second's worth of the campaign goes first"
