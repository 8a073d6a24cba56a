"""What changes in the suppression list is told to the other services, many at a time and without addresses."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import sqlalchemy as sa

from posthorn_common.clock import new_id
from posthorn_common.testing import TokenMint
from posthorn_contracts.campaigns.v1 import ContactRef, ContactResubscribed
from posthorn_contracts.mailer.internal_v1 import SuppressionStates
from posthorn_contracts.mailer.v1 import SuppressionsChanged
from posthorn_contracts.permissions import ROLE_PERMISSIONS, Role
from posthorn_mailer.app.erasing import ErasureRequest
from posthorn_mailer.bootstrap import Container

from .support import Office, eventually, members

pytestmark = pytest.mark.integration


@pytest.fixture
def headers(mint: TokenMint, organisation_id: UUID) -> dict[str, str]:
    return {"Authorization": f"Bearer {mint.access_token(organisation_id, ROLE_PERMISSIONS[Role.OWNER])}"}


@pytest.fixture
def organisation_id() -> UUID:
    return uuid4()


@pytest.fixture
async def changes(container: Container, client: httpx.AsyncClient, mint: TokenMint, organisation_id: UUID) -> Changes:
    async with container.engine.begin() as connection:
        await connection.execute(sa.text("TRUNCATE suppression_changes"))
    return Changes(container, client, organisation_id, mint.service_token("campaigns", "mailer"))


class Changes:
    """Tells changes, and reads what was told, as the campaigns service does."""

    def __init__(self, container: Container, client: httpx.AsyncClient, organisation_id: UUID, token: str) -> None:
        self.container = container
        self.client = client
        self.organisation_id = organisation_id
        self.token = token
        self._seen: set[UUID] = set()

    async def new(self) -> list[SuppressionsChanged]:
        await self.container.suppressing.tell_changes()
        async with self.container.engine.connect() as connection:
            query = sa.text("SELECT body FROM outbox WHERE event_type = :kind ORDER BY id")
            bodies = (await connection.execute(query, {"kind": SuppressionsChanged.event_type})).scalars()
            told = [SuppressionsChanged.model_validate_json(body) for body in bodies]
        found = [one for one in told if one.organisation_id == self.organisation_id and one.id not in self._seen]
        self._seen |= {one.id for one in found}
        return found

    async def states(self, change_id: UUID) -> dict[str, str | None]:
        answer = await self.client.get(
            f"/internal/suppression-changes/{change_id}", headers={"Authorization": f"Bearer {self.token}"}
        )
        assert answer.status_code == 200, answer.text
        states = SuppressionStates.model_validate_json(answer.content).states
        return {state.email: state.reason for state in states}

    async def told(self) -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        for one in await self.new():
            found |= await self.states(one.data.change_id)
        return found


async def test_adding_changing_and_lifting_are_told_and_what_changes_nothing_is_not(
    client: httpx.AsyncClient, headers: dict[str, str], changes: Changes
) -> None:
    body: dict[str, Any] = {"emails": ["ada@example.com", "@spam.example"]}
    await client.post("/v1/suppressions", json=body, headers=headers)
    (event,) = await changes.new()
    assert event.data.count == 2
    assert "example" not in event.model_dump_json()
    assert await changes.states(event.data.change_id) == {"ada@example.com": "manual", "@spam.example": "manual"}
    await client.post("/v1/suppressions", json=body, headers=headers)
    assert await changes.told() == {}
    await client.post("/v1/suppressions", json={**body, "reason": "complaint"}, headers=headers)
    assert await changes.told() == {"ada@example.com": "complaint", "@spam.example": "complaint"}
    assert (await client.delete("/v1/suppressions/ada%40example.com", headers=headers)).status_code == 204
    assert await changes.told() == {"ada@example.com": None}
    # Asked again, the first change answers how things are by now.
    assert await changes.states(event.data.change_id) == {"ada@example.com": None, "@spam.example": "complaint"}
    assert (await client.get(f"/internal/suppression-changes/{new_id()}", headers=headers)).status_code == 401


async def test_ten_thousand_are_told_by_ten_events(
    client: httpx.AsyncClient, headers: dict[str, str], changes: Changes
) -> None:
    items = [{"email": f"{number}@many.example"} for number in range(9_999)]
    await client.post("/v1/suppressions/bulk", json={"items": items}, headers=headers)
    events = await changes.new()
    assert [event.data.count for event in events] == [1000] * 9 + [999]
    told: dict[str, str | None] = {}
    for event in events:
        told |= await changes.states(event.data.change_id)
    assert len(told) == 9_999
    assert set(told.values()) == {"import"}


async def test_what_expires_is_told_when_it_is_dropped(
    client: httpx.AsyncClient, container: Container, headers: dict[str, str], changes: Changes
) -> None:
    soon = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    await client.post("/v1/suppressions", json={"emails": ["a@example.com"], "expires_at": soon}, headers=headers)
    assert await changes.told() == {"a@example.com": "manual"}
    async with container.engine.begin() as connection:
        past = sa.text("UPDATE suppressions SET expires_at = now() - interval '1 s' WHERE organisation_id = :id")
        await connection.execute(past, {"id": changes.organisation_id})
    await container.suppressing.purge_expired()
    assert await changes.told() == {"a@example.com": None}


async def test_who_wants_mail_again_and_who_was_erased(container: Container, changes: Changes) -> None:
    back, erased = uuid4(), uuid4()
    now = datetime.now(UTC)
    async with container.engine.begin() as connection:
        for contact_id, email in ((back, "back@example.com"), (erased, "erased@example.com")):
            await connection.execute(
                sa.text(
                    "INSERT INTO suppressions (organisation_id, email, reason, contact_id, source, created_at)"
                    " VALUES (:id, :email, 'unsubscribe', :contact, 'test', :now)"
                ),
                {"id": changes.organisation_id, "email": email, "contact": contact_id, "now": now},
            )
            await connection.execute(
                sa.text("INSERT INTO suppression_changes (organisation_id, email) VALUES (:id, :email)"),
                {"id": changes.organisation_id, "email": email},
            )
    values = {"id": new_id(), "organisation_id": changes.organisation_id, "occurred_at": now + timedelta(seconds=1)}
    await container.suppressing.on_contact_resubscribed(
        ContactResubscribed.about(back, data=ContactRef(contact_id=back), **values), "test"
    )
    wish = ErasureRequest(new_id(), new_id(), changes.organisation_id, erased, "erased@example.com", at=now)
    await container.erasing.erase(wish)
    assert await changes.told() == {"back@example.com": None}


async def test_changes_are_kept_for_a_month_once_they_are_told(container: Container, changes: Changes) -> None:
    async with container.engine.begin() as connection:
        for email, days in (("told@example.com", 31), ("young@example.com", 29), ("untold@example.com", 31)):
            await connection.execute(
                sa.text(
                    "INSERT INTO suppression_changes (organisation_id, email, change_id, at)"
                    " VALUES (:id, :email, :change, now() - make_interval(days => :days))"
                ).bindparams(sa.bindparam("change", type_=sa.Uuid)),
                {
                    "id": changes.organisation_id,
                    "email": email,
                    "change": None if email.startswith("untold") else new_id(),
                    "days": days,
                },
            )
    await container.suppressing.purge_expired()
    async with container.engine.connect() as connection:
        query = sa.text("SELECT email FROM suppression_changes WHERE organisation_id = :id ORDER BY email")
        left = await connection.scalars(query, {"id": changes.organisation_id})
        assert list(left) == ["untold@example.com", "young@example.com"]


async def test_two_that_tell_at_once_tell_everything_once(
    client: httpx.AsyncClient, container: Container, headers: dict[str, str], changes: Changes
) -> None:
    items = [{"email": f"{number}@twice.example"} for number in range(5_000)]
    await client.post("/v1/suppressions/bulk", json={"items": items}, headers=headers)
    await asyncio.gather(*(container.suppressing.tell_changes() for _ in range(3)))
    events = await changes.new()
    assert sum(event.data.count for event in events) == 5_000


async def test_a_dead_address_found_while_sending_is_told_by_the_scheduler(office: Office, smtp_server: Any) -> None:
    audience = members(2)
    smtp_server.reply_to(audience[0].email, "550 5.1.1 no such user", times=1)
    campaign_id = await office.plan(audience, port=smtp_server.port)
    await office.send_all()
    assert await office.counts(campaign_id) == {"bounced": 1, "sent": 1}
    async with office.working("scheduler"):
        (event,) = await eventually(lambda: office.events(SuppressionsChanged))
    _read_at, states = await office.container.suppressing.states(event.data.change_id)
    assert [(state.email, state.reason) for state in states] == [(audience[0].email, "hard_bounce")]
