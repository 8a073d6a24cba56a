"""Bounces and complaints through the API, and what follows from them."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio

from posthorn_common.clock import new_id
from posthorn_common.testing import TokenMint
from posthorn_contracts.mailer.v1 import ContactSuppressed, SendDrained
from posthorn_mailer.adapters.db.retention import SqlRetention
from posthorn_mailer.adapters.db.tables import deliveries, suppressions
from posthorn_mailer.entrypoints.http.app import build_app

from .support import Office, eventually, members

pytestmark = pytest.mark.integration


class Desk:
    """Where feedback is handed in."""

    def __init__(self, office: Office, mint: TokenMint, http: httpx.AsyncClient) -> None:
        self.office = office
        self._mint = mint
        self._http = http

    async def post(
        self, path: str, *, scopes: Any = ("suppressions:write",), organisation_id: UUID | None = None, **body: Any
    ) -> httpx.Response:
        token = self._mint.access_token(organisation_id or self.office.organisation_id, set(scopes))
        headers = {"Authorization": f"Bearer {token}", **body.pop("headers", {})}
        return await self._http.post(f"/v1/inbound/{path}", headers=headers, **body)

    async def mail(self, raw: bytes, *, status: int = 200, **options: Any) -> Any:
        answer = await self.post("mail", content=raw, headers={"Content-Type": "message/rfc822"}, **options)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def events(self, *events: dict[str, Any], status: int = 200, **options: Any) -> Any:
        answer = await self.post("events", json={"events": list(events)}, **options)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def results(self, *events: dict[str, Any], **options: Any) -> list[str]:
        return [one["result"] for one in (await self.events(*events, **options))["results"]]


@pytest_asyncio.fixture
async def desk(office: Office, mint: TokenMint) -> Any:
    transport = httpx.ASGITransport(build_app(office.container))
    async with httpx.AsyncClient(transport=transport, base_url="http://mailer") as http:
        yield Desk(office, mint, http)


async def _sent(office: Office, smtp_server: Any, count: int) -> tuple[UUID, list[str]]:
    """Return a campaign that was sent, and the Message-IDs as its recipients saw them."""
    campaign_id = await office.plan(members(count), port=smtp_server.port)
    await office.send_all()
    assert await office.counts(campaign_id) == {"sent": count}
    ids = [smtp_server.messages_to(f"reader.{number}@example.com")[0].message["Message-ID"] for number in range(count)]
    return campaign_id, ids


async def _in_doubt(office: Office, smtp_server: Any, count: int) -> tuple[UUID, list[str]]:
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
    ids = [smtp_server.messages_to(f"reader.{number}@example.com")[0].message["Message-ID"] for number in range(count)]
    return campaign_id, ids


async def _suppressed(office: Office) -> dict[str, str]:
    async with office.container.engine.connect() as connection:
        return {row.email: row.reason for row in await connection.execute(suppressions.select())}


def _bounce(message_id: str) -> bytes:
    return (
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n\r\n"
        "Final-Recipient: rfc822; reader.0@example.com\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n\r\n"
        f"--b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: {message_id}\r\n\r\n--b--\r\n"
    ).encode()


async def test_a_returned_mail_bounces_its_delivery_once_and_suppresses_the_address(
    office: Office, smtp_server: Any, desk: Desk
) -> None:
    campaign_id, ids = await _sent(office, smtp_server, 3)
    first = await desk.mail(_bounce(ids[0]))
    assert (first["type"], first["result"], first["campaign_id"]) == ("hard_bounce", "recorded", str(campaign_id))
    assert (await desk.mail(_bounce(ids[0])))["result"] == "unchanged"
    assert await office.counts(campaign_id) == await office.told(campaign_id) == {"sent": 2, "bounced": 1}
    (row, *_others) = await office.rows(deliveries, campaign_id)
    assert (row.state, row.smtp_code, row.enhanced_code, row.cause) == ("bounced", 550, "5.1.1", "recipient")
    assert (await office.records(campaign_id))[-1].previous == "sent"
    assert await _suppressed(office) == {"reader.0@example.com": "hard_bounce"}
    (told,) = await office.events(ContactSuppressed)
    assert (told.data.contact_id, told.data.reason) == (row.contact_id, "hard_bounce")
    drained = await office.events(SendDrained)
    assert [(one.data.sent, one.data.bounced) for one in drained] == [(3, 0), (2, 1)]


async def test_events_of_a_provider_are_taken_each_by_itself_and_twice_without_harm(
    office: Office, smtp_server: Any, desk: Desk
) -> None:
    campaign_id, ids = await _sent(office, smtp_server, 5)
    events = [
        {"message_id": ids[0], "type": "hard_bounce", "diagnostic": "550 5.7.1 blocked by policy"},
        {"message_id": ids[1], "type": "soft_bounce", "diagnostic": "452 4.2.2 mailbox full"},
        {"message_id": ids[2], "type": "complaint", "at": "2026-01-01T00:00:00Z"},
        {"message_id": ids[3], "type": "delivered", "at": "2126-01-01T00:00:00Z"},
        {"message_id": "<somebody@else>", "type": "hard_bounce"},
        {"message_id": ids[4].replace("@", "@not-", 1), "type": "complaint"},
    ]
    answer = await desk.events(*events)
    expected = ["recorded", "noted", "recorded", "unchanged", "unknown", "recorded"]
    assert [one["result"] for one in answer["results"]] == expected
    assert answer["counts"] == {"recorded": 3, "noted": 1, "unchanged": 1, "unknown": 1, "too_early": 0}
    again = await desk.results(*events)
    assert again == ["unchanged", "noted", "unchanged", "unchanged", "unknown", "unchanged"]
    expected_counts = {"sent": 2, "bounced": 1, "complained": 2}
    assert await office.counts(campaign_id) == await office.told(campaign_id) == expected_counts
    rows = await office.rows(deliveries, campaign_id)
    assert (rows[1].state, rows[1].smtp_code, rows[1].reply) == ("sent", 452, "mailbox full")
    assert rows[2].finished_at == rows[2].opened_at, "no complaint comes before the message"
    assert await _suppressed(office) == {"reader.2@example.com": "complaint", "reader.4@example.com": "complaint"}
    assert len(await office.events(ContactSuppressed)) == 2


async def test_what_comes_back_ends_doubt(office: Office, smtp_server: Any, desk: Desk) -> None:
    campaign_id, ids = await _in_doubt(office, smtp_server, 4)
    kinds = ("delivered", "soft_bounce", "hard_bounce", "complaint")
    results = await desk.results(*({"message_id": id_, "type": kind} for id_, kind in zip(ids, kinds, strict=True)))
    assert results == ["recorded"] * 4
    expected = {"sent": 2, "bounced": 1, "complained": 1}
    assert await office.counts(campaign_id) == await office.told(campaign_id) == expected
    assert await office.phase(campaign_id) == "drained"


async def test_the_same_bounce_told_many_times_at_once_is_recorded_once(
    office: Office, smtp_server: Any, desk: Desk
) -> None:
    campaign_id, ids = await _sent(office, smtp_server, 2)
    answers = await asyncio.gather(*(desk.mail(_bounce(ids[0])) for _ in range(8)))
    assert sorted(one["result"] for one in answers) == ["recorded"] + ["unchanged"] * 7
    assert await office.counts(campaign_id) == await office.told(campaign_id) == {"sent": 1, "bounced": 1}
    assert len(await office.events(ContactSuppressed)) == 1


async def test_messages_that_are_not_sent_yet_do_not_move_and_one_being_sent_is_to_be_told_again(
    office: Office, smtp_server: Any, desk: Desk
) -> None:
    campaign_id = await office.plan(members(1), port=smtp_server.port)
    (row,) = await office.rows(deliveries, campaign_id)
    message_id = f"<{row.contact_id.hex}.{campaign_id.hex}@posthorn.example>"
    complaint = {"message_id": message_id, "type": "complaint"}
    assert await desk.results(complaint) == ["unchanged"]
    worker, gate = office.worker()
    gate.after.clear()
    sending = asyncio.create_task(worker.send_batch())
    await eventually(lambda: len(smtp_server.messages) == 1)
    assert await desk.results(complaint) == ["too_early"]
    assert (await desk.mail(_bounce(message_id), status=409))["code"] == "message_being_sent"
    gate.after.set()
    await sending
    assert await _suppressed(office) == {}
    assert await desk.results(complaint) == ["recorded"]
    assert await office.counts(campaign_id) == {"complained": 1}


async def test_another_organisation_and_another_permission_change_nothing(
    office: Office, smtp_server: Any, desk: Desk
) -> None:
    campaign_id, ids = await _sent(office, smtp_server, 1)
    event = {"message_id": ids[0], "type": "hard_bounce"}
    assert await desk.results(event, organisation_id=new_id()) == ["unknown"]
    assert (await desk.mail(_bounce(ids[0]), organisation_id=new_id()))["result"] == "unknown"
    await desk.events(event, scopes=("suppressions:read", "campaigns:send"), status=403)
    await desk.mail(_bounce(ids[0]), scopes=("suppressions:read",), status=403)
    assert await office.counts(campaign_id) == {"sent": 1}
    assert await _suppressed(office) == {}


async def test_of_an_erased_contact_the_outcome_is_kept_and_no_address(
    office: Office, smtp_server: Any, desk: Desk
) -> None:
    campaign_id, ids = await _sent(office, smtp_server, 1)
    (row,) = await office.rows(deliveries, campaign_id)
    await office.erase(row.contact_id)
    assert await desk.results({"message_id": ids[0], "type": "complaint"}) == ["recorded"]
    assert await office.counts(campaign_id) == {"complained": 1}
    assert await _suppressed(office) == {}


async def test_a_complaint_about_a_closed_campaign_suppresses_and_leaves_its_counts(
    office: Office, smtp_server: Any, desk: Desk
) -> None:
    campaign_id, ids = await _sent(office, smtp_server, 2)
    await office.execute("UPDATE sends SET drained_at = drained_at - interval '40 days'")
    await SqlRetention(office.container.engine).close_next(31 * 86_400)
    events = [{"message_id": ids[0], "type": "complaint"}, {"message_id": ids[1], "type": "hard_bounce"}]
    assert await desk.results(*events) == ["unchanged", "unchanged"]
    assert await office.counts(campaign_id) == {"sent": 2}
    assert await _suppressed(office) == {"reader.0@example.com": "complaint"}


async def test_bad_input_is_a_clear_problem_and_other_mail_is_ignored(desk: Desk) -> None:
    wrong_type = await desk.post("mail", content=b"Subject: x\n\n", headers={"Content-Type": "text/plain"})
    assert (wrong_type.status_code, wrong_type.json()["code"]) == (415, "unsupported_media_type")
    assert (await desk.mail(b"", status=422))["code"] == "invalid_mail"
    large = b"X: y\r\n\r\n" + b"z" * 1024 * 1024
    assert (await desk.post("mail", content=large, headers={"Content-Type": "message/rfc822"})).status_code == 413
    assert await desk.mail(b"Subject: on holiday\r\n\r\nuntil Monday") == {
        "type": None, "result": None, "campaign_id": None, "contact_id": None,
    }  # fmt: skip
    for wrong in (
        {"message_id": "<a@b>", "type": "vanished"},
        {"message_id": "<a@b>", "type": "complaint", "at": "2026-01-01T00:00:00"},
        {"message_id": "<a@b>", "type": "complaint", "email": "a@example.com"},
        {"type": "complaint"},
    ):
        await desk.events(wrong, status=422)
    await desk.events(status=422)
    await desk.events(*[{"message_id": "<a@b>", "type": "complaint"}] * 1001, status=422)
    assert set(await desk.results(*[{"message_id": "<a@b>", "type": "complaint"}] * 1000)) == {"unknown"}
