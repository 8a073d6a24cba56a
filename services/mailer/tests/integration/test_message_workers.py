"""Single messages are sent at most once, whoever dies, and however many workers there are."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
import sqlalchemy as sa
from pydantic import SecretStr

from posthorn_common.clock import new_id
from posthorn_common.testing import TokenMint
from posthorn_local.ports import free_ports
from posthorn_local.testing.smtp import RecordingSmtpServer
from posthorn_mailer.bootstrap import Container, bootstrap
from posthorn_mailer.domain.messages import TRANSITIONS, MessageClosing, MessageStatus
from posthorn_mailer.domain.replies import Stage, replied
from posthorn_mailer.entrypoints.http.app import build_app
from posthorn_mailer.settings import Settings

from .message_support import Office, past, quick, until, working
from .smtp_peer import Peer
from .support import eventually

pytestmark = pytest.mark.integration


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return quick(settings)


@pytest_asyncio.fixture
async def office(container: Container, client: httpx.AsyncClient, mint: TokenMint) -> Office:
    return Office(container, client, mint)


async def test_a_message_in_doubt_is_never_sent_again(office: Office) -> None:
    async with Peer({"dot": "close"}).listening() as peer:
        await office.add_relay(peer.port)
        message_id = await office.accept()
        doubt = await office.send(message_id)
        assert (doubt["status"], doubt["reply"]) == ("ambiguous", "The connection was lost")
        await office.send(message_id)
        await office.container.sending_messages.reconcile()
        await office.send(message_id)
    assert len(peer.contents) == 1


async def test_ten_workers_at_once_send_it_once(office: Office, smtp_server: RecordingSmtpServer) -> None:
    await office.add_relay(smtp_server.port)
    message_id = await office.accept()
    await asyncio.gather(*(office.container.sending_messages.send(message_id) for _ in range(10)))
    await office.container.sending_messages.send(message_id)
    assert len(smtp_server.messages) == 1
    assert (await office.get(message_id))["status"] == "sent"


async def test_what_a_dead_worker_leaves_is_in_doubt_and_its_late_word_still_counts(office: Office) -> None:
    await office.add_relay(1)
    message_id, attempt_id = await office.accept(), new_id()
    new_unit_of_work = office.container.sending_messages._new_unit_of_work
    async with new_unit_of_work() as uow:
        assert await uow.messages.open(message_id, attempt_id, 60) is not None
    await office.container.sending_messages.reconcile()
    assert (await office.get(message_id))["status"] == "sending", "its lease has not run out"
    await office.set(message_id, lease_until=past(1))
    await office.container.sending_messages.reconcile()
    assert (await office.get(message_id))["status"] == "ambiguous"
    taken = MessageClosing(
        MessageStatus.SENT, replied(Stage.CONTENT, 250, "ok"), None, counted=True, delay_seconds=None, suppress=False
    )
    later = replace(taken, status=MessageStatus.DEFERRED, delay_seconds=1.0)
    async with new_unit_of_work() as uow:
        assert not await uow.messages.close(message_id, new_id(), taken), "somebody else's word"
        assert not await uow.messages.close(message_id, attempt_id, later), "it may not be sent again"
        assert await uow.messages.close(message_id, attempt_id, taken)
    assert (await office.get(message_id))["status"] == "sent"


async def test_a_lease_is_renewed_while_the_relay_takes_its_time(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("posthorn_mailer.app.sending_messages.LEASE_SECONDS", 0.6)
    monkeypatch.setattr("posthorn_mailer.app.sending_messages._RENEW_SECONDS", 0.2)
    async with Peer({"dot": 2.0}).listening() as peer:
        await office.add_relay(peer.port)
        message_id = await office.accept()
        sending = asyncio.create_task(office.send(message_id))
        while not sending.done():
            await office.container.sending_messages.reconcile()
            await asyncio.sleep(0.05)
        assert (await sending)["status"] == "sent"


async def test_an_outage_of_the_relay_uses_up_time_but_the_message_goes_out_in_the_end(
    office: Office, smtp_server: RecordingSmtpServer
) -> None:
    await office.add_relay(smtp_server.port)
    smtp_server.stop()
    message_id = await office.accept()
    away = await office.send(message_id)
    assert (away["status"], away["cause"], away["reply"]) == ("deferred", "relay", "The connection was refused")
    async with working(office.container):
        smtp_server.start()
        await until(office, message_id, "sent")
    assert len(smtp_server.messages) == 1


async def test_after_three_days_a_message_is_given_up(office: Office, smtp_server: RecordingSmtpServer) -> None:
    await office.add_relay(smtp_server.port)
    smtp_server.reply_to("ada@example.com", "451 4.3.0 later")
    message_id = await office.accept()
    await office.set(message_id, expires_at=sa.func.now() + sa.func.make_interval(0, 0, 0, 0, 0, 0, 0.01))
    await asyncio.sleep(0.05)
    await office.send(message_id)
    assert (await office.get(message_id))["status"] == "pending", "too late to be opened"
    await office.container.sending_messages.reconcile()
    given_up = await office.get(message_id)
    assert (given_up["status"], given_up["finished_at"] is not None) == ("failed", True)
    assert smtp_server.messages == []


async def test_a_message_whose_relay_is_gone_fails_and_says_so(
    office: Office, smtp_server: RecordingSmtpServer
) -> None:
    relay = await office.add_relay(smtp_server.port)
    message_id = await office.accept()
    assert (await office.client.delete(f"/v1/relays/{relay['id']}", headers=office.headers)).status_code == 204
    failed = await office.send(message_id)
    assert (failed["status"], failed["reply"]) == ("failed", "The organisation has no such relay to send through.")


@pytest.mark.parametrize("current", list(MessageStatus))
async def test_the_database_allows_the_steps_of_the_table_and_no_others(office: Office, current: MessageStatus) -> None:
    await office.add_relay(1)
    new_unit_of_work = office.container.sending_messages._new_unit_of_work
    allowed = set()
    for requested in set(MessageStatus) - {MessageStatus.PENDING}:  # nothing asks for that
        message_id, attempt_id = await office.accept(), new_id()
        due = past(1) if current in {MessageStatus.PENDING, MessageStatus.DEFERRED} else None
        lease = past(1) if current is MessageStatus.SENDING else None
        await office.set(message_id, status=current, attempt_id=attempt_id, next_attempt_at=due, lease_until=lease)
        await _request(new_unit_of_work, office, message_id, attempt_id, requested)
        if (await office.get(message_id))["status"] == requested != current:
            allowed.add(requested)
    assert allowed == TRANSITIONS[current]


async def _request(
    new_unit_of_work: Any, office: Office, message_id: UUID, attempt_id: UUID, requested: MessageStatus
) -> None:
    """Do what would bring a message to a status."""
    if requested is MessageStatus.SUPPRESSED:
        body = {"emails": ["ada@example.com"], "reason": "complaint"}
        await office.client.post("/v1/suppressions", json=body, headers=office.headers)
    async with new_unit_of_work() as uow:
        if requested in {MessageStatus.SENDING, MessageStatus.SUPPRESSED}:
            await uow.messages.open(message_id, attempt_id, 60)
        else:
            delay = 1.0 if requested is MessageStatus.DEFERRED else None
            attempt = replied(Stage.RCPT, 450, "x")
            closing = MessageClosing(requested, attempt, None, counted=True, delay_seconds=delay, suppress=False)
            await uow.messages.close(message_id, attempt_id, closing)
            if requested is MessageStatus.FAILED:
                await uow.messages.fail(message_id, "x")
    if requested is MessageStatus.SUPPRESSED:
        await office.client.delete("/v1/suppressions/ada%40example.com", headers=office.headers)


# Workers.


async def test_a_worker_hears_the_bell(office: Office, smtp_server: RecordingSmtpServer) -> None:
    await office.add_relay(smtp_server.port)
    async with working(office.container):
        ids = [await office.accept(f"reader{number}@example.com") for number in range(20)]
        await eventually(lambda: len(smtp_server.messages) == 20)
        for message_id in ids:
            await until(office, message_id, "sent")
    assert len({message.envelope_to for message in smtp_server.messages}) == 20


async def test_a_message_is_sent_although_redis_lost_the_bell(office: Office, smtp_server: RecordingSmtpServer) -> None:
    await office.add_relay(smtp_server.port)
    message_id = await office.accept()
    await office.container.message_jobs._queue.obliterate(True)
    await office.set(message_id, next_attempt_at=past(10))
    async with working(office.container):
        await until(office, message_id, "sent")


async def test_a_message_is_taken_in_and_sent_while_redis_is_away(
    settings: Settings, mint: TokenMint, smtp_server: RecordingSmtpServer
) -> None:
    away = settings.model_copy(update={"redis_url": SecretStr(f"redis://127.0.0.1:{free_ports(1)[0]}/0")})
    async with bootstrap(away) as opened:
        container = replace(opened, identity=mint.identity("mailer"))
        transport = httpx.ASGITransport(build_app(container))
        async with httpx.AsyncClient(transport=transport, base_url="http://mailer") as client:
            office = Office(container, client, mint)
            await office.add_relay(smtp_server.port, messages_per_second=50)
            message_id = await office.accept()
            await office.set(message_id, next_attempt_at=past(10))
            assert await container.sending_messages.send_overdue(100) >= 1
            assert (await office.get(message_id))["status"] == "sent"
