"""Single messages: taken in durably, and what arrives and is told."""

from __future__ import annotations

import asyncio
from email.utils import parsedate_to_datetime
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio
import sqlalchemy as sa

from posthorn_common.testing import TokenMint
from posthorn_contracts.permissions import ROLE_PERMISSIONS, Role
from posthorn_local.testing.smtp import RecordingSmtpServer
from posthorn_mailer.adapters.db.tables import messages
from posthorn_mailer.bootstrap import Container
from posthorn_mailer.entrypoints.http.app import build_app
from posthorn_mailer.settings import Settings

from .message_support import Office, quick, until, working
from .support import eventually

pytestmark = pytest.mark.integration


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return quick(settings)


@pytest_asyncio.fixture
async def office(container: Container, client: httpx.AsyncClient, mint: TokenMint) -> Office:
    return Office(container, client, mint)


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
    async with working(office.container):
        await eventually(lambda: len(smtp_server.messages) == 1)
        last = await until(office, message_id, "sent")
    assert last["attempts"] == 3


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
