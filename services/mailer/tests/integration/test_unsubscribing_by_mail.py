"""Unsubscribing by mail (RFC 2369): offered by the sending domain's setting, taken in through the HTTP route."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote
from uuid import UUID

import httpx
import pytest
import pytest_asyncio

from posthorn_common.clock import new_id
from posthorn_common.settings import secret_bytes
from posthorn_common.testing import TokenMint
from posthorn_contracts.mailer.v1 import UnsubscribeRequested
from posthorn_contracts.recipient_tokens import RecipientToken
from posthorn_mailer.app.metrics import FEEDBACK
from posthorn_mailer.entrypoints.http.app import build_app

from .support import Office, members

pytestmark = pytest.mark.integration
ADDRESS = "unsubscribe@bounces.posthorn.example"


class Desk:
    """An administrator at work."""

    def __init__(self, office: Office, mint: TokenMint, http: httpx.AsyncClient) -> None:
        self.office = office
        self.mint = mint
        self.http = http

    def headers(self, organisation_id: UUID | None = None) -> dict[str, str]:
        scopes = {"relays:read", "relays:write", "suppressions:write"}
        return {
            "Authorization": f"Bearer {self.mint.access_token(organisation_id or self.office.organisation_id, scopes)}"
        }

    async def change(self, domain_id: str, email: Any, *, status: int = 200, **options: Any) -> Any:
        answer = await self.http.patch(
            f"/v1/domains/{domain_id}", json={"unsubscribe_email": email}, headers=self.headers(**options)
        )
        assert answer.status_code == status, answer.text
        return answer.json()

    async def a_domain(self, name: str = "posthorn.example") -> str:
        answer = await self.http.post("/v1/domains", json={"domain": name}, headers=self.headers())
        assert answer.json()["unsubscribe_email"] is None
        return str(answer.json()["id"])

    async def bring(self, subject: str, *, status: int = 200, **options: Any) -> Any:
        raw = f"From: reader@example.com\r\nTo: {ADDRESS}\r\nSubject: {subject}\r\n\r\n".encode()
        headers = {**self.headers(**options), "Content-Type": "message/rfc822"}
        answer = await self.http.post("/v1/inbound/mail", content=raw, headers=headers)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def told(self) -> list[tuple[UUID, UUID]]:
        events = await self.office.events(UnsubscribeRequested)
        return [(event.data.campaign_id, event.data.contact_id) for event in events]


@pytest_asyncio.fixture
async def desk(office: Office, mint: TokenMint) -> Any:
    transport = httpx.ASGITransport(build_app(office.container))
    async with httpx.AsyncClient(transport=transport, base_url="http://mailer") as http:
        yield Desk(office, mint, http)


async def test_a_recipient_answers_what_the_message_offers(desk: Desk, smtp_server: Any) -> None:
    domain_id = await desk.a_domain()
    assert (await desk.change(domain_id, "Unsubscribe@Bounces.Posthorn.Example"))["unsubscribe_email"] == (
        "Unsubscribe@bounces.posthorn.example".lower()
    )
    audience = members(1)
    campaign_id = await desk.office.plan(audience, port=smtp_server.port)
    await desk.office.send_all()
    (message,) = smtp_server.messages
    offered = message.message["List-Unsubscribe"]
    mail = offered.rpartition("<mailto:")[2].rstrip(">")
    address, _, subject = mail.partition("?subject=")
    assert address == ADDRESS
    answer = await desk.bring(unquote(subject))
    contact_id = audience[0].contact_id
    assert answer == {
        "type": "unsubscribe",
        "result": "recorded",
        "campaign_id": str(campaign_id),
        "contact_id": str(contact_id),
    }
    assert await desk.told() == [(campaign_id, contact_id)]


async def test_without_the_setting_or_from_another_domain_nothing_is_offered(desk: Desk, smtp_server: Any) -> None:
    other = await desk.a_domain("other.example")
    await desk.change(other, ADDRESS)
    domain_id = await desk.a_domain()
    await desk.change(domain_id, ADDRESS)
    assert (await desk.change(domain_id, None))["unsubscribe_email"] is None
    await desk.office.plan(members(1), port=smtp_server.port)
    await desk.office.send_all()
    (message,) = smtp_server.messages
    assert "mailto:" not in message.message["List-Unsubscribe"]
    assert message.message["List-Unsubscribe"].startswith("<http")


async def test_tokens_that_are_not_ours_are_counted_and_change_nothing(desk: Desk, smtp_server: Any) -> None:
    audience = members(1)
    campaign_id = await desk.office.plan(audience, port=smtp_server.port)
    secret = secret_bytes(desk.office.container.settings.link_secret)
    good = RecipientToken(campaign_id, audience[0].contact_id).sign(secret)
    counter = FEEDBACK.labels("unsubscribe", "unknown")
    before = counter._value.get()
    bad = [
        "x", good[:-1], good[:-1] + ("A" if good[-1] != "A" else "B"), "A" * 200,
        RecipientToken(campaign_id, audience[0].contact_id).sign(b"another secret of 32 bytes......"),
        RecipientToken(new_id(), audience[0].contact_id).sign(secret),
        RecipientToken(campaign_id, new_id()).sign(secret),
    ]  # fmt: skip
    for token in bad:
        answer = await desk.bring(f"unsubscribe {token}")
        assert (answer["type"], answer["result"], answer["contact_id"]) == ("unsubscribe", "unknown", None)
    # Nor may another organisation answer for our recipients.
    assert (await desk.bring(f"unsubscribe {good}", organisation_id=new_id()))["result"] == "unknown"
    assert counter._value.get() == before + len(bad) + 1
    assert await desk.told() == []
    assert (await desk.bring(f"Re: unsubscribe {good}"))["type"] is None
    assert (await desk.bring(f"unsubscribe {good}"))["result"] == "recorded"


async def test_addresses_that_nobody_could_write_to_are_refused(desk: Desk) -> None:
    domain_id = await desk.a_domain()
    for email in ("nobody", "a@b@c.example", "jürgen@example.com", "x@y.example\r\nBcc: z@example.com", 7):
        assert (await desk.change(domain_id, email, status=422))["code"] == "invalid_request"
    assert (await desk.change(domain_id, ADDRESS, status=404, organisation_id=new_id()))["code"] == "domain_not_found"
    assert (await desk.change(str(new_id()), ADDRESS, status=404))["code"] == "domain_not_found"
