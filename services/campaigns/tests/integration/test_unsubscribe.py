"""The unsubscribe page and one-click unsubscription, as recipients and their mail programs use them."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any
from uuid import UUID

import httpx
import pytest

from posthorn_campaigns.bootstrap import Container
from posthorn_common.clock import new_id
from posthorn_common.settings import secret_bytes
from posthorn_contracts.mailer.v1 import (
    ContactSuppressed,
    ContactSuppressedData,
    UnsubscribeRequested,
    UnsubscribeRequestedData,
)
from posthorn_contracts.recipient_tokens import RecipientToken

from .campaign_support import Office, events_about, told

pytestmark = pytest.mark.integration


@pytest.fixture
def office(client: httpx.AsyncClient, headers: Any, organisation_id: Any) -> Office:
    return Office(client, headers, organisation_id)


CAMPAIGN_ID = UUID("01890000-0000-7000-8000-000000000001")


def link(container: Container, contact_id: str) -> str:
    token = RecipientToken(campaign_id=CAMPAIGN_ID, contact_id=UUID(contact_id))
    return "/u/" + token.sign(secret_bytes(container.settings.link_secret))


async def _status(office: Office, contact: Any) -> str:
    return str((await office.get(f"/v1/contacts/{contact['id']}"))["status"])


async def test_looking_at_the_page_changes_nothing(office: Office, container: Container) -> None:
    contact = await office.a_contact()
    path = link(container, contact["id"])
    for method in ("GET", "GET", "HEAD"):
        answer = await office.client.request(method, path)
        assert answer.status_code == 200, "programs that check links ask with HEAD"
    assert await _status(office, contact) == "active"
    assert [kind for kind, _ in await events_about(container, contact) if "unsubscribed" in kind] == []


async def test_the_page_works_without_scripts_and_tells_nobody(office: Office, container: Container) -> None:
    contact = await office.a_contact()
    answer = await office.client.get(link(container, contact["id"]))
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "form-action 'self'" in policy
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers
    assert '<html lang="en">' in answer.text
    assert 'name="viewport"' in answer.text
    assert re.search(r'<form method="post">.*<button', answer.text)
    assert not re.search(r"<script|<img|<link|https?://|src=", answer.text)
    assert contact["email"] not in answer.text
    checker = _Balanced()
    checker.feed(answer.text)
    assert checker.open == []


class _Balanced(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in {"meta", "input"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize(
    ("request_body", "method"),
    [
        ({"data": {"List-Unsubscribe": "One-Click"}}, "one_click"),
        ({"files": {"List-Unsubscribe": (None, "One-Click")}}, "one_click"),
        ({"data": {"List-Unsubscribe": "One-Click", "action": "resubscribe"}}, "one_click"),
        ({"data": {"action": "unsubscribe"}}, "page"),
        ({}, "page"),
    ],
)
async def test_a_post_unsubscribes_from_everything_once(
    office: Office, container: Container, request_body: Any, method: str
) -> None:
    contact = await office.a_contact(await office.a_list())
    path = link(container, contact["id"])
    for _ in range(3):
        answer = await office.client.post(path, **request_body)
        assert answer.status_code == 200
        assert "You are unsubscribed" in answer.text
    assert await _status(office, contact) == "unsubscribed"
    events = [data for kind, data in await events_about(container, contact) if kind == "contact.unsubscribed"]
    assert events == [
        {
            "contact_id": contact["id"],
            "list_ids": None,
            "campaign_id": str(CAMPAIGN_ID),
            "method": method,
            "withdrawn_from": [],
        }
    ]


async def test_whoever_pressed_by_mistake_can_take_it_back(office: Office, container: Container) -> None:
    contact = await office.a_contact()
    path = link(container, contact["id"])
    done = await office.client.post(path, data={"action": "unsubscribe"})
    assert 'value="resubscribe"' in done.text
    for _ in range(2):
        assert (await office.client.post(path, data={"action": "resubscribe"})).status_code == 200
    assert await _status(office, contact) == "active"
    kinds = [kind for kind, _ in await events_about(container, contact)]
    assert kinds.count("contact.resubscribed") == 1


async def test_who_has_complained_is_not_subscribed_again(office: Office, container: Container) -> None:
    contact = await office.a_contact()
    data = ContactSuppressedData(contact_id=UUID(contact["id"]), reason="complaint")
    await container.following_sends.on_contact_suppressed(told(ContactSuppressed, office, contact["id"], data))
    await office.client.post(link(container, contact["id"]), data={"action": "resubscribe"})
    assert await _status(office, contact) == "complained"


def _tampered(token: str) -> str:
    middle = len(token) // 2
    return token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]


@pytest.mark.parametrize("spoil", [_tampered, lambda token: token[:-4], lambda token: "x" * 4000, lambda token: "é"])
async def test_a_link_that_is_not_ours_does_nothing(office: Office, container: Container, spoil: Any) -> None:
    contact = await office.a_contact()
    path = "/u/" + spoil(link(container, contact["id"]).removeprefix("/u/"))
    page = await office.client.get(path)
    assert (page.status_code, "This link does not work" in page.text) == (404, True)
    for body in ({"List-Unsubscribe": "One-Click"}, {"action": "resubscribe"}):
        assert (await office.client.post(path, data=body)).status_code == 400
    assert await _status(office, contact) == "active"


async def test_a_contact_that_has_been_erased_meanwhile_is_told_the_same(office: Office, container: Container) -> None:
    path = link(container, str(new_id()))
    assert (await office.client.get(path)).status_code == 200
    assert (await office.client.post(path, data={"List-Unsubscribe": "One-Click"})).status_code == 200


async def test_the_link_in_a_test_message_explains_itself(office: Office) -> None:
    assert "This was a test" in (await office.client.get("/u/preview")).text
    assert (await office.client.post("/u/preview", data={"action": "unsubscribe"})).status_code == 200


async def test_a_body_that_is_no_form_is_refused_or_read_as_a_click(office: Office, container: Container) -> None:
    contact = await office.a_contact()
    path = link(container, contact["id"])
    many = "&".join(f"a{number}=1" for number in range(1000))
    answer = await office.client.post(path, content=many, headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert answer.status_code == 400
    assert await _status(office, contact) == "active"


async def test_a_mail_that_the_mailer_has_taken_unsubscribes_as_the_link_does(
    office: Office, container: Container, sign_in: Any
) -> None:
    contact = await office.a_contact()
    data = UnsubscribeRequestedData(contact_id=UUID(contact["id"]), campaign_id=CAMPAIGN_ID)
    stranger = Office(office.client, sign_in(), new_id())
    await container.unsubscribing.on_unsubscribe_requested(told(UnsubscribeRequested, stranger, contact["id"], data))
    assert await _status(office, contact) == "active", "another organisation's event"
    event = told(UnsubscribeRequested, office, contact["id"], data)
    for _ in range(2):  # delivered twice
        await container.unsubscribing.on_unsubscribe_requested(event)
    assert await _status(office, contact) == "unsubscribed"
    events = [data for kind, data in await events_about(container, contact) if kind == "contact.unsubscribed"]
    assert [(data["method"], data["campaign_id"], data["list_ids"]) for data in events] == [
        ("mail", str(CAMPAIGN_ID), None)
    ]
