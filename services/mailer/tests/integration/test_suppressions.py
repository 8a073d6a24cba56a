"""Suppressions: through the API, and as contacts come and go."""

from __future__ import annotations

import asyncio
import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx
import pytest
import sqlalchemy as sa

from posthorn_common.clock import new_id
from posthorn_common.messaging import list_dead_letters
from posthorn_common.testing import TokenMint
from posthorn_contracts.campaigns.v1 import (
    ContactRef,
    ContactResubscribed,
    ContactUnsubscribed,
    ContactUnsubscribedData,
)
from posthorn_contracts.permissions import ROLE_PERMISSIONS, Role
from posthorn_mailer.adapters.db import tables
from posthorn_mailer.bootstrap import Container
from posthorn_mailer.domain.suppressions import Suppression, SuppressionReason
from posthorn_mailer.entrypoints.consumers import CONSUMER, subscribe

from .support import eventually

pytestmark = pytest.mark.integration

_NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def organisation_id() -> UUID:
    return uuid4()


@pytest.fixture
def headers(mint: TokenMint, organisation_id: UUID) -> dict[str, str]:
    return _headers(mint, organisation_id)


def _headers(mint: TokenMint, organisation_id: UUID, role: Role = Role.OWNER) -> dict[str, str]:
    return {"Authorization": f"Bearer {mint.access_token(organisation_id, ROLE_PERMISSIONS[role])}"}


async def _add(client: httpx.AsyncClient, headers: dict[str, str], *emails: str, **body: Any) -> dict[str, Any]:
    answer = await client.post("/v1/suppressions", json={"emails": list(emails), **body}, headers=headers)
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def _emails(client: httpx.AsyncClient, headers: dict[str, str], **params: Any) -> list[str]:
    found: list[str] = []
    cursor: str | None = None
    while True:
        query = {**params, **({"cursor": cursor} if cursor else {})}
        page = (await client.get("/v1/suppressions", params=query, headers=headers)).json()
        found += [item["email"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


async def test_addresses_are_added_once_listed_searched_and_removed(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    added = await _add(client, headers, "Ada@Example.com", "ada@example.com", "bob_1@example.org")
    assert added == {"added": 2, "already_suppressed": 0}
    assert await _add(client, headers, "bob_1@example.org", "eve@example.org") == {"added": 1, "already_suppressed": 1}
    assert await _emails(client, headers, limit=2) == ["ada@example.com", "bob_1@example.org", "eve@example.org"]
    assert await _emails(client, headers, search="EXAMPLE.ORG") == ["bob_1@example.org", "eve@example.org"]
    assert await _emails(client, headers, search="b_1") == ["bob_1@example.org"]
    assert await _emails(client, headers, search="%") == []
    path = f"/v1/suppressions/{quote('Bob_1@example.org', safe='')}"
    found = (await client.get(path, headers=headers)).json()
    assert (found["email"], found["reason"], found["source"]) == ("bob_1@example.org", "manual", "api")
    assert (await client.delete(path, headers=headers)).status_code == 204
    gone = [await client.get(path, headers=headers), await client.delete(path, headers=headers)]
    assert [(answer.status_code, answer.json()["code"]) for answer in gone] == [(404, "suppression_not_found")] * 2


async def test_pages_are_complete_and_in_order_whatever_the_addresses_look_like(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    emails = [f"{name}{number}@example.com" for number in range(40) for name in ("a-b", "a_b", "ab", "a.b", "ä", "z+")]
    await _add(client, headers, *emails)
    found = await _emails(client, headers, limit=7)
    assert found == sorted(emails, key=str.encode)


async def test_a_stronger_reason_replaces_a_weaker_one_and_never_the_other_way(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    for reason, kept in (
        ("unsubscribe", "unsubscribe"), ("hard_bounce", "hard_bounce"), ("manual", "hard_bounce"),
        ("complaint", "complaint"), ("hard_bounce", "complaint"),
    ):  # fmt: skip
        await _add(client, headers, "ada@example.com", reason=reason)
        found = (await client.get("/v1/suppressions/ada%40example.com", headers=headers)).json()
        assert found["reason"] == kept, reason
    assert await _emails(client, headers, reason="complaint") == ["ada@example.com"]
    assert await _emails(client, headers, reason="manual") == []


@pytest.mark.parametrize(
    "body",
    [
        {"emails": []}, {"emails": ["nobody"]}, {"emails": ["a@b.example\r\nRCPT TO:<v@x>"]}, {},
        {"emails": [f"a{number}@example.com" for number in range(1001)]}, {"emails": "a@example.com"},
        {"emails": ["a@example.com"], "reason": "because"},
    ],
)  # fmt: skip
async def test_what_is_no_address_is_refused(
    client: httpx.AsyncClient, headers: dict[str, str], body: dict[str, Any]
) -> None:
    answer = await client.post("/v1/suppressions", json=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_a_thousand_addresses_go_in_at_once_and_come_out_as_csv_without_formulas(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    await _add(client, headers, *(f"reader{number}@example.com" for number in range(999)), "=cmd@example.com")
    await _add(client, headers, "+plus@example.com", "-minus@example.com", "'quote@example.com")
    answer = await client.get("/v1/suppressions.csv", headers=headers)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    emails = {row["email"] for row in rows}
    assert len(rows) == 1003
    assert {"'=cmd@example.com", "'+plus@example.com", "'-minus@example.com", "'quote@example.com"} <= emails
    assert not any(row["email"].startswith(("=", "+", "-", "@")) for row in rows)
    filtered = await client.get("/v1/suppressions.csv", params={"search": "reader1@"}, headers=headers)
    assert len(filtered.text.splitlines()) == 2


async def test_another_organisation_sees_and_changes_nothing(
    client: httpx.AsyncClient, headers: dict[str, str], mint: TokenMint
) -> None:
    await _add(client, headers, "ada@example.com")
    stranger = _headers(mint, uuid4())
    assert await _emails(client, stranger) == []
    path = "/v1/suppressions/ada%40example.com"
    assert (await client.get(path, headers=stranger)).status_code == 404
    assert (await client.delete(path, headers=stranger)).status_code == 404
    assert len((await client.get("/v1/suppressions.csv", headers=stranger)).text.splitlines()) == 1
    assert await _emails(client, headers) == ["ada@example.com"]


async def test_viewers_read_and_admins_write(client: httpx.AsyncClient, mint: TokenMint, organisation_id: UUID) -> None:
    viewer = _headers(mint, organisation_id, Role.VIEWER)
    assert (await client.get("/v1/suppressions", headers=viewer)).status_code == 200
    refused = [
        await client.post("/v1/suppressions", json={"emails": ["a@example.com"]}, headers=viewer),
        await client.delete("/v1/suppressions/a%40example.com", headers=viewer),
    ]
    assert [answer.status_code for answer in refused] == [403, 403]


@pytest.mark.parametrize("cursor", ["x", "W10", "WzFd", "WyJhIiwiYiJd"])
async def test_a_cursor_of_somebody_s_own_making_is_refused(
    client: httpx.AsyncClient, headers: dict[str, str], cursor: str
) -> None:
    answer = await client.get("/v1/suppressions", params={"cursor": cursor}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


# Contacts.


def _unsubscribed(
    organisation_id: UUID, contact_id: UUID, *, at: datetime = _NOON, list_ids: tuple[UUID, ...] | None = None
) -> ContactUnsubscribed:
    data = ContactUnsubscribedData(contact_id=contact_id, list_ids=list_ids, method="page")
    return ContactUnsubscribed.about(
        contact_id, id=new_id(), organisation_id=organisation_id, occurred_at=at, data=data
    )


def _resubscribed(organisation_id: UUID, contact_id: UUID, at: datetime) -> ContactResubscribed:
    data = ContactRef(contact_id=contact_id)
    return ContactResubscribed.about(
        contact_id, id=new_id(), organisation_id=organisation_id, occurred_at=at, data=data
    )


async def _rows(container: Container, table: sa.Table, organisation_id: UUID) -> list[Any]:
    async with container.engine.connect() as connection:
        query = sa.select(table).where(table.c.organisation_id == organisation_id)
        return list((await connection.execute(query)).mappings())


async def test_who_leaves_everything_is_suppressed_and_who_leaves_a_list_is_not(
    container: Container, organisation_id: UUID
) -> None:
    everything, a_list = uuid4(), uuid4()
    event = _unsubscribed(organisation_id, everything)
    for _ in range(2):  # delivered twice
        await container.suppressing.on_contact_unsubscribed(event, "mailer")
    await container.suppressing.on_contact_unsubscribed(
        _unsubscribed(organisation_id, a_list, list_ids=(uuid4(),)), "mailer"
    )
    rows = await _rows(container, tables.suppressed_contacts, organisation_id)
    assert [(row["contact_id"], row["reason"]) for row in rows] == [(everything, "unsubscribe")]


async def test_who_comes_back_is_mailed_again_but_not_against_a_bounce(
    container: Container, organisation_id: UUID
) -> None:
    contact_id = uuid4()
    suppressing = container.suppressing
    async with suppressing._new_unit_of_work() as uow:
        await uow.suppressions.add(
            [
                Suppression(organisation_id, "left@example.com", SuppressionReason.UNSUBSCRIBE, contact_id, "x", _NOON),
                Suppression(organisation_id, "dead@example.com", SuppressionReason.HARD_BOUNCE, contact_id, "x", _NOON),
            ]
        )
    await suppressing.on_contact_unsubscribed(_unsubscribed(organisation_id, contact_id), "mailer")
    back = _resubscribed(organisation_id, contact_id, _NOON + timedelta(hours=1))
    await suppressing.on_contact_resubscribed(back, "mailer")
    assert await _rows(container, tables.suppressed_contacts, organisation_id) == []
    rows = await _rows(container, tables.suppressions, organisation_id)
    assert [row["email"] for row in rows] == ["dead@example.com"]
    # Left again; the old return, delivered twice, changes nothing.
    again = _unsubscribed(organisation_id, contact_id, at=_NOON + timedelta(hours=2))
    await suppressing.on_contact_unsubscribed(again, "mailer")
    await suppressing.on_contact_resubscribed(back, "mailer")
    assert len(await _rows(container, tables.suppressed_contacts, organisation_id)) == 1


async def test_a_return_that_is_heard_of_late_does_not_undo_a_later_goodbye(
    container: Container, organisation_id: UUID
) -> None:
    contact_id = uuid4()
    leaving = _unsubscribed(organisation_id, contact_id, at=_NOON + timedelta(hours=1))
    await container.suppressing.on_contact_unsubscribed(leaving, "mailer")
    await container.suppressing.on_contact_resubscribed(_resubscribed(organisation_id, contact_id, _NOON), "mailer")
    assert len(await _rows(container, tables.suppressed_contacts, organisation_id)) == 1


async def _is_dead(container: Container, event_id: UUID) -> bool:
    letters = await list_dead_letters(container.settings.amqp_url.get_secret_value(), CONSUMER, 100)
    return str(event_id) in {letter.event_id for letter in letters}


async def test_the_consumer_hears_of_contacts(container: Container, organisation_id: UUID) -> None:
    """Through RabbitMQ: a poison message ends in the dead-letter queue, and the rest goes on."""
    subscribe(container)
    stop = asyncio.Event()
    consuming = asyncio.create_task(container.bus.run(stop))
    poison, contact_id = new_id(), uuid4()
    event = _unsubscribed(organisation_id, contact_id)
    try:
        await container.bus.publish(ContactUnsubscribed.event_type, b'{"id": "no event"}', event_id=poison)
        for _ in range(2):
            body = event.model_dump_json().encode()
            await container.bus.publish(ContactUnsubscribed.event_type, body, event_id=event.id)
        await eventually(lambda: _rows(container, tables.suppressed_contacts, organisation_id))
        await eventually(lambda: _is_dead(container, poison))
    finally:
        stop.set()
        await consuming
    assert len(await _rows(container, tables.suppressed_contacts, organisation_id)) == 1


async def test_rows_in_bulk_are_judged_one_by_one(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    await _add(client, headers, "known@example.com")
    soon = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    items = [
        {"email": "Ada@Example.com"},
        {"email": "known@example.com"},
        {"email": "nobody"},
        {"email": "@Spam.Example", "reason": "manual", "expires_at": soon},
        {"email": "@", "reason": "manual"},
        {"email": "eve@example.com", "reason": "complaint", "expires_at": soon},
        {"email": "ada@example.com", "reason": "hard_bounce"},
    ]
    answer = await client.post("/v1/suppressions/bulk", json={"items": items}, headers=headers)
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert [(row["email"], row["result"], row["code"]) for row in document["results"]] == [
        ("ada@example.com", "added", None),
        ("known@example.com", "already_suppressed", None),
        ("nobody", "refused", "invalid_email"),
        ("@spam.example", "added", None),
        ("@", "refused", "invalid_email"),
        ("eve@example.com", "refused", "hard_reason_expires"),
        ("ada@example.com", "already_suppressed", None),
    ]
    assert (document["added"], document["already_suppressed"], document["refused"]) == (2, 2, 3)
    found = (await client.get("/v1/suppressions/ada%40example.com", headers=headers)).json()
    assert found["reason"] == "hard_bounce"
    assert await _emails(client, headers) == ["@spam.example", "ada@example.com", "known@example.com"]
    assert (await client.delete("/v1/suppressions/%40spam.example", headers=headers)).status_code == 204
    report = (await client.get("/v1/suppressions.csv", headers=headers)).text
    assert "@spam.example" not in report


async def _let_expire(container: Container, organisation_id: UUID) -> None:
    async with container.engine.begin() as connection:
        past = sa.text(
            "UPDATE suppressions SET expires_at = now() - interval '1 s' "
            "WHERE expires_at IS NOT NULL AND organisation_id = :id"
        )
        await connection.execute(past, {"id": organisation_id})


async def test_what_has_expired_is_none_and_the_later_end_counts(
    client: httpx.AsyncClient, container: Container, headers: dict[str, str], organisation_id: UUID
) -> None:
    day, week = ((datetime.now(UTC) + timedelta(days=days)).isoformat() for days in (1, 7))
    for email, ends in (("a@example.com", (week, day)), ("b@example.com", (day, None)), ("c@example.com", (day,))):
        for end in ends:
            await _add(client, headers, email, expires_at=end)
    await _add(client, headers, "d@example.com", expires_at=day)
    await _add(client, headers, "d@example.com", reason="hard_bounce")

    async def end(email: str) -> Any:
        return (await client.get(f"/v1/suppressions/{quote(email)}", headers=headers)).json()["expires_at"]

    assert (await end("a@example.com"))[:10] == week[:10]
    assert [await end(email) for email in ("b@example.com", "d@example.com")] == [None, None]
    await _let_expire(container, organisation_id)
    assert await _emails(client, headers) == ["b@example.com", "d@example.com"]
    assert (await client.get("/v1/suppressions/c%40example.com", headers=headers)).status_code == 404
    assert await _add(client, headers, "c@example.com", expires_at=day) == {"added": 1, "already_suppressed": 0}
    await container.suppressing.purge_expired()
    async with container.engine.connect() as connection:
        query = sa.select(tables.suppressions.c.email).where(tables.suppressions.c.organisation_id == organisation_id)
        assert sorted(await connection.scalars(query)) == ["b@example.com", "c@example.com", "d@example.com"]
    answer = await client.post(
        "/v1/suppressions",
        json={"emails": ["e@example.com"], "reason": "complaint", "expires_at": day},
        headers=headers,
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_a_search_for_what_no_address_holds_is_refused_before_the_answer_begins(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    for path in ("/v1/suppressions", "/v1/suppressions.csv"):
        assert (await client.get(path, params={"search": "a\0b"}, headers=headers)).status_code == 422
