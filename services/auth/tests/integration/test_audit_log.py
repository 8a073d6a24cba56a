"""The audit log: told by every service, kept once and for ever, shown to whoever may see it."""

from __future__ import annotations

import asyncio
import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import sqlalchemy as sa

from posthorn_auth.bootstrap import Container
from posthorn_auth.domain.mails import MailPurpose
from posthorn_auth.entrypoints.consumers import subscribe
from posthorn_common.auditing import Action, recorded
from posthorn_common.clock import new_id
from posthorn_contracts.audit.v1 import ActionRecorded, ActorKind

pytestmark = pytest.mark.integration

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


def told(organisation_id: Any, action: str = "pause_campaign", *, at: datetime = NOW, **changes: Any) -> ActionRecorded:
    facts: dict[str, Any] = {
        "service": "campaigns", "actor_kind": ActorKind.USER, "actor_id": new_id(), "address": "192.0.2.7",
        "resource_kind": "campaign", "resource_id": new_id(), **changes,
    }  # fmt: skip
    event = recorded(Action(name=action, organisation_id=UUID(str(organisation_id)), **facts))
    return event.model_copy(update={"occurred_at": at})


async def entries(client: httpx.AsyncClient, owner: dict[str, Any], **query: Any) -> list[dict[str, Any]]:
    answer = await client.get("/v1/audit-log", params=query, headers=owner["headers"])
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


async def _told(container: Container) -> list[str]:
    async with container.engine.connect() as connection:
        query = sa.text("SELECT body FROM outbox WHERE event_type = :type")
        return list(await connection.scalars(query, {"type": ActionRecorded.event_type}))


async def _keep_what_was_told(container: Container) -> None:
    """Do what relay and consumer do."""
    for body in await _told(container):
        await container.audit_log.on_action_recorded(ActionRecorded.model_validate_json(body))


async def test_the_same_event_twice_is_one_entry(
    client: httpx.AsyncClient, container: Container, register: Any
) -> None:
    owner = await register()
    event = told(owner["organisation"]["id"])
    await asyncio.gather(*(container.audit_log.on_action_recorded(event) for _ in range(5)))
    (entry,) = await entries(client, owner)
    assert entry == {
        "id": str(event.id),
        "at": "2026-03-02T09:30:00Z",
        "service": "campaigns",
        "action": "pause_campaign",
        "outcome": "done",
        "actor_kind": "user",
        "actor_id": str(event.data.actor_id),
        "actor_name": None,
        "resource_kind": "campaign",
        "resource_id": str(event.data.resource_id),
        "address": "192.0.2.7",
        "request_id": event.data.request_id,
    }


async def test_what_auth_does_is_told_with_names_and_addresses(
    client: httpx.AsyncClient, container: Container, register: Any
) -> None:
    owner = await register()
    user_id = owner["user"]["id"]
    login = {"email": owner["user"]["email"], "password": "a long and private sentence"}
    where = {"X-Forwarded-For": "192.0.2.9"}
    assert (await client.post("/v1/auth/login", json={**login, "password": "wrong"}, headers=where)).status_code == 401
    assert (await client.post("/v1/auth/login", json=login, headers=where)).status_code == 200
    member = {"name": "Grace", "email": f"{uuid4()}@example.com", "password": login["password"], "role": "viewer"}
    added = (await client.post("/v1/users", json=member, headers=owner["headers"])).json()
    body = {"name": "Importer", "scopes": ["contacts:read"]}
    key = (await client.post("/v1/api-keys", json=body, headers={**owner["headers"], **where})).json()
    await client.delete(f"/v1/api-keys/{key['id']}", headers=owner["headers"])
    await _keep_what_was_told(container)
    found = [
        (one["action"], one["outcome"], one["actor_kind"], one["actor_name"], one["resource_kind"], one["resource_id"])
        for one in reversed(await entries(client, owner))
    ]
    assert found == [
        ("sign_in", "done", "user", "Ada", "user", user_id),
        ("sign_in", "refused", "unknown", None, "user", user_id),
        ("sign_in", "done", "user", "Ada", "user", user_id),
        ("add_user", "done", "user", "Ada", "user", added["id"]),
        ("create_api_key", "done", "user", "Ada", "api_key", key["id"]),
        ("revoke_api_key", "done", "user", "Ada", "api_key", key["id"]),
    ]
    assert {one["address"] for one in await entries(client, owner, action="create_api_key")} == {"192.0.2.9"}


async def test_refusing_a_stranger_writes_as_much_as_refusing_a_user_and_leaves_no_entry(
    client: httpx.AsyncClient, container: Container, register: Any
) -> None:
    owner = await register()
    written = []
    for email in (owner["user"]["email"], f"{uuid4()}@example.com"):
        before = await _told(container)
        refused = await client.post("/v1/auth/login", json={"email": email, "password": "whatever it is"})
        assert refused.status_code == 401
        written.append(len(await _told(container)) - len(before))
    assert written == [1, 1]
    await _keep_what_was_told(container)
    assert [one["outcome"] for one in await entries(client, owner)] == ["refused", "done"]
    async with container.engine.connect() as connection:
        of_nobody = "SELECT count(*) FROM audit_entries WHERE organisation_id = '00000000-0000-0000-0000-000000000000'"
        assert await connection.scalar(sa.text(of_nobody)) == 0


async def test_what_is_proved_by_a_link_is_told(
    client: httpx.AsyncClient, container: Container, register: Any, token_of: Any
) -> None:
    owner = await register()
    email, where = owner["user"]["email"], {"X-Forwarded-For": "192.0.2.11"}
    await client.post("/v1/auth/email/verification", headers=owner["headers"])
    body = {"token": await token_of(email, MailPurpose.VERIFY_EMAIL)}
    assert (await client.post("/v1/auth/email/confirm", json=body, headers=where)).status_code == 200
    await client.post("/v1/auth/password-reset", json={"email": email})
    await container.sending_mails.send_due()  # finds out whose address it is
    token = await token_of(email, MailPurpose.RESET_PASSWORD)
    reset = {"token": token, "new_password": "another long and private sentence"}
    assert (await client.post("/v1/auth/password-reset/complete", json=reset, headers=where)).status_code == 204
    await _keep_what_was_told(container)
    found = await entries(client, owner)
    assert [(one["action"], one["actor_name"], one["address"]) for one in found][:2] == [
        ("reset_password", "Ada", "192.0.2.11"), ("confirm_email", "Ada", "192.0.2.11"),
    ]  # fmt: skip


async def test_who_accepts_an_invitation_is_told_as_themselves(
    client: httpx.AsyncClient, container: Container, register: Any, token_of: Any
) -> None:
    owner = await register()
    email = f"{uuid4()}@example.com"
    invitation = (
        await client.post("/v1/invitations", json={"email": email, "role": "viewer"}, headers=owner["headers"])
    ).json()
    token = await token_of(email, MailPurpose.INVITATION)
    body = {"token": token, "name": "Grace", "password": "a quite different sentence"}
    assert (await client.post("/v1/auth/invitations/accept", json=body)).status_code == 201
    await _keep_what_was_told(container)
    accepted, invited, _sign_in = await entries(client, owner)
    assert (accepted["action"], accepted["actor_name"]) == ("accept_invitation", "Grace")
    assert (invited["resource_kind"], invited["resource_id"]) == ("invitation", invitation["id"])


async def test_entries_are_filtered_and_paged_newest_first(
    client: httpx.AsyncClient, container: Container, register: Any
) -> None:
    owner = await register()
    organisation_id, who, what = owner["organisation"]["id"], new_id(), new_id()
    for minute in range(6):
        changes: dict[str, Any] = {"actor_id": who} if minute % 2 else {"resource_id": what, "service": "mailer"}
        at = NOW + timedelta(minutes=minute // 2)  # two at the same time
        await container.audit_log.on_action_recorded(told(organisation_id, f"action_{minute}", at=at, **changes))
    assert {one["action"] for one in await entries(client, owner, actor_id=str(who))} == {
        "action_1", "action_3", "action_5",
    }  # fmt: skip
    assert len(await entries(client, owner, resource_id=str(what), service="mailer")) == 3
    assert len(await entries(client, owner, action="action_2")) == 1
    period = {"since": (NOW + timedelta(minutes=1)).isoformat(), "until": (NOW + timedelta(minutes=2)).isoformat()}
    assert {one["action"] for one in await entries(client, owner, **period)} == {"action_2", "action_3"}
    seen, cursor = [], None
    while True:
        query = {"limit": 4, **({"cursor": cursor} if cursor else {})}
        page = (await client.get("/v1/audit-log", params=query, headers=owner["headers"])).json()
        seen += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == len({one["id"] for one in seen}) == 6
    assert [one["at"] for one in seen] == sorted((one["at"] for one in seen), reverse=True)


@pytest.mark.parametrize("cursor", ["rubbish", "WzFd", "WyJzb29uIiwieCJd"])
async def test_a_cursor_that_is_none_is_refused(client: httpx.AsyncClient, register: Any, cursor: str) -> None:
    owner = await register()
    refused = await client.get("/v1/audit-log", params={"cursor": cursor}, headers=owner["headers"])
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_cursor")


async def test_another_organisation_sees_nothing_of_it(
    client: httpx.AsyncClient, container: Container, register: Any
) -> None:
    owner, stranger = await register(), await register()
    await container.audit_log.on_action_recorded(told(owner["organisation"]["id"], actor_id=owner["user"]["id"]))
    assert await entries(client, stranger, actor_id=owner["user"]["id"]) == []
    assert [one["actor_name"] for one in await entries(client, owner)] == ["Ada"]


async def test_the_csv_holds_all_and_runs_nothing_in_a_spreadsheet(
    client: httpx.AsyncClient, container: Container, register: Any
) -> None:
    owner = await register(name="=cmd()")
    for _ in range(3):
        await container.audit_log.on_action_recorded(told(owner["organisation"]["id"], actor_id=owner["user"]["id"]))
    answer = await client.get("/v1/audit-log.csv", headers=owner["headers"])
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["action"], row["actor_name"]) for row in rows] == [("pause_campaign", "'=cmd()")] * 3


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_entries SET action = ''", "DELETE FROM audit_entries", "TRUNCATE audit_entries"]
)
async def test_the_database_refuses_every_change_of_what_is_there(container: Container, statement: str) -> None:
    with pytest.raises(sa.exc.DBAPIError, match="never changed"):
        async with container.engine.begin() as connection:
            await connection.execute(sa.text(statement))


async def test_what_is_told_arrives_through_rabbitmq(
    client: httpx.AsyncClient, container: Container, register: Any
) -> None:
    owner = await register()
    subscribe(container.bus, container.audit_log)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(container.bus.run(stop))
        tasks.create_task(container.relay.run(stop))
        for _ in range(600):
            found = await entries(client, owner)
            if found:
                break
            await asyncio.sleep(0.1)
        stop.set()
    assert [one["action"] for one in found] == ["sign_in"]
