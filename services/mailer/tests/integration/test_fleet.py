"""Several relays: mail is spread by weight, and goes another way when a relay is away."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import AsyncGenerator
from email import message_from_bytes, policy
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from posthorn_contracts.mailer.internal_v1 import TransactionalMessage
from posthorn_contracts.mailer.v1 import SendImpeded
from posthorn_local.ports import free_ports
from posthorn_mailer.adapters.db.tables import deliveries, messages
from posthorn_mailer.domain.replies import Stage, unanswered
from posthorn_mailer.settings import Settings

from .smtp_peer import Peer
from .support import Office, eventually, members

pytestmark = pytest.mark.integration


@pytest.fixture
def quick(quick: Settings) -> Settings:
    """Whoever waits for a relay waits for longer than any test lasts."""
    return quick.model_copy(update={"outage_first_pause_seconds": 60.0, "outage_longest_pause_seconds": 3600.0})


@contextlib.asynccontextmanager
async def peers(count: int) -> AsyncGenerator[list[Peer]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Peer().listening()) for _ in range(count)]


async def a_fleet(office: Office, **ports_and_weights: tuple[int, int]) -> dict[str, UUID]:
    """Add relays by name, each with port and weight; the first is the default."""
    return {
        name: await office.add_relay(port, name=name, weight=weight, is_default=number == 0)
        for number, (name, (port, weight)) in enumerate(ports_and_weights.items())
    }


async def planned(office: Office, count: int, relay_id: UUID | None = None) -> UUID:
    campaign_id = office.add_campaign(members(count))
    await office.start(campaign_id, relay_id)
    await office.container.planning.plan_send(campaign_id)
    return campaign_id


async def move_away(office: Office, name: str) -> None:
    """Let nothing listen any more where the relay is."""
    move = "UPDATE relays SET port = :port, version = 2 WHERE name = :name"
    await office.execute(move, port=free_ports(1)[0], name=name)
    office.container.relays._kept.clear()  # type: ignore[attr-defined]


def recipients(peer: Peer) -> list[bytes]:
    """Whom the letters were for. A recipient may be named twice: before its content a message can be taken back."""
    return re.findall(rb"(?m)^To: (.*)\r$", b"".join(peer.contents))


async def test_a_campaign_is_spread_over_the_relays_by_weight(office: Office) -> None:
    async with peers(3) as (large, small, standby):
        await a_fleet(office, standby=(standby.port, 0), large=(large.port, 3), small=(small.port, 1))
        campaign_id = await planned(office, 400)
        await office.send_all()
        assert await office.counts(campaign_id) == {"sent": 400}
    assert len(large.contents) == pytest.approx(300, abs=30)
    assert len(small.contents) == pytest.approx(100, abs=30)
    assert standby.connections == 0
    assert set(Counter([*recipients(large), *recipients(small)]).values()) == {1}


async def test_without_weights_all_goes_through_the_default_relay(office: Office) -> None:
    async with peers(2) as (default, other):
        await a_fleet(office, default=(default.port, 0), other=(other.port, 0))
        await planned(office, 50)
        await office.send_all()
    assert (len(default.contents), other.connections) == (50, 0)


async def test_a_campaign_that_names_a_relay_goes_through_it_and_waits_for_it(office: Office) -> None:
    async with peers(1) as (default,):
        relays = await a_fleet(office, default=(default.port, 5), named=(free_ports(1)[0], 5))
        campaign_id = await planned(office, 30, relays["named"])
        await office.send_all()
        assert await office.counts(campaign_id) == {"pending": 30}
        assert default.connections == 0


async def test_a_relay_that_is_away_is_passed_over_and_nobody_hears_of_it(office: Office) -> None:
    async with peers(1) as (standby,):
        await a_fleet(office, default=(free_ports(1)[0], 1), standby=(standby.port, 0))
        campaign_id = await planned(office, 60)
        await office.send_all()
        assert await office.counts(campaign_id) == {"sent": 60}
        again = await planned(office, 20)
        await office.send_all()
        assert await office.counts(again) == {"sent": 20}
    assert len(standby.contents) == 80
    assert {row.attempts for row in await office.rows(deliveries, campaign_id)} == {1}
    assert await office.events(SendImpeded) == []


async def test_when_all_relays_are_away_nobody_is_worn_down(office: Office) -> None:
    one, other = free_ports(2)
    await a_fleet(office, one=(one, 1), other=(other, 1))
    campaign_id = await planned(office, 20)
    await office.send_all()
    assert await office.counts(campaign_id) == {"pending": 20}
    assert {row.attempts for row in await office.rows(deliveries, campaign_id)} == {0}


async def test_what_is_left_of_a_batch_goes_another_way_at_once(office: Office) -> None:
    async with peers(2) as (first, second):
        await a_fleet(office, first=(first.port, 1), second=(second.port, 0))
        campaign_id = await planned(office, 10)
        worker, gate = office.worker()
        gate.after.clear()
        sending = asyncio.create_task(worker.send_batch())
        await eventually(lambda: len(first.contents) == 4)
        gate.answer_instead = unanswered(Stage.CONNECT, "The connection was refused")
        gate.after.set()
        await sending
        assert (await office.counts(campaign_id))["sent"] < 10
        gate.answer_instead = None
        await worker.send_all_due()
        assert await office.counts(campaign_id) == {"sent": 10}
    assert len(first.contents) + len(second.contents) == 10
    assert set(Counter([*recipients(first), *recipients(second)]).values()) == {1}
    assert {row.attempts for row in await office.rows(deliveries, campaign_id)} == {1}


async def test_what_one_relay_has_deferred_another_takes_with_the_same_identity(office: Office) -> None:
    async with peers(2) as (first, second):
        first.script["dot"] = "451 4.7.1 greylisted, try again in 1 second"
        await a_fleet(office, first=(first.port, 1), second=(second.port, 0))
        campaign_id = await planned(office, 1)
        await office.send_all()
        assert await office.counts(campaign_id) == {"deferred": 1}
        await move_away(office, "first")

        async def sent() -> bool:
            await office.send_all()
            return await office.counts(campaign_id) == {"sent": 1}

        await eventually(sent)
    letters = [message_from_bytes(peer.contents[0], policy=policy.default) for peer in (first, second)]
    for name in ("Message-ID", "Date", "To", "Subject"):
        assert letters[0][name] == letters[1][name]


async def _accept(office: Office, relay_id: UUID | None = None) -> UUID:
    wanted = TransactionalMessage(
        organisation_id=office.organisation_id,
        idempotency_key=str(uuid4()),
        purpose="test_send",
        to_email="ada@example.com",
        from_email="post@example.org",
        subject="Hello",
        text="Dear Ada",
        relay_id=relay_id,
    )
    return (await office.container.accepting_messages.accept(wanted)).id


async def _message(office: Office, message_id: UUID) -> Any:
    async with office.container.engine.connect() as connection:
        return (await connection.execute(sa.select(messages).where(messages.c.id == message_id))).one()


async def test_single_messages_go_through_the_default_and_another_way_when_it_is_away(office: Office) -> None:
    sending = office.container.sending_messages
    async with peers(2) as (default, other):
        relays = await a_fleet(office, default=(default.port, 0), other=(other.port, 7))
        await sending.send(await _accept(office))
        assert (len(default.contents), len(other.contents)) == (1, 0)
        await move_away(office, "default")
        message_id = await _accept(office)
        await sending.send(message_id)
        assert (await _message(office, message_id)).status == "deferred"
        await sending.send(message_id)
        sent = await _message(office, message_id)
        assert (sent.status, sent.counted_attempts) == ("sent", 1)
        await sending.send(await _accept(office))
        assert len(other.contents) == 2
        waiting = await _accept(office, relays["default"])
        await sending.send(waiting)
        kept = await _message(office, waiting)
        assert (kept.status, kept.attempts) == ("pending", 0), "who names a relay waits for it"
