"""A campaign's life as a client of the API sees it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from posthorn_local.client import ApiClient, ApiProblem
from posthorn_local.stack import Stack
from posthorn_local.testing import product

_PERSON = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}


async def test_a_campaign_goes_from_draft_to_inbox_to_statistics(
    stack: Stack, owner: ApiClient, mailbox: Any, new_campaign: Any, eventually: Any
) -> None:
    addresses = [f"friend.{number}@example.org" for number in range(20)]
    campaign = await new_campaign(owner, addresses, subject="Journey")
    path = f"/v1/campaigns/{campaign['id']}"
    start = datetime.now(UTC) + timedelta(seconds=1)
    await owner.post(f"{path}/actions/schedule", {"scheduled_at": start.isoformat()})
    seen = [now["sent"] async for now in _progress(owner, campaign["id"], eventually)]
    assert seen == sorted(seen)
    assert seen[-1] == 20
    finished = await owner.wait_until(path, "status", {"completed"})
    assert finished["counts"]["sent"] == 20

    messages = await mailbox.messages("Journey")
    assert sorted(address for message in messages for address in message["envelope_to"]) == sorted(addresses)
    message = await mailbox.message(messages[0]["id"])
    assert re.search(r"Hello Reader \d+", message["html"])
    assert re.search(r"Hello Reader \d+", message["text"]), "a text part is made from the HTML"

    async with httpx.AsyncClient(trust_env=False, headers=_PERSON) as person:
        await _open_click_and_unsubscribe(person, message)
    statistics = await eventually(
        lambda: owner.get(f"{path}/statistics"),
        lambda now: (now["unique_opens"], now["unique_clicks"], now["unsubscribes"]) == (1, 1, 1),
    )
    assert statistics["sent"] == 20
    links = await owner.get(f"{path}/statistics/links")
    assert [(link["url"], link["clicks"]) for link in links["items"]] == [("https://example.com/read", 1)]
    deliveries = [item async for item in owner.items(f"{path}/deliveries")]
    assert {item["state"] for item in deliveries} == {"sent"}
    assert all(item["smtp_code"] == 250 for item in deliveries)

    again = await owner.post(f"{path}/actions/duplicate")
    await owner.post(f"/v1/campaigns/{again['id']}/actions/send")
    second = await owner.wait_until(f"/v1/campaigns/{again['id']}", "status", {"completed"})
    assert second["counts"]["sent"] == 19, "who has unsubscribed is not mailed again"


async def _progress(api: ApiClient, campaign_id: str, eventually: Any) -> Any:
    async def known() -> bool:
        try:
            await api.get(f"/v1/campaigns/{campaign_id}/statistics")
        except ApiProblem as problem:
            if problem.status != 404:
                raise
            return False
        return True

    await eventually(known)
    async for now in api.progress(campaign_id):
        yield now


async def _open_click_and_unsubscribe(person: httpx.AsyncClient, message: Any) -> None:
    pixel = re.search(r'src="([^"]*/t/o/[^"]+)"', message["html"])
    click = re.search(r'href="([^"]*/t/c/[^"]+)"', message["html"])
    assert pixel
    assert click
    headers = {name.lower(): value for name, value in message["headers"]}
    assert headers["list-unsubscribe-post"] == "List-Unsubscribe=One-Click"
    one_click = re.search(r"<(http[^>]+)>", headers["list-unsubscribe"])
    assert one_click
    opened = await person.get(pixel[1])
    assert opened.headers["content-type"] == "image/gif"
    redirect = await person.get(click[1])
    assert (redirect.status_code, redirect.headers["location"]) == (302, "https://example.com/read")
    page = await person.get(one_click[1])
    assert page.status_code == 200, "looking at the page changes nothing"
    done = await person.post(one_click[1], data={"List-Unsubscribe": "One-Click"})
    assert done.status_code == 200


async def test_pause_holds_and_resume_sends_the_rest_exactly(
    owner: ApiClient, mailbox: Any, new_campaign: Any, eventually: Any
) -> None:
    addresses = [f"patient.{number}@example.net" for number in range(3000)]
    campaign = await new_campaign(owner, addresses, subject="Pause")
    path = f"/v1/campaigns/{campaign['id']}"
    await owner.post(f"{path}/actions/send")
    await eventually(mailbox.accepted, lambda count: count >= 100)
    paused = await owner.post(f"{path}/actions/pause")
    assert paused["status"] == "paused"
    before = await _settled(mailbox, eventually)
    assert before < len(addresses), "the pause came while the campaign was being sent"
    await owner.post(f"{path}/actions/resume")
    finished = await owner.wait_until(path, "status", {"completed", "completed_with_errors"})
    assert finished["counts"]["sent"] == len(addresses)
    received = [address for message in await mailbox.messages("Pause") for address in message["envelope_to"]]
    assert sorted(received) == sorted(addresses)


async def _settled(mailbox: Any, eventually: Any) -> int:
    """Return how many messages have arrived once no more arrive within a second."""
    history = [await mailbox.accepted()]

    async def still() -> bool:
        history.append(await mailbox.accepted())
        return len(history) > 20 and len(set(history[-20:])) == 1

    await eventually(still)
    return int(history[-1])


async def test_cancel_leaves_everybody_in_a_final_state(
    owner: ApiClient, mailbox: Any, new_campaign: Any, eventually: Any
) -> None:
    addresses = [f"spared.{number}@example.net" for number in range(3000)]
    campaign = await new_campaign(owner, addresses, subject="Cancel")
    path = f"/v1/campaigns/{campaign['id']}"
    await owner.post(f"{path}/actions/send")
    await eventually(mailbox.accepted, lambda count: count >= 50)
    cancelled = await owner.post(f"{path}/actions/cancel")
    assert cancelled["status"] == "cancelled"
    send = await eventually(
        lambda: owner.get(f"{path}/send"),
        lambda now: now["counts"].get("sent", 0) + now["counts"].get("cancelled", 0) == len(addresses),
    )
    assert send["counts"]["sent"] == await mailbox.accepted()


async def test_another_organisation_sees_nothing(new_owner: Any, new_campaign: Any) -> None:
    owner, stranger = await new_owner(), await new_owner()
    campaign = await new_campaign(owner, ["somebody@example.com"], subject="Private")
    path = f"/v1/campaigns/{campaign['id']}"
    for resource in (
        path,
        f"{path}/send",
        f"{path}/statistics",
        f"{path}/progress",
        f"/v1/templates/{campaign['template_id']}",
        f"/v1/lists/{campaign['list_ids'][0]}",
        f"/v1/relays/{campaign['relay_id']}",
    ):
        with pytest.raises(ApiProblem) as caught:
            await stranger.get(resource)
        assert caught.value.status == 404, resource
    for collection in ("contacts", "lists", "templates", "campaigns", "relays"):
        assert [item async for item in stranger.items(f"/v1/{collection}")] == []


async def test_an_api_key_works_until_it_is_revoked(owner: ApiClient, anonymous: ApiClient, eventually: Any) -> None:
    key = await owner.post("/v1/api-keys", {"name": "Reporting", "scopes": ["campaigns:read"]})
    anonymous.use_token(key["api_key"])
    assert (await anonymous.get("/v1/campaigns"))["items"] == []
    with pytest.raises(ApiProblem) as caught:
        await anonymous.post("/v1/lists", {"name": "Not allowed"})
    assert caught.value.status == 403
    await owner.delete(f"/v1/api-keys/{key['id']}")

    async def refused() -> bool:
        try:
            await anonymous.get("/v1/campaigns")
        except ApiProblem as problem:
            return problem.status == 401
        return False

    await eventually(refused)


async def test_an_api_key_sends_a_receipt(
    owner: ApiClient, anonymous: ApiClient, smtp_server: Any, eventually: Any
) -> None:
    relay = await product.add_relay(owner, smtp_server.port)
    key = await owner.post("/v1/api-keys", {"name": "Shop", "scopes": ["messages:send", "deliveries:read"]})
    anonymous.use_token(key["api_key"])
    receipt = {"to_email": "ada@example.com", "from_email": "shop@example.org", "subject": "Receipt", "text": "12 EUR"}
    message = await anonymous.post("/v1/messages", {**receipt, "relay_id": relay["id"]})
    sent = await eventually(
        lambda: anonymous.get(f"/v1/messages/{message['id']}"), lambda now: now["status"] not in {"pending", "sending"}
    )
    assert sent["status"] == "sent"
    (received,) = smtp_server.messages
    assert received.envelope_to == ("ada@example.com",)


async def test_an_unreachable_relay_is_told_and_the_campaign_goes_on_when_it_is_back(
    owner: ApiClient, new_campaign: Any, smtp_server: Any, eventually: Any
) -> None:
    smtp_server.stop()
    campaign = await new_campaign(owner, ["late@example.com"], subject="Outage", port=smtp_server.port)
    path = f"/v1/campaigns/{campaign['id']}"
    await owner.post(f"{path}/actions/send")
    impeded = await eventually(lambda: owner.get(path), lambda now: now["notice"] is not None)
    assert impeded["status"] == "sending"
    smtp_server.start()
    finished = await owner.wait_until(path, "status", {"completed"})
    assert finished["notice"] is None
    assert len(smtp_server.messages) == 1


async def test_the_merged_documentation_covers_every_service(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.plan.urls["gateway"], trust_env=False) as browser:
        document = (await browser.get("/openapi.json")).json()
        page = await browser.get("/docs")
        health = (await browser.get("/health/services")).json()
    assert document["openapi"].startswith("3.1")
    for path in ("/v1/auth/login", "/v1/contacts", "/v1/relays", "/v1/campaigns/{campaign_id}/statistics"):
        assert path in document["paths"]
    operations = [
        operation["operationId"]
        for item in document["paths"].values()
        for operation in item.values()
        if "operationId" in operation
    ]
    assert len(operations) == len(set(operations))
    assert page.status_code == 200
    assert health["status"] == "ok"
