"""The preference page of recipients."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from posthorn_campaigns.bootstrap import Container
from posthorn_common.clock import new_id
from posthorn_common.settings import secret_bytes
from posthorn_contracts.recipient_tokens import RecipientToken

from .campaign_support import Office, events_about

pytestmark = pytest.mark.integration


@pytest.fixture
def office(client: httpx.AsyncClient, headers: dict[str, str], organisation_id: Any) -> Office:
    return Office(client, headers, organisation_id)


def link(container: Container, contact_id: str) -> str:
    token = RecipientToken(new_id(), UUID(contact_id)).sign(secret_bytes(container.settings.link_secret))
    return f"/preferences/{token}"


async def a_list(office: Office, name: str, **fields: Any) -> str:
    return str((await office.post("/v1/lists", {"name": name, **fields}))["id"])


def checked(page: str) -> list[str]:
    return re.findall(r'value="([^"]+)" checked', page)


async def test_a_recipient_chooses_lists_and_language(office: Office, container: Container) -> None:
    on = await a_list(office, "News & <more>")
    public, secret = await a_list(office, "Public", is_public=True), await a_list(office, "Secret")
    contact = await office.a_contact(on)
    path = link(container, contact["id"])
    page = (await office.client.get(path)).text
    assert checked(page) == [on]
    assert "News &amp; &lt;more&gt;" in page
    assert public in page
    assert secret not in page
    body = {"action": "save", "list": [public, secret, "nonsense"], "locale": "de"}
    for _ in range(2):
        saved = await office.client.post(path, data=body, headers={"X-Forwarded-For": "203.0.113.9"})
        assert (saved.status_code, checked(saved.text)) == (200, [public])
        assert "Saved." in saved.text
    now = await office.get(f"/v1/contacts/{contact['id']}")
    assert (now["list_ids"], now["locale"], now["status"]) == ([public], "de", "active")
    told = [data for kind, data in await events_about(container, contact) if kind == "contact.unsubscribed"]
    assert [(data["list_ids"], data["method"]) for data in told] == [([on], "page")]
    history = (await office.get(f"/v1/contacts/{contact['id']}/subscription-history"))["items"]
    assert {(item["list_id"], item["status"], item["remote_address"]) for item in history[:2]} == {
        (public, "subscribed", "203.0.113.9"),
        (on, "unsubscribed", "203.0.113.9"),
    }


async def test_nothing_at_all_can_be_chosen_and_taken_back(office: Office, container: Container) -> None:
    list_id = await a_list(office, "News")
    contact = await office.a_contact(list_id)
    path = link(container, contact["id"])
    page = await office.client.post(path, data={"action": "unsubscribe"})
    assert ("You get no mail from us" in page.text, checked(page.text)) == (True, [])
    assert (await office.get(f"/v1/contacts/{contact['id']}"))["status"] == "unsubscribed"
    await office.client.post(path, data={"action": "save"})
    assert (await office.get(f"/v1/contacts/{contact['id']}"))["status"] == "unsubscribed", "nothing was chosen"
    page = await office.client.post(path, data={"action": "save", "list": [list_id]})
    assert checked(page.text) == [list_id]
    now = await office.get(f"/v1/contacts/{contact['id']}")
    assert (now["status"], now["list_ids"]) == ("active", [list_id])


async def test_looking_changes_nothing_and_the_unsubscribe_page_leads_there(
    office: Office, container: Container
) -> None:
    contact = await office.a_contact(await a_list(office, "News"))
    path = link(container, contact["id"])
    for _ in range(2):
        assert (await office.client.get(path)).status_code == 200
    assert await office.get(f"/v1/contacts/{contact['id']}") == contact
    page = await office.client.get(path.replace("/preferences/", "/u/"))
    assert f'href="..{path}"' in page.text
    assert "script" not in page.text


async def test_a_link_that_is_not_ours_or_of_somebody_erased_shows_nothing(
    office: Office, container: Container
) -> None:
    assert (await office.client.get("/preferences/nonsense")).status_code == 404
    assert (await office.client.post("/preferences/nonsense", data={"action": "save"})).status_code == 400
    path = link(container, str(uuid4()))
    for answer in (await office.client.get(path), await office.client.post(path, data={"action": "save"})):
        assert (answer.status_code, "nothing to choose" in answer.text) == (200, True)


async def test_lists_of_another_organisation_are_not_chosen(office: Office, container: Container, sign_in: Any) -> None:
    theirs = await a_list(Office(office.client, sign_in(), new_id()), "Theirs", is_public=True)
    contact = await office.a_contact()
    await office.client.post(link(container, contact["id"]), data={"action": "save", "list": [theirs]})
    assert (await office.get(f"/v1/contacts/{contact['id']}"))["list_ids"] == []
