"""Contacts show whom the mailer's suppression list keeps back, whatever comes in which order."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import sqlalchemy as sa
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from posthorn_campaigns.adapters.db.audiences import audience_query
from posthorn_campaigns.adapters.db.unit_of_work import SqlUnitOfWork
from posthorn_campaigns.app.erasing import ErasureWish
from posthorn_campaigns.bootstrap import Container, bootstrap
from posthorn_campaigns.domain.segments import Audience
from posthorn_campaigns.entrypoints.http.app import build_app
from posthorn_campaigns.settings import Settings
from posthorn_common.clock import SystemClock, new_id
from posthorn_common.errors import TransientError
from posthorn_common.testing import INTERNAL_SECRET
from posthorn_common.tokens import ServiceTokens
from posthorn_contracts.mailer.v1 import (
    ContactSuppressed,
    ContactSuppressedData,
    SuppressionsChanged,
    SuppressionsChangedData,
)

from .campaign_support import Json, Office, listening, told
from .plan_support import nodes_of, plan_of, sequential_scans

pytestmark = pytest.mark.integration
NOW = datetime.now(UTC)


class SuppressingMailer:
    """Answers how suppressions are, as the mailer does."""

    def __init__(self) -> None:
        self.answers: dict[str, Json] = {}
        self.is_away = False
        self._tokens = ServiceTokens(INTERNAL_SECRET, service="mailer", clock=SystemClock())

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.get("/internal/suppression-changes/{change_id}")
        async def answer(change_id: UUID, request: Request) -> Any:
            assert self._tokens.verify(request.headers["authorization"].removeprefix("Bearer ")) == "campaigns"
            return JSONResponse({}, status_code=503) if self.is_away else self.answers[str(change_id)]

        return app


class Told:
    """An office whose mailer tells something."""

    def __init__(self, office: Office, container: Container, mailer: SuppressingMailer) -> None:
        self.office = office
        self.container = container
        self.mailer = mailer

    def event(self, states: dict[str, Any], *, read_at: datetime = NOW) -> SuppressionsChanged:
        """Return an event whose answer is these states: a reason, None, or a reason and the end."""
        change_id, listed = new_id(), []
        for email, state in states.items():
            reason, end = state if isinstance(state, tuple) else (state, None)
            since = None if reason is None else NOW.isoformat()
            listed.append({"email": email, "reason": reason, "since": since, "expires_at": end and end.isoformat()})
        self.mailer.answers[str(change_id)] = {"read_at": read_at.isoformat(), "states": listed}
        data = SuppressionsChangedData(change_id=change_id, count=max(1, len(listed)))
        event: SuppressionsChanged = told(SuppressionsChanged, self.office, str(self.office.organisation_id), data)
        return event

    async def hear(self, event: SuppressionsChanged) -> None:
        await self.container.following_suppressions.on_suppressions_changed(event)

    async def tell(self, states: dict[str, Any], *, after: float = 0) -> None:
        event = self.event(states, read_at=NOW + timedelta(seconds=after))
        for _ in range(2):  # delivered twice
            await self.hear(event)

    async def contact(self, contact: Json) -> Json:
        return await self.office.get(f"/v1/contacts/{contact['id']}")

    async def reason(self, contact: Json) -> str | None:
        found = (await self.contact(contact))["suppression"]
        return None if found is None else str(found["reason"])

    async def timeline(self, contact: Json) -> list[str]:
        return [item["kind"] for item in (await self.office.get(f"/v1/contacts/{contact['id']}/timeline"))["items"]]

    async def listed(self, query: str) -> set[str]:
        return {item["id"] for item in (await self.office.get(f"/v1/contacts?{query}"))["items"]}

    async def audience(self, list_id: str) -> set[str]:
        audience = Audience(self.office.organisation_id, NOW, (UUID(list_id),))
        async with SqlUnitOfWork(self.container.engine) as uow:
            return {str(contact.id) for contact in await uow.audiences.page(audience, None, 100)}


@pytest.fixture
async def said(settings: Settings, container: Container, headers: Any, organisation_id: Any) -> AsyncGenerator[Told]:
    mailer = SuppressingMailer()
    async with listening(mailer.app()) as url, bootstrap(settings.model_copy(update={"mailer_url": url})) as opened:
        app = build_app(dataclasses.replace(opened, identity=container.identity))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://campaigns") as client:
            yield Told(Office(client, headers, organisation_id), opened, mailer)


async def test_a_suppressed_contact_shows_why_and_is_in_no_audience_until_it_is_lifted(said: Told) -> None:
    list_id = await said.office.a_list()
    ada, bob = await said.office.a_contact(list_id), await said.office.a_contact(list_id)
    segment = await said.office.post("/v1/segments", {"name": "Adas", "rule": {"field": "first_name", "is": "Ada"}})
    end = NOW + timedelta(days=7)
    await said.tell({ada["email"]: ("manual", end), "nobody-known@example.com": "import"})
    found = (await said.contact(ada))["suppression"]
    assert (found["reason"], found["is_of_domain"]) == ("manual", False)
    assert datetime.fromisoformat(found["expires_at"]) == end
    assert (await said.contact(bob))["suppression"] is None
    assert (await said.contact(ada))["status"] == "active"
    assert await said.listed("suppressed=true") == {ada["id"]}
    assert await said.listed("suppressed=false") == {bob["id"]}
    assert await said.listed(f"suppressed=true&list_id={list_id}") == {ada["id"]}
    assert await said.listed("status=active") == {ada["id"], bob["id"]}
    assert await said.audience(list_id) == {bob["id"]}
    preview = await said.office.get(f"/v1/segments/{segment['id']}/preview")
    assert (preview["contacts"], preview["active"]) == (2, 1)
    await said.tell({ada["email"]: None}, after=1)
    assert await said.reason(ada) is None
    assert await said.audience(list_id) == {ada["id"], bob["id"]}
    assert await said.timeline(ada) == ["suppression_lifted", "address_suppressed", "subscribed"]
    assert await said.timeline(bob) == ["subscribed"]


async def test_a_domain_keeps_back_everybody_there_also_who_comes_later_and_in_other_organisations_nobody(
    said: Told, sign_in: Any
) -> None:
    domain = f"{uuid4()}.example"
    list_id = await said.office.a_list()
    here = await said.office.a_contact(list_id, email=f"ada@{domain}")
    below = await said.office.a_contact(list_id, email=f"ada@mail.{domain}")
    await said.tell({f"@{domain}": "manual"})
    later = await said.office.a_contact(list_id, email=f"bob@{domain}")
    assert [(await said.contact(one))["suppression"]["is_of_domain"] for one in (here, later)] == [True, True]
    assert await said.reason(below) is None
    assert await said.audience(list_id) == {below["id"]}
    assert await said.listed("suppressed=true") == {here["id"], later["id"]}
    assert (await said.timeline(here))[0] == "address_suppressed"
    stranger = Office(said.office.client, sign_in(), uuid4())
    other = await stranger.a_contact(email=f"ada@{domain}")
    assert other["suppression"] is None
    # Its own address keeps it back when the domain does not any more.
    await said.tell({here["email"]: "complaint"}, after=1)
    await said.tell({f"@{domain}": None}, after=2)
    assert [await said.reason(one) for one in (here, later)] == ["complaint", None]
    assert (await said.timeline(later))[0] == "suppression_lifted"


async def test_what_was_read_later_counts_whatever_comes_first(said: Told) -> None:
    contact = await said.office.a_contact()
    lifted = said.event({contact["email"]: None}, read_at=NOW + timedelta(seconds=2))
    suppressed = said.event({contact["email"]: "manual"}, read_at=NOW + timedelta(seconds=1))
    await said.hear(lifted)
    await said.hear(suppressed)
    assert await said.reason(contact) is None
    assert await said.timeline(contact) == []
    await said.tell({contact["email"]: "import"}, after=3)
    assert await said.reason(contact) == "import"


async def test_what_has_expired_keeps_nobody_back_though_nobody_has_said_so_yet(said: Told) -> None:
    list_id = await said.office.a_list()
    contact = await said.office.a_contact(list_id)
    await said.tell({contact["email"]: ("manual", NOW - timedelta(seconds=1))})
    assert await said.reason(contact) is None
    assert await said.audience(list_id) == {contact["id"]}
    assert await said.listed("suppressed=true") == set()


async def test_a_bounced_contact_is_active_again_when_its_suppression_is_lifted_and_who_left_or_complained_is_not(
    said: Told,
) -> None:
    contacts = [await said.office.a_contact() for _ in range(3)]
    bounced, complained, left = contacts
    sends = said.container.following_sends
    for contact, reason in ((bounced, "hard_bounce"), (complained, "complaint")):
        data = ContactSuppressedData.model_validate({"contact_id": contact["id"], "reason": reason})
        await sends.on_contact_suppressed(told(ContactSuppressed, said.office, contact["id"], data))
    await said.office.post(f"/v1/contacts/{left['id']}/actions/unsubscribe", status=200)
    await said.tell({contact["email"]: "hard_bounce" for contact in contacts})
    assert (await said.contact(bounced))["status"] == "bounced"
    await said.tell({contact["email"]: None for contact in contacts}, after=1)
    now = [(await said.contact(contact))["status"] for contact in contacts]
    assert now == ["active", "complained", "unsubscribed"]


async def test_an_erased_contact_s_address_is_nowhere(said: Told) -> None:
    contact = await said.office.a_contact()
    await said.tell({contact["email"]: "manual"})
    wish = ErasureWish(UUID(contact["id"]), "user", new_id())
    await said.container.erasing.ask(said.office.organisation_id, wish)
    # Read by the mailer before it has heard of the erasure.
    await said.tell({contact["email"]: "import"}, after=1)
    async with said.container.engine.connect() as connection:
        query = sa.text("SELECT count(*) FROM suppressed_addresses WHERE email = :email")
        assert await connection.scalar(query, {"email": contact["email"]}) == 0


async def test_while_the_mailer_is_away_the_event_waits_and_nothing_is_half_done(said: Told) -> None:
    contact = await said.office.a_contact()
    event = said.event({contact["email"]: "manual"})
    said.mailer.is_away = True
    with pytest.raises(TransientError):
        await said.hear(event)
    assert await said.reason(contact) is None
    said.mailer.is_away = False
    await said.hear(event)
    assert await said.reason(contact) == "manual"


async def test_thousands_are_taken_over_set_by_set(said: Told) -> None:
    """One event has a thousand at most; its statements are as many as for one."""
    rows = [{"email": f"{number}@many.example", "first_name": "Ada"} for number in range(1000)]
    await said.office.post("/v1/contacts/bulk", {"contacts": rows}, status=200)
    statements: list[str] = []
    sync_engine = said.container.engine.sync_engine
    record = lambda *args: statements.append(args[2])  # noqa: E731  taken off below
    sa.event.listen(sync_engine, "before_cursor_execute", record)
    try:
        await said.hear(said.event({row["email"]: "import" for row in rows}))
    finally:
        sa.event.remove(sync_engine, "before_cursor_execute", record)
    assert len(statements) < 8, statements
    async with said.container.engine.connect() as connection:
        noted = sa.text("SELECT count(*) FROM activities WHERE organisation_id = :id AND kind = 'address_suppressed'")
        assert await connection.scalar(noted, {"id": said.office.organisation_id}) == 1000


async def test_lifted_ones_are_forgotten_after_a_month(said: Told) -> None:
    old, young = "old@purged.example", "young@purged.example"
    await said.tell({old: None, young: None})
    async with said.container.engine.begin() as connection:
        await connection.execute(
            sa.text("UPDATE suppressed_addresses SET told_at = now() - interval '32 days' WHERE email = :email"),
            {"email": old},
        )
    await said.container.following_suppressions.purge()
    async with said.container.engine.connect() as connection:
        query = sa.text("SELECT email FROM suppressed_addresses WHERE email LIKE '%purged.example'")
        assert list(await connection.scalars(query)) == [young]


_MANY = (
    """
    INSERT INTO contacts (id, organisation_id, email, first_name, last_name, attributes, status, created_at, updated_at)
    SELECT uuidv7(), :organisation, n || '@plan.example', '', '', '{}', 'active', now(), now()
    FROM generate_series(1, 20000) n
    """,
    """
    INSERT INTO subscriptions (list_id, contact_id, organisation_id, status, changed_at)
    SELECT :list, id, organisation_id, 'subscribed', now() FROM contacts WHERE organisation_id = :organisation
    """,
    """
    INSERT INTO suppressed_addresses (organisation_id, email, reason, since, told_at)
    SELECT :organisation, n || '@plan.example', 'import', now(), now() FROM generate_series(1, 60000, 3) n
    """,
)


async def test_an_audience_asks_the_index_about_each_of_its_contacts(said: Told) -> None:
    list_id = await said.office.a_list()
    organisation_id = said.office.organisation_id
    async with said.container.engine.connect() as connection, connection.begin() as transaction:
        values = {"organisation": organisation_id, "list": UUID(list_id)}
        for statement in _MANY:
            names = [name for name in values if f":{name}" in statement]
            bound = sa.text(statement).bindparams(*(sa.bindparam(name, type_=sa.Uuid) for name in names))
            await connection.execute(bound, {name: values[name] for name in names})
        for table in ("contacts", "subscriptions", "suppressed_addresses"):
            await connection.execute(sa.text(f"ANALYZE {table}"))
        audience = Audience(organisation_id, NOW, (UUID(list_id),))
        plan = await plan_of(connection, audience_query(audience, None, 500))
        await transaction.rollback()
    assert sequential_scans(plan) == []
    asked = [node["Index Name"] for node in nodes_of(plan) if node.get("Relation Name") == "suppressed_addresses"]
    assert asked == ["pk_suppressed_addresses"]
