"""Single messages by the API: sent once, by whoever may, with a clear answer to what cannot be sent."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from posthorn_common.testing import TokenMint
from posthorn_contracts.permissions import ROLE_PERMISSIONS, Role
from posthorn_local.testing.smtp import RecordingSmtpServer
from posthorn_mailer.bootstrap import Container

pytestmark = pytest.mark.integration

RECEIPT = {"to_email": "ada@example.com", "subject": "Your receipt", "text": "12 EUR", "html": "<p>12 EUR</p>"}


@pytest.fixture
def organisation_id() -> UUID:
    return uuid4()


def _headers(mint: TokenMint, organisation_id: UUID, role: Role = Role.EDITOR, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {mint.access_token(organisation_id, ROLE_PERMISSIONS[role])}", **more}


@pytest.fixture
def headers(mint: TokenMint, organisation_id: UUID) -> dict[str, str]:
    return _headers(mint, organisation_id)


@pytest.fixture
async def relay(
    client: httpx.AsyncClient, mint: TokenMint, organisation_id: UUID, smtp_server: RecordingSmtpServer
) -> dict[str, Any]:
    body = {
        "name": "Main",
        "host": "127.0.0.1",
        "port": smtp_server.port,
        "tls": "none",
        "from_email": "shop@example.org",
    }
    owner = _headers(mint, organisation_id, Role.OWNER)
    answer = await client.post("/v1/relays", json=body, headers=owner)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.usefixtures("relay")
async def test_a_message_is_sent_and_told_of(
    container: Container, client: httpx.AsyncClient, headers: dict[str, str], smtp_server: RecordingSmtpServer
) -> None:
    answer = await client.post("/v1/messages", json={**RECEIPT, "from_name": "The Shop"}, headers=headers)
    assert answer.status_code == 202, answer.text
    told = answer.json()
    assert (told["purpose"], told["status"], told["to_email"]) == ("transactional", "pending", "ada@example.com")
    await container.sending_messages.send(UUID(told["id"]))
    shown = (await client.get(answer.headers["Location"], headers=headers)).json()
    assert (shown["id"], shown["status"]) == (told["id"], "sent")
    (received,) = smtp_server.messages
    assert received.envelope_to == ("ada@example.com",)
    assert received.message["From"] == "The Shop <shop@example.org>"
    assert [part.get_content().strip() for part in received.message.iter_parts()] == ["12 EUR", "<p>12 EUR</p>"]


@pytest.mark.usefixtures("relay")
async def test_with_a_key_it_is_sent_once(
    client: httpx.AsyncClient, mint: TokenMint, organisation_id: UUID, headers: dict[str, str]
) -> None:
    keyed = {**headers, "Idempotency-Key": "order-17"}
    answers = await asyncio.gather(*(client.post("/v1/messages", json=RECEIPT, headers=keyed) for _ in range(5)))
    assert len({answer.json()["id"] for answer in answers}) == 1
    other = await client.post("/v1/messages", json={**RECEIPT, "text": "13 EUR"}, headers=keyed)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    somebody_else = _headers(mint, organisation_id) | {"Idempotency-Key": "order-17"}
    assert (await client.post("/v1/messages", json=RECEIPT, headers=somebody_else)).json()["id"] != answers[0].json()[
        "id"
    ]


@pytest.mark.usefixtures("relay")
async def test_without_a_key_each_request_is_a_message(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    first, second = [(await client.post("/v1/messages", json=RECEIPT, headers=headers)).json()["id"] for _ in range(2)]
    assert first != second


@pytest.mark.usefixtures("relay")
async def test_an_address_that_has_bounced_is_not_tried_again(
    container: Container, client: httpx.AsyncClient, mint: TokenMint, organisation_id: UUID, headers: dict[str, str]
) -> None:
    suppressed = {"emails": ["ada@example.com"], "reason": "hard_bounce"}
    owner = _headers(mint, organisation_id, Role.OWNER)
    assert (await client.post("/v1/suppressions", json=suppressed, headers=owner)).status_code == 201
    message = (
        await client.post("/v1/messages", json={**RECEIPT, "to_email": "ada@example.com"}, headers=headers)
    ).json()
    await container.sending_messages.send(UUID(message["id"]))
    assert (await client.get(f"/v1/messages/{message['id']}", headers=headers)).json()["status"] == "suppressed"


async def test_without_a_relay_nothing_is_taken_in(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    answer = await client.post("/v1/messages", json=RECEIPT, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "no_relay")
    assert (await client.get("/v1/messages", headers=headers)).json()["items"] == []


@pytest.mark.usefixtures("relay")
async def test_a_relay_of_others_is_none(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    answer = await client.post("/v1/messages", json={**RECEIPT, "relay_id": str(uuid4())}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "no_relay")


@pytest.mark.usefixtures("relay")
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"to_email": "nobody"}, "invalid_request"), ({"to_email": ""}, "invalid_request"),
        ({"subject": ""}, "invalid_request"), ({"subject": "x" * 999}, "invalid_request"),
        ({"text": ""}, "invalid_request"), ({"cc": "b@example.com"}, "invalid_request"),
        ({"subject": "Hello\r\nBcc: v@x.example"}, "invalid_message"), ({"html": "a\u0000b"}, "invalid_message"),
        ({"from_name": "Ada\nBcc: v@x.example"}, "invalid_message"),
    ],
)  # fmt: skip
async def test_what_cannot_be_sent_is_refused(
    client: httpx.AsyncClient, headers: dict[str, str], change: dict[str, str], code: str
) -> None:
    answer = await client.post("/v1/messages", json={**RECEIPT, **change}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text


@pytest.mark.usefixtures("relay")
async def test_viewers_send_nothing(client: httpx.AsyncClient, mint: TokenMint, organisation_id: UUID) -> None:
    viewer = _headers(mint, organisation_id, Role.VIEWER)
    answer = await client.post("/v1/messages", json=RECEIPT, headers=viewer)
    assert (answer.status_code, answer.json()["permission"]) == (403, "messages:send")
