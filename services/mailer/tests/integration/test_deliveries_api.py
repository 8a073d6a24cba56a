"""Sends and deliveries through the API."""

from __future__ import annotations

import asyncio
import csv
import io
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio

from posthorn_common.clock import new_id
from posthorn_common.testing import TokenMint
from posthorn_contracts.mailer.v1 import SendDrained
from posthorn_mailer.adapters.db.tables import deliveries
from posthorn_mailer.domain.replies import Stage, unanswered
from posthorn_mailer.entrypoints.http.app import build_app

from .support import Office, eventually, members

pytestmark = pytest.mark.integration
READ, SEND = "deliveries:read", "campaigns:send"


class Caller:
    def __init__(self, office: Office, mint: TokenMint, http: httpx.AsyncClient) -> None:
        self._mint = mint
        self._http = http
        self.organisation_id = office.organisation_id

    async def call(self, method: str, path: str, *, scopes: Any = (READ, SEND), **arguments: Any) -> httpx.Response:
        token = self._mint.access_token(self.organisation_id, set(scopes))
        return await self._http.request(method, path, headers={"Authorization": f"Bearer {token}"}, **arguments)

    async def get(self, path: str, **query: Any) -> Any:
        answer = await self.call("GET", path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest_asyncio.fixture
async def caller(office: Office, mint: TokenMint) -> Any:
    transport = httpx.ASGITransport(build_app(office.container))
    async with httpx.AsyncClient(transport=transport, base_url="http://mailer") as http:
        yield Caller(office, mint, http)


async def _in_doubt(office: Office, smtp_server: Any, count: int = 3) -> UUID:
    """Return a campaign of which all deliveries are in doubt; they have arrived nevertheless."""
    campaign_id = await office.plan(members(count), port=smtp_server.port)
    worker, gate = office.worker()
    gate.after.clear()
    sending = asyncio.create_task(worker.send_batch())
    await eventually(lambda: len(smtp_server.messages) == count)
    await worker.abort()
    await asyncio.gather(sending, return_exceptions=True)
    await office.expire_leases()
    await office.send_all()
    assert await office.counts(campaign_id) == {"ambiguous": count}
    return campaign_id


async def test_a_send_is_shown_with_its_counts(office: Office, smtp_server: Any, caller: Caller) -> None:
    smtp_server.reply_to("reader.1@example.com", "550 5.1.1 no such user")
    campaign_id = await office.plan(members(5), port=smtp_server.port)
    path = f"/v1/campaigns/{campaign_id}/send"
    before = await caller.get(path)
    assert (before["status"], before["audience"], before["counts"]["pending"]) == ("sending", 5, 5)
    assert (before["drained_at"], before["notice"], before["on_ambiguous"]) == (None, None, "hold")
    await office.send_all()
    after = await caller.get(path)
    assert after["status"] == "drained"
    assert after["drained_at"] > after["planned_at"]
    assert {state: count for state, count in after["counts"].items() if count} == {"sent": 4, "bounced": 1}


async def test_deliveries_are_listed_filtered_searched_and_paged(
    office: Office, smtp_server: Any, caller: Caller
) -> None:
    smtp_server.reply_to("reader.1@example.com", "550 5.1.1 no such user")
    audience = members(7)
    campaign_id = await office.plan(audience, port=smtp_server.port)
    await office.send_all()
    path = f"/v1/campaigns/{campaign_id}/deliveries"
    first = await caller.get(path, limit=4)
    second = await caller.get(path, limit=4, cursor=first["next_cursor"])
    assert second["next_cursor"] is None
    listed = [item["contact_id"] for item in first["items"] + second["items"]]
    assert listed == [str(member.contact_id) for member in audience]
    (bounced,) = (await caller.get(path, state="bounced"))["items"]
    assert bounced["email"] == "reader.1@example.com"
    assert (bounced["smtp_code"], bounced["enhanced_code"], bounced["cause"]) == (550, "5.1.1", "recipient")
    assert bounced["reply"] == "5.1.1 no such user"
    (found,) = (await caller.get(path, search="READER.3"))["items"]
    assert await caller.get(f"{path}/{found['contact_id']}") == found
    assert (await caller.get(path, search="%"))["items"] == []
    for cursor in ("nonsense", "WyJ4Il0", "Wy0xXQ", "WzFlMzBd"):
        answer = await caller.call("GET", path, params={"cursor": cursor})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


async def test_deliveries_are_downloaded_as_csv_without_formulas(
    office: Office, smtp_server: Any, caller: Caller
) -> None:
    campaign_id = await office.plan(members(3), port=smtp_server.port)
    await office.send_all()
    await office.execute("UPDATE deliveries SET reply = '=1+1' WHERE number = 1")
    answer = await caller.call("GET", f"/v1/campaigns/{campaign_id}/deliveries.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["email"] for row in rows] == [f"reader.{number}@example.com" for number in range(3)]
    assert rows[0]["reply"] == "'=1+1"
    empty = await caller.call("GET", f"/v1/campaigns/{campaign_id}/deliveries.csv", params={"state": "failed"})
    assert len(empty.text.splitlines()) == 1


async def test_people_decide_about_deliveries_in_doubt(office: Office, smtp_server: Any, caller: Caller) -> None:
    campaign_id = await _in_doubt(office, smtp_server)
    path = f"/v1/campaigns/{campaign_id}/deliveries"
    items = (await caller.get(path, state="ambiguous"))["items"]
    for item, verdict in zip(items, ("sent", "failed", "resend"), strict=True):
        answer = await caller.call("POST", f"{path}/{item['contact_id']}/actions/resolve", json={"as": verdict})
        assert answer.status_code == 200, answer.text
        assert answer.json()["state"] == {"resend": "pending"}.get(verdict, verdict)
    await office.send_all()
    assert await office.counts(campaign_id) == await office.told(campaign_id) == {"sent": 2, "failed": 1}
    first, second = (message.message for message in smtp_server.messages_to(items[2]["email"]))
    assert (first["Message-ID"], first["Date"]) == (second["Message-ID"], second["Date"])
    previous = [record.previous for record in await office.records(campaign_id)]
    assert previous == [None] * 3 + ["ambiguous"] * 3
    drained = [one.data for one in await office.events(SendDrained)]
    assert (drained[0].sent, drained[0].failed, drained[0].ambiguous) == (0, 0, 3)
    assert (drained[-1].sent, drained[-1].failed, drained[-1].ambiguous) == (2, 1, 0)


async def test_what_is_in_no_doubt_cannot_be_resolved(office: Office, smtp_server: Any, caller: Caller) -> None:
    campaign_id = await office.plan(members(1), port=smtp_server.port)
    await office.send_all()
    (row,) = await office.rows(deliveries, campaign_id)
    path = f"/v1/campaigns/{campaign_id}/deliveries/{row.contact_id}/actions/resolve"
    answer = await caller.call("POST", path, json={"as": "resend"})
    assert (answer.status_code, answer.json()["code"]) == (409, "delivery_not_ambiguous")
    assert (await caller.call("POST", path, json={"as": "maybe"})).status_code == 422
    assert (await caller.call("POST", path, json={"as": "sent"}, scopes=[READ])).status_code == 403


async def test_nothing_of_a_cancelled_campaign_can_be_sent_again(
    office: Office, smtp_server: Any, caller: Caller
) -> None:
    campaign_id = await _in_doubt(office, smtp_server, 1)
    await office.container.controlling.cancel(office.order(campaign_id))
    (row,) = await office.rows(deliveries, campaign_id)
    path = f"/v1/campaigns/{campaign_id}/deliveries/{row.contact_id}/actions/resolve"
    answer = await caller.call("POST", path, json={"as": "resend"})
    assert (answer.status_code, answer.json()["code"]) == (409, "send_not_running")
    assert (await caller.call("POST", path, json={"as": "sent"})).status_code == 200


async def test_several_people_decide_at_once_and_one_of_them_is_heard(
    office: Office, smtp_server: Any, caller: Caller
) -> None:
    campaign_id = await _in_doubt(office, smtp_server, 1)
    (row,) = await office.rows(deliveries, campaign_id)
    path = f"/v1/campaigns/{campaign_id}/deliveries/{row.contact_id}/actions/resolve"
    answers = await asyncio.gather(*(caller.call("POST", path, json={"as": "resend"}) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
    await office.send_all()
    assert len(smtp_server.messages) == 2


async def test_another_organisation_and_unknown_ids_get_404(office: Office, caller: Caller) -> None:
    campaign_id = await office.plan(members(1), port=1)
    (row,) = await office.rows(deliveries, campaign_id)
    paths = ["send", "deliveries", "deliveries.csv", f"deliveries/{row.contact_id}"]
    caller.organisation_id = new_id()
    for path in paths:
        assert (await caller.call("GET", f"/v1/campaigns/{campaign_id}/{path}")).status_code == 404
    resolve = f"/v1/campaigns/{campaign_id}/deliveries/{row.contact_id}/actions/resolve"
    assert (await caller.call("POST", resolve, json={"as": "sent"})).status_code == 404
    caller.organisation_id = office.organisation_id
    unknown = await caller.call("GET", f"/v1/campaigns/{campaign_id}/deliveries/{new_id()}")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "delivery_not_found")
    missing = await caller.call("GET", f"/v1/campaigns/{new_id()}/send")
    assert (missing.status_code, missing.json()["code"]) == (404, "send_not_found")


async def test_a_campaign_that_was_only_cancelled_before_its_start_has_no_send(office: Office, caller: Caller) -> None:
    campaign_id = office.add_campaign([])
    await office.container.controlling.cancel(office.order(campaign_id))
    assert (await caller.call("GET", f"/v1/campaigns/{campaign_id}/send")).status_code == 404


async def test_an_outage_is_shown_as_notice(office: Office, caller: Caller) -> None:
    campaign_id = await office.plan(members(1), port=1)
    worker, gate = office.worker()
    gate.answer_instead = unanswered(Stage.CONNECT, "refused")

    async def noticed() -> Any:
        await worker.send_all_due()
        return (await caller.get(f"/v1/campaigns/{campaign_id}/send"))["notice"]

    assert await eventually(noticed) == "The relay main cannot be reached."
