"""Mail from sending domains is signed, as it arrives at a real SMTP server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio

from posthorn_common.secretbox import SecretBox
from posthorn_common.testing import TokenMint
from posthorn_local.testing.smtp import RecordingSmtpServer
from posthorn_mailer.adapters.db.signing_keys import SqlSigningKeys
from posthorn_mailer.app.ports_transport import OutgoingMessage
from posthorn_mailer.bootstrap import Container
from posthorn_mailer.settings import Settings

from .dns_server import DnsServer, dns_server
from .domain_support import KEY, NAME, Owner, Verified
from .support import Office, eventually, members

pytestmark = pytest.mark.integration


@pytest_asyncio.fixture
async def dns() -> AsyncGenerator[DnsServer]:
    async with dns_server() as server:
        yield server


@pytest.fixture
def settings(settings: Settings, dns: DnsServer) -> Settings:
    return settings.model_copy(update={"dns_server": f"127.0.0.1:{dns.port}"})


@pytest.fixture
def owner(client: httpx.AsyncClient, mint: TokenMint, dns: DnsServer) -> Owner:
    return Owner(client, mint, dns, uuid4())


async def _campaign(office: Office, smtp_server: RecordingSmtpServer, **changes: Any) -> bytes:
    """Send a campaign to two readers and return what the first was sent."""
    smtp_server.messages.clear()
    audience = members(2)
    campaign_id = office.add_campaign(audience, **changes)
    await office.start(campaign_id)
    await office.container.planning.plan_send(campaign_id)
    worker, _gate = office.worker()

    async def sent() -> bool:
        await worker.send_all_due()
        return await office.counts(campaign_id) == {"sent": 2}

    await eventually(sent)
    (message,) = smtp_server.messages_to(audience[0].email)
    return message.raw


@pytest.fixture
def office_owner(office: Office, client: httpx.AsyncClient, mint: TokenMint, dns: DnsServer) -> Owner:
    return Owner(client, mint, dns, office.organisation_id)


async def test_campaigns_are_signed_while_the_keys_are_published(
    office: Office, office_owner: Owner, smtp_server: RecordingSmtpServer, verified_dkim: Verified
) -> None:
    await office.add_relay(smtp_server.port)
    domain = await office_owner.create()
    assert b"DKIM-Signature" not in await _campaign(office, smtp_server)
    office_owner.publish(domain, "dkim")
    await office_owner.act(domain, "verify")
    raw = await _campaign(office, smtp_server, subject="Grüße, {{ contact.first_name }}", text=".\n\n.dots  \n" * 30)
    assert raw.count(b"DKIM-Signature:") == 2
    assert verified_dkim(raw, office_owner.records, 2) == [True, True]
    assert verified_dkim(raw.replace(b"Unsubscribe: <", b"Unsubscribe: <x"), office_owner.records, 2) == [False, False]
    assert b"DKIM-Signature" not in await _campaign(office, smtp_server, from_email="post@other.example")
    assert b"DKIM-Signature" not in await _campaign(office, smtp_server, from_email=f"post@news.{NAME}")
    office_owner.dns.zone.clear()
    await office_owner.act(domain, "verify")
    assert b"DKIM-Signature" not in await _campaign(office, smtp_server)


async def test_the_newest_published_key_of_each_algorithm_signs(
    office: Office, office_owner: Owner, smtp_server: RecordingSmtpServer, verified_dkim: Verified
) -> None:
    await office.add_relay(smtp_server.port)
    domain = await office_owner.verified()
    rotated = await office_owner.act(domain, "rotate-keys")
    raw = await _campaign(office, smtp_server)
    assert all(key["selector"].encode() in raw for key in domain["keys"])
    new_rsa = next(record for record in rotated["records"] if record["key_id"] == rotated["keys"][2]["id"])
    office_owner.dns.zone[new_rsa["name"]] = [new_rsa["strings"]]
    await office_owner.act(domain, "verify")
    raw = await _campaign(office, smtp_server)
    signing = [rotated["keys"][index]["selector"].encode() in raw for index in range(4)]
    assert signing == [False, True, True, False]
    assert verified_dkim(raw, office_owner.records, 2) == [True, True]


async def test_mail_of_one_organisation_is_not_signed_with_anothers_keys(
    office: Office, client: httpx.AsyncClient, mint: TokenMint, dns: DnsServer, smtp_server: RecordingSmtpServer
) -> None:
    await office.add_relay(smtp_server.port)
    await Owner(client, mint, dns, uuid4()).verified()
    assert b"DKIM-Signature" not in await _campaign(office, smtp_server)


@pytest.mark.parametrize(("sender", "name"), [(f"post@{NAME}", NAME), ("post@bücher.example", "xn--bcher-kva.example")])
async def test_single_messages_are_signed(
    owner: Owner,
    container: Container,
    mint: TokenMint,
    smtp_server: RecordingSmtpServer,
    verified_dkim: Verified,
    sender: str,
    name: str,
) -> None:
    await owner.verified(name)
    relay = {"name": "Main", "host": "127.0.0.1", "port": smtp_server.port, "tls": "none"}
    assert (await owner.client.post("/v1/relays", json=relay, headers=owner.headers)).status_code == 201
    body = {
        "organisation_id": str(owner.id),
        "idempotency_key": str(uuid4()),
        "purpose": "test_send",
        "to_email": "ada@example.com",
        "from_email": sender,
        "subject": "Grüße",
        "text": "Dear  Ada \n\n.\n",
        "html": "<p>Dear Ada</p>",
    }
    service = {"Authorization": f"Bearer {mint.service_token('campaigns', 'mailer')}"}
    accepted = await owner.client.post("/internal/messages", json=body, headers=service)
    await container.sending_messages.send(UUID(accepted.json()["message_id"]))
    (message,) = smtp_server.messages_to("ada@example.com")
    assert message.raw.count(b"DKIM-Signature:") == 2
    assert verified_dkim(message.raw, owner.records, 2) == [True, True]


async def test_a_key_that_cannot_be_opened_does_not_keep_mail_back(owner: Owner, container: Container) -> None:
    await owner.verified()
    message = OutgoingMessage(f"post@{NAME}", "ada@example.com", b"From: x\r\n\r\nHello\r\n")
    good = await SqlSigningKeys(container.engine, SecretBox(KEY)).of(owner.id)
    assert good.signed(message).content.count(b"DKIM-Signature:") == 2
    bad = await SqlSigningKeys(container.engine, SecretBox(b"x" * 32)).of(owner.id)
    assert bad.signed(message) == message
