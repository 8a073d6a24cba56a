"""Single messages: taken in durably, sent at most once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio
import sqlalchemy as sa
from pydantic import SecretStr

from posthorn_common.clock import new_id
from posthorn_common.testing import TokenMint
from posthorn_contracts.permissions import ROLE_PERMISSIONS, Role
from posthorn_local.ports import free_ports
from posthorn_local.testing.smtp import RecordingSmtpServer
from posthorn_mailer.adapters.db.tables import messages
from posthorn_mailer.bootstrap import Container, bootstrap
from posthorn_mailer.domain.messages import TRANSITIONS, MessageClosing, MessageStatus
from posthorn_mailer.domain.replies import Stage, replied
from posthorn_mailer.entrypoints.http.app import build_app
from posthorn_mailer.entrypoints.message_worker import run_message_reconciler, run_message_worker
from posthorn_mailer.settings import Settings

from .smtp_peer import Peer
from .support import eventually

pytestmark = pytest.mark.integration


@pytest.fixture
def settings(settings: Settings) -> Settings:
    changes = {"retry_base_seconds": 0.2, "poll_seconds": 0.2, "reconcile_seconds": 0.2}
    return settings.model_copy(update=changes)


class Office:
    """An organisation with a relay."""

    def __init__(self, container: Container, client: httpx.AsyncClient, mint: TokenMint) -> None:
        self.container = container
        self.client = client
        self.id = uuid4()
        self.service = {"Authorization": f"Bearer {mint.service_token('campaigns', 'mailer')}"}
        self.headers = {"Authorization": f"Bearer {mint.access_token(self.id, ROLE_PERMISSIONS[Role.OWNER])}"}

    async def add_relay(self, port: int, **changes: Any) -> dict[str, Any]:
        body = {"name": "Main", "host": "127.0.0.1", "port": port, "tls": "none", "from_email": "post@example.org"}
        answer = await self.client.post("/v1/relays", json={**body, **changes}, headers=self.headers)
        assert answer.status_code == 201, answer.text
        relay: dict[str, Any] = answer.json()
        return relay

    async def post(self, to: str = "ada@example.com", **changes: Any) -> httpx.Response:
        body = {
            "organisation_id": str(self.id),
            "idempotency_key": str(uuid4()),
            "purpose": "test_send",
            "to_email": to,
            "subject": "Hello",
            "text": "Dear Ada",
            **changes,
        }
        return await self.client.post("/internal/messages", json=body, headers=self.service)

    async def accept(self, to: str = "ada@example.com", **changes: Any) -> UUID:
        answer = await self.post(to, **changes)
        assert answer.status_code == 202, answer.text
        return UUID(answer.json()["message_id"])

    async def get(self, message_id: UUID) -> dict[str, Any]:
        answer = await self.client.get(f"/v1/messages/{message_id}", headers=self.headers)
        assert answer.status_code == 200, answer.text
        message: dict[str, Any] = answer.json()
        return message

    async def send(self, message_id: UUID) -> dict[str, Any]:
        await self.container.sending_messages.send(message_id)
        return await self.get(message_id)

    async def set(self, message_id: UUID, **values: Any) -> None:
        async with self.container.engine.begin() as connection:
            await connection.execute(sa.update(messages).where(messages.c.id == message_id).values(values))


@pytest_asyncio.fixture
async def office(container: Container, client: httpx.AsyncClient, mint: TokenMint) -> Office:
    return Office(container, client, mint)


@contextlib.asynccontextmanager
async def _working(container: Container) -> AsyncGenerator[None]:
    stop = asyncio.Event()
    roles = [
        asyncio.create_task(run_message_worker(container, stop)),
        asyncio.create_task(run_message_reconciler(container, stop)),
    ]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*roles)


def _past(seconds: float) -> sa.ColumnElement[Any]:
    return sa.func.now() - sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)


# Taken in.


async def test_a_message_is_stored_before_the_answer_and_shown(
    office: Office, smtp_server: RecordingSmtpServer
) -> None:
    await office.add_relay(smtp_server.port)
    answer = await office.post(html="<p>Dear Ada</p>")
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    shown = await office.get(UUID(answer.json()["message_id"]))
    assert (shown["to_email"], shown["from_email"], shown["status"]) == (
        "ada@example.com",
        "post@example.org",
        "pending",
    )
    assert "html" not in shown
    assert "text" not in shown
    listed = (await office.client.get("/v1/messages", headers=office.headers)).json()["items"]
    assert listed == [shown]


async def test_the_same_key_makes_one_message_however_often_it_comes(
    office: Office, smtp_server: RecordingSmtpServer
) -> None:
    await office.add_relay(smtp_server.port)
    answers = await asyncio.gather(*(office.post(idempotency_key="once") for _ in range(10)))
    assert {answer.status_code for answer in answers} == {202}
    (message_id,) = {answer.json()["message_id"] for answer in answers}
    await office.send(UUID(message_id))
    assert (await office.post(idempotency_key="once")).json() == {"message_id": message_id, "status": "sent"}
    assert len(smtp_server.messages) == 1
    other = await office.post(idempotency_key="once", subject="Something else")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_without_a_relay_or_a_sender_nothing_is_taken_in(
    office: Office, smtp_server: RecordingSmtpServer
) -> None:
    no_relay = await office.post()
    relay = await office.add_relay(smtp_server.port, from_email=None)
    no_sender = await office.post()
    foreign = await office.post(relay_id=str(uuid4()), from_email="post@example.org")
    found = await office.post(relay_id=relay["id"], from_email="post@example.org")
    assert [(answer.status_code, answer.json().get("code")) for answer in (no_relay, no_sender, foreign)] == [
        (422, "no_relay"),
        (422, "no_sender"),
        (422, "no_relay"),
    ]
    assert found.status_code == 202
    assert len((await office.client.get("/v1/messages", headers=office.headers)).json()["items"]) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"to_email": "b@x.example\r\nRCPT TO:<v@x.example>"}, {"to_email": "a@x.example, c@y.example"},
        {"to_email": "nobody"}, {"from_email": "a b@x.example"}, {"reply_to": "<a@x.example> SIZE=1"},
        {"subject": "Hello\r\nBcc: v@x.example"}, {"subject": "a\u2028b"}, {"subject": "a\u0085b"},
        {"subject": "a\u0000b"}, {"subject": "x" * 999}, {"from_name": "Ada\nBcc: v@x.example"},
        {"text": "a\u0000b"}, {"html": "a\u0000b"},
    ],
)  # fmt: skip
async def test_what_cannot_be_sent_safely_is_refused(
    office: Office, smtp_server: RecordingSmtpServer, change: dict[str, str]
) -> None:
    await office.add_relay(smtp_server.port)
    answer = await office.post(**change)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_message")


async def test_only_services_post_and_only_the_organisation_reads(
    office: Office, smtp_server: RecordingSmtpServer, mint: TokenMint
) -> None:
    await office.add_relay(smtp_server.port)
    message_id = await office.accept()
    for headers in ({}, office.headers):
        office.service, kept = headers, office.service
        assert (await office.post()).status_code == 401
        office.service = kept
    stranger = {"Authorization": f"Bearer {mint.access_token(uuid4(), ROLE_PERMISSIONS[Role.OWNER])}"}
    answer = await office.client.get(f"/v1/messages/{message_id}", headers=stranger)
    assert (answer.status_code, answer.json()["code"]) == (404, "message_not_found")
    assert (await office.client.get("/v1/messages", headers=stranger)).json()["items"] == []
    document = build_app(None).openapi()
    assert "/internal/messages" not in document["paths"]


# Sent.


async def test_what_arrives_is_exactly_what_was_asked_for(office: Office, smtp_server: RecordingSmtpServer) -> None:
    await office.add_relay(smtp_server.port)
    message_id = await office.accept(
        from_name='Ada "the Countess" Lovelace, née Byron',
        from_email="ada@bücher.example",
        reply_to="office@example.org",
        subject="Grüße 🎉 " + "very long " * 20 + "end",
        text="Liebe Leserin,\n.\n..zwei Punkte\r\nund\rEnde\n" + "x" * 5000,
        html="<p>Grüße</p>\n.\n",
    )
    sent = await office.send(message_id)
    assert (sent["status"], sent["smtp_code"], sent["reply"], sent["attempts"]) == ("sent", 250, "2.0.0 OK", 1)
    async with office.container.engine.connect() as connection:
        kept = (await connection.execute(sa.select(messages).where(messages.c.id == message_id))).one()
    assert (kept.html, kept.text) == (None, ""), "its content is not kept"
    (recorded,) = smtp_server.messages
    assert (recorded.envelope_from, recorded.envelope_to) == ("ada@xn--bcher-kva.example", ("ada@example.com",))
    message = recorded.message
    assert message["From"].addresses[0].display_name == 'Ada "the Countess" Lovelace, née Byron'
    assert message["From"].addresses[0].addr_spec == "ada@xn--bcher-kva.example"
    assert message["Subject"] == "Grüße 🎉 " + "very long " * 20 + "end"
    assert message["Reply-To"] == "office@example.org"
    assert message["Message-ID"] == f"<{message_id}@xn--bcher-kva.example>"
    assert parsedate_to_datetime(message["Date"]).isoformat() == sent["created_at"].split(".")[0] + "+00:00"
    assert sorted(message.keys()) == sorted(
        [
            "From", "To", "Reply-To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version",
            "Content-Type",
        ]
    )  # fmt: skip
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert html is not None
    assert (
        text.get_content().replace("\r\n", "\n") == "Liebe Leserin,\n.\n..zwei Punkte\nund\nEnde\n" + "x" * 5000 + "\n"
    )
    assert html.get_content().replace("\r\n", "\n") == "<p>Grüße</p>\n.\n"
    assert recorded.raw.isascii()
    assert max(map(len, recorded.raw.split(b"\r\n"))) < 1000


async def test_a_refusal_for_now_is_tried_again_until_it_is_taken(
    office: Office, smtp_server: RecordingSmtpServer
) -> None:
    await office.add_relay(smtp_server.port)
    smtp_server.reply_to("ada@example.com", "451 4.3.0 later", times=2)
    message_id = await office.accept()
    first = await office.send(message_id)
    assert (first["status"], first["attempts"], first["reply"]) == ("deferred", 1, "4.3.0 later")
    assert first["next_attempt_at"] is not None
    async with _working(office.container):
        await eventually(lambda: len(smtp_server.messages) == 1)
        last = await _until(office, message_id, "sent")
    assert last["attempts"] == 3


async def _until(office: Office, message_id: UUID, status: str) -> dict[str, Any]:
    async def check() -> dict[str, Any] | None:
        message = await office.get(message_id)
        return message if message["status"] == status else None

    message: dict[str, Any] = await eventually(check)
    return message


async def test_a_dead_address_bounces_and_the_next_message_to_it_is_not_sent(
    office: Office, smtp_server: RecordingSmtpServer
) -> None:
    await office.add_relay(smtp_server.port)
    smtp_server.reply_to("ada@example.com", "550 5.1.1 no such user", times=1)
    bounced = await office.send(await office.accept())
    assert (bounced["status"], bounced["enhanced_code"], bounced["cause"]) == ("bounced", "5.1.1", "recipient")
    suppressed = await office.send(await office.accept())
    assert (suppressed["status"], suppressed["attempts"]) == ("suppressed", 0)
    assert smtp_server.messages == []
    # Somebody who only left the campaigns still gets mail about their account.
    body = {"emails": ["eve@example.com"], "reason": "unsubscribe"}
    await office.client.post("/v1/suppressions", json=body, headers=office.headers)
    assert (await office.send(await office.accept("eve@example.com")))["status"] == "sent"


async def test_a_policy_refusal_fails_and_suppresses_nobody(office: Office, smtp_server: RecordingSmtpServer) -> None:
    await office.add_relay(smtp_server.port)
    smtp_server.reply_to("ada@example.com", "550 5.7.26 not authenticated", at="DATA", times=1)
    failed = await office.send(await office.accept())
    assert (failed["status"], failed["cause"]) == ("failed", "policy")
    assert (await office.send(await office.accept()))["status"] == "sent"


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
    await office.set(message_id, lease_until=_past(1))
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
    async with _working(office.container):
        smtp_server.start()
        await _until(office, message_id, "sent")
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
        due = _past(1) if current in {MessageStatus.PENDING, MessageStatus.DEFERRED} else None
        lease = _past(1) if current is MessageStatus.SENDING else None
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
    async with _working(office.container):
        ids = [await office.accept(f"reader{number}@example.com") for number in range(20)]
        await eventually(lambda: len(smtp_server.messages) == 20)
        for message_id in ids:
            await _until(office, message_id, "sent")
    assert len({message.envelope_to for message in smtp_server.messages}) == 20


async def test_a_message_is_sent_although_redis_lost_the_bell(office: Office, smtp_server: RecordingSmtpServer) -> None:
    await office.add_relay(smtp_server.port)
    message_id = await office.accept()
    await office.container.message_jobs._queue.obliterate(True)
    await office.set(message_id, next_attempt_at=_past(10))
    async with _working(office.container):
        await _until(office, message_id, "sent")


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
            await office.set(message_id, next_attempt_at=_past(10))
            assert await container.sending_messages.send_overdue(100) >= 1
            assert (await office.get(message_id))["status"] == "sent"
