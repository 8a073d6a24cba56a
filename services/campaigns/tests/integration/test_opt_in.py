"""Subscribing by a public form, with and without confirmation."""

from __future__ import annotations

import asyncio
import re
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import redis.asyncio as redis
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from posthorn_campaigns.bootstrap import Container
from posthorn_campaigns.domain.opt_in import InvalidConfirmationToken, confirmation_of, confirmation_token
from posthorn_common.clock import new_id
from posthorn_common.errors import TransientError
from posthorn_contracts.mailer.internal_v1 import TransactionalMessage

from .campaign_support import Office, events_about

pytestmark = pytest.mark.integration
HERE = {"X-Forwarded-For": "203.0.113.9"}


class Postbox:
    """Stands at the mailer's port: keeps what it is given, unless it is closed."""

    def __init__(self) -> None:
        self.messages: list[TransactionalMessage] = []
        self.is_closed = False

    async def send(self, message: TransactionalMessage) -> None:
        if self.is_closed:
            raise TransientError("the mailer is away")
        self.messages.append(message)

    def link_to(self, email: str) -> str:
        [message] = [message for message in self.messages if message.to_email == email]
        found = re.search(r"(/confirm/\S+)", message.text)
        assert found, message.text
        return found[1]


@pytest.fixture
def postbox(container: Container) -> Postbox:
    postbox = Postbox()
    container.subscribing._mailer = postbox
    return postbox


@pytest.fixture
def office(client: httpx.AsyncClient, headers: dict[str, str], organisation_id: Any) -> Office:
    return Office(client, headers, organisation_id)


async def a_public_list(office: Office, opt_in: str = "double") -> str:
    return str((await office.post("/v1/lists", {"name": "Readers", "opt_in": opt_in, "is_public": True}))["id"])


async def subscribe(office: Office, list_id: str, email: str, **headers: str) -> httpx.Response:
    answer = await office.client.post(f"/s/{list_id}", data={"email": email}, headers={**HERE, **headers})
    assert answer.status_code == 200, answer.text
    return answer


async def on_list(office: Office, list_id: str) -> list[str]:
    return [one["email"] for one in (await office.get(f"/v1/contacts?list_id={list_id}"))["items"]]


async def the_contact(office: Office, email: str) -> Any:
    [found] = (await office.get(f"/v1/contacts?search={email}"))["items"]
    return found


async def history(office: Office, contact: Any) -> list[tuple[str, str, str | None]]:
    items = (await office.get(f"/v1/contacts/{contact['id']}/subscription-history"))["items"]
    return [(item["status"], item["method"], item["remote_address"]) for item in items]


async def send_due(container: Container) -> None:
    await container.subscribing.send_due_mails()


async def test_only_a_click_puts_an_address_on_a_list_with_double_opt_in(
    office: Office, container: Container, postbox: Postbox, service_headers: Any
) -> None:
    list_id, email = await a_public_list(office), f"{uuid4()}@example.com"
    assert 'name="email"' in (await office.client.get(f"/s/{list_id}")).text
    await subscribe(office, list_id, email)
    contact = await the_contact(office, email)
    assert (await on_list(office, list_id), contact["list_ids"]) == ([], [])
    everybody = await office.post("/v1/segments", {"name": "x", "rule": {"field": "email", "is": email}})
    campaign = await office.a_campaign(segment_ids=[everybody["id"]])
    change = {"list_ids": []}
    await office.client.patch(f"/v1/campaigns/{campaign['id']}", json=change, headers=office.headers)
    await office.act(campaign, "send")
    await container.starting_campaigns.start_due_campaigns()
    path = f"/internal/campaigns/{campaign['id']}/audience"
    assert (await office.client.get(path, headers=service_headers)).json()["members"] == []
    rule = {"list": list_id, "status": "unconfirmed"}
    assert (await office.post("/v1/segments/preview", {"rule": rule}, status=200))["contacts"] == 1
    await send_due(container)
    link = postbox.link_to(email)
    for _ in range(2):
        page = await office.client.get(link)
        assert (page.status_code, 'value="confirm"' in page.text) == (200, True)
    assert await on_list(office, list_id) == [], "looking at the page changes nothing"
    for _ in range(2):
        assert (await office.client.post(link, headers=HERE)).status_code == 200
    assert await on_list(office, list_id) == [email]
    assert await history(office, contact) == [
        ("subscribed", "confirmation", "203.0.113.9"),
        ("unconfirmed", "form", "203.0.113.9"),
    ]
    assert len((await office.client.get(path, headers=service_headers)).json()["members"]) == 1
    query = sa.text(
        "SELECT requested_from, confirmed_from, confirmed_at >= requested_at FROM confirmations WHERE list_id = :id"
    )
    async with container.engine.connect() as connection:
        proof = (await connection.execute(query, {"id": UUID(list_id)})).one()
    assert tuple(proof) == ("203.0.113.9", "203.0.113.9", True)


async def test_a_used_link_does_not_undo_a_later_unsubscription(
    office: Office, container: Container, postbox: Postbox
) -> None:
    list_id, email = await a_public_list(office), f"{uuid4()}@example.com"
    await subscribe(office, list_id, email)
    await send_due(container)
    await office.client.post(postbox.link_to(email))
    contact = await the_contact(office, email)
    await office.client.delete(f"/v1/lists/{list_id}/contacts/{contact['id']}", headers=office.headers)
    assert (await office.client.post(postbox.link_to(email))).status_code == 200
    assert await on_list(office, list_id) == []


async def test_single_opt_in_takes_newcomers_at_once_and_asks_those_who_had_left(
    office: Office, container: Container, postbox: Postbox
) -> None:
    list_id, email = await a_public_list(office, "single"), f"{uuid4()}@example.com"
    await subscribe(office, list_id, email)
    assert await on_list(office, list_id) == [email]
    contact = await the_contact(office, email)
    await office.post(f"/v1/contacts/{contact['id']}/actions/unsubscribe", status=200)
    await subscribe(office, list_id, email)
    assert (await the_contact(office, email))["status"] == "unsubscribed"
    await send_due(container)
    await office.client.post(postbox.link_to(email))
    assert (await the_contact(office, email))["status"] == "active"
    kinds = [kind for kind, _ in await events_about(container, contact)]
    assert kinds == ["contact.unsubscribed", "contact.resubscribed"]


async def test_the_answer_tells_nothing_about_who_is_known(
    office: Office, container: Container, postbox: Postbox
) -> None:
    list_id, known, unknown = await a_public_list(office), f"{uuid4()}@example.com", f"{uuid4()}@example.com"
    await office.a_contact(list_id, email=known)
    pages = [(await subscribe(office, list_id, email)).text for email in (known, unknown)]
    assert pages[0] == pages[1]
    for email in (known, unknown):
        answer = await office.client.post(f"/s/{list_id}", json={"email": email}, headers=HERE)
        assert (answer.status_code, answer.json()) == (202, {"status": "accepted"})
    await send_due(container)
    assert [message.to_email for message in postbox.messages if message.to_email in {known, unknown}] == [unknown]


async def test_the_mail_waits_while_the_mailer_is_away_and_is_sent_once(
    office: Office, container: Container, postbox: Postbox
) -> None:
    list_id, email = await a_public_list(office), f"{uuid4()}@example.com"
    postbox.is_closed = True
    await subscribe(office, list_id, email)
    await send_due(container)
    postbox.is_closed = False
    async with container.engine.begin() as connection:
        due = sa.text("UPDATE confirmations SET next_attempt_at = now() WHERE next_attempt_at IS NOT NULL")
        await connection.execute(due)
    await asyncio.gather(*(container.subscribing.send_due_mails() for _ in range(3)))
    await send_due(container)
    assert [message.to_email for message in postbox.messages].count(email) == 1


async def test_asking_again_and_again_sends_one_mail(office: Office, container: Container, postbox: Postbox) -> None:
    list_id, email = await a_public_list(office), f"{uuid4()}@example.com"
    await asyncio.gather(*(subscribe(office, list_id, email) for _ in range(4)))
    await send_due(container)
    assert [message.to_email for message in postbox.messages].count(email) == 1


async def test_an_expired_link_says_so_and_changes_nothing(
    office: Office, container: Container, postbox: Postbox
) -> None:
    list_id, email = await a_public_list(office), f"{uuid4()}@example.com"
    await subscribe(office, list_id, email)
    await send_due(container)
    link = postbox.link_to(email)
    async with container.engine.begin() as connection:
        expire = sa.text("UPDATE confirmations SET expires_at = now() WHERE list_id = :id")
        await connection.execute(expire, {"id": UUID(list_id)})
    assert [(await office.client.request(method, link)).status_code for method in ("GET", "POST")] == [410, 410]
    assert await on_list(office, list_id) == []


async def test_a_link_that_is_not_ours_does_nothing(office: Office) -> None:
    for token in ("x", "é", confirmation_token(new_id(), b"another secret of 32 bytes, at least")):
        assert (await office.client.get(f"/confirm/{token}")).status_code == 404
        assert (await office.client.post(f"/confirm/{token}")).status_code == 400


async def test_who_has_complained_is_left_in_peace(office: Office, container: Container, postbox: Postbox) -> None:
    list_id = await a_public_list(office)
    contact = await office.a_contact()
    async with container.engine.begin() as connection:
        change = sa.text("UPDATE contacts SET status = 'complained' WHERE id = :id")
        await connection.execute(change, {"id": UUID(contact["id"])})
    await subscribe(office, list_id, contact["email"])
    await send_due(container)
    assert contact["email"] not in [message.to_email for message in postbox.messages]


async def test_a_list_without_a_public_form_has_none(office: Office) -> None:
    for list_id in (await office.a_list(), str(uuid4())):
        assert (await office.client.get(f"/s/{list_id}")).status_code == 404
        assert (await office.client.post(f"/s/{list_id}", data={"email": "a@example.com"})).status_code == 404
        answer = await office.client.post(f"/s/{list_id}", json={"email": "a@example.com"})
        assert (answer.status_code, answer.json()["code"]) == (404, "list_not_found")


async def test_an_address_that_is_none_is_asked_for_again(office: Office) -> None:
    list_id = await a_public_list(office)
    page = await office.client.post(f"/s/{list_id}", data={"email": "nobody"})
    assert (page.status_code, "look at your address" in page.text) == (422, True)
    for body in ({}, {"email": "nobody"}, {"email": "a@example.com", "status": "subscribed"}):
        assert (await office.client.post(f"/s/{list_id}", json=body)).status_code == 422


async def test_forms_are_counted_by_address_and_by_list(office: Office, container: Container) -> None:
    list_id = await a_public_list(office)
    throttle = container.subscribing._throttle
    throttle._per_address = 2
    source = {"X-Forwarded-For": f"2001:db8:{uuid4().hex[:4]}:{uuid4().hex[:4]}::1"}
    statuses = [
        (await office.client.post(f"/s/{list_id}", json={"email": f"{n}@example.com"}, headers=source)).status_code
        for n in range(3)
    ]
    assert statuses == [202, 202, 429]
    page = await office.client.post(f"/s/{list_id}", data={"email": "x@example.com"}, headers=source)
    assert (page.status_code, "too often" in page.text) == (429, True)
    throttle._per_address, throttle._per_list = 1000, 2
    elsewhere = {"X-Forwarded-For": "198.51.100.7"}
    answer = await office.client.post(f"/s/{list_id}", json={"email": "y@example.com"}, headers=elsewhere)
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_subscribers")


async def test_forms_are_taken_while_redis_is_away(office: Office, container: Container, postbox: Postbox) -> None:
    list_id = await a_public_list(office)
    container.subscribing._throttle._client = redis.Redis(host="127.0.0.1", port=1)
    await subscribe(office, list_id, f"{uuid4()}@example.com")


@given(st.uuids(), st.binary(min_size=32, max_size=40))
def test_a_token_names_its_confirmation_and_no_other(confirmation_id: UUID, secret: bytes) -> None:
    token = confirmation_token(confirmation_id, secret)
    assert confirmation_of(token, secret) == confirmation_id
    with pytest.raises(InvalidConfirmationToken):
        confirmation_of(token, secret + b"x")
