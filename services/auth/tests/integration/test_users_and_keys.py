"""Users and their roles, API keys, signing keys."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
import sqlalchemy as sa

from posthorn_auth.bootstrap import MIGRATIONS, Container
from posthorn_common import migrations
from posthorn_common.clock import SystemClock
from posthorn_common.testing import INTERNAL_SECRET
from posthorn_common.tokens import ServiceTokens

pytestmark = pytest.mark.integration
PASSWORD = "a long and private sentence"


async def _add(client: httpx.AsyncClient, headers: dict[str, str], role: str) -> httpx.Response:
    body = {"name": role, "email": f"{role}-{uuid4()}@example.com", "password": PASSWORD, "role": role}
    return await client.post("/v1/users", json=body, headers=headers)


async def _sign_in(client: httpx.AsyncClient, user: dict[str, Any]) -> dict[str, str]:
    answer = await client.post("/v1/auth/login", json={"email": user["email"], "password": PASSWORD})
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


@pytest.mark.parametrize(
    ("actor", "added", "status"),
    [
        ("owner", "owner", 201), ("owner", "admin", 201), ("owner", "viewer", 201),
        ("admin", "owner", 403), ("admin", "admin", 201), ("admin", "editor", 201),
        ("editor", "viewer", 403), ("viewer", "viewer", 403),
    ],
)  # fmt: skip
async def test_who_may_add_whom(client: httpx.AsyncClient, register: Any, actor: str, added: str, status: int) -> None:
    owner = (await register())["headers"]
    headers = owner if actor == "owner" else await _sign_in(client, (await _add(client, owner, actor)).json())
    assert (await _add(client, headers, added)).status_code == status


async def test_an_admin_cannot_touch_an_owner_and_nobody_raises_themselves(
    client: httpx.AsyncClient, register: Any
) -> None:
    owner = await register()
    admin = (await _add(client, owner["headers"], "admin")).json()
    admin_headers = await _sign_in(client, admin)
    for body in ({"role": "viewer"}, {"status": "deactivated"}):
        answer = await client.patch(f"/v1/users/{owner['user']['id']}", json=body, headers=admin_headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "role_not_sufficient")
    raised = await client.patch(f"/v1/users/{admin['id']}", json={"role": "owner"}, headers=admin_headers)
    assert raised.status_code == 403


async def test_the_last_owner_stays(client: httpx.AsyncClient, register: Any) -> None:
    owner = await register()
    path = f"/v1/users/{owner['user']['id']}"
    gone = await client.delete(path, headers=owner["headers"])
    assert (gone.status_code, gone.json()["code"]) == (409, "last_owner")
    second = (await _add(client, owner["headers"], "owner")).json()
    second_headers = await _sign_in(client, second)
    assert (await client.patch(path, json={"role": "viewer"}, headers=second_headers)).status_code == 200


async def test_a_deactivated_user_is_out_at_once(client: httpx.AsyncClient, register: Any) -> None:
    owner = await register()
    editor = (await _add(client, owner["headers"], "editor")).json()
    login = {"email": editor["email"], "password": PASSWORD}
    tokens = (await client.post("/v1/auth/login", json=login)).json()
    assert (await client.delete(f"/v1/users/{editor['id']}", headers=owner["headers"])).status_code == 204
    assert (await client.post("/v1/auth/login", json=login)).status_code == 401
    refreshed = await client.post("/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
    assert refreshed.status_code == 401


async def test_users_of_another_organisation_do_not_exist(client: httpx.AsyncClient, register: Any) -> None:
    owner, stranger = await register(), await register()
    path = f"/v1/users/{owner['user']['id']}"
    assert (await client.get(path, headers=stranger["headers"])).status_code == 404
    assert (await client.patch(path, json={"name": "x"}, headers=stranger["headers"])).status_code == 404
    assert (await client.delete(path, headers=stranger["headers"])).status_code == 404
    listed = (await client.get("/v1/users", headers=stranger["headers"])).json()["items"]
    assert [user["id"] for user in listed] == [stranger["user"]["id"]]


async def test_users_are_listed_in_pages(client: httpx.AsyncClient, register: Any) -> None:
    owner = (await register())["headers"]
    for _ in range(4):
        await _add(client, owner, "viewer")
    seen: list[str] = []
    cursor = None
    while True:
        params = {"limit": "2", **({"cursor": cursor} if cursor else {})}
        page = (await client.get("/v1/users", params=params, headers=owner)).json()
        seen += [user["id"] for user in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 5
    assert (await client.get("/v1/users?cursor=WzFd", headers=owner)).status_code == 400


def _service(container: Container) -> dict[str, str]:
    tokens = ServiceTokens(INTERNAL_SECRET, service="gateway", clock=SystemClock())
    return {"Authorization": f"Bearer {tokens.issue('auth')}"}


async def test_an_api_key_is_exchanged_until_it_is_revoked(
    client: httpx.AsyncClient, container: Container, register: Any
) -> None:
    owner = (await register())["headers"]
    body = {"name": "Reporting", "scopes": ["statistics:read"]}
    key = (await client.post("/v1/api-keys", json=body, headers=owner)).json()
    assert key["api_key"].startswith(key["prefix"])
    exchange = {"api_key": key["api_key"]}
    answer = await client.post("/internal/api-keys/exchange", json=exchange, headers=_service(container))
    assert answer.status_code == 200
    caller = await container.identity.verifier.verify(answer.json()["access_token"])
    assert (caller.kind, caller.scopes) == ("api_key", {"statistics:read"})
    listed = (await client.get("/v1/api-keys", headers=owner)).json()["items"]
    assert "api_key" not in listed[0]
    assert listed[0]["last_used_at"] is not None
    assert (await client.delete(f"/v1/api-keys/{key['id']}", headers=owner)).status_code == 204
    dead = await client.post("/internal/api-keys/exchange", json=exchange, headers=_service(container))
    assert (dead.status_code, dead.json()["code"]) == (401, "invalid_api_key")


async def test_the_gateway_is_told_what_was_revoked_lately(
    client: httpx.AsyncClient, container: Container, register: Any
) -> None:
    owner = (await register())["headers"]
    body = {"name": "Gone", "scopes": ["statistics:read"]}
    keys = [(await client.post("/v1/api-keys", json=body, headers=owner)).json()["id"] for _ in range(3)]
    session = (await client.get("/v1/sessions", headers=owner)).json()["items"][0]["id"]
    await client.delete(f"/v1/api-keys/{keys[0]}", headers=owner)
    await client.delete(f"/v1/api-keys/{keys[1]}", headers=owner)
    async with container.engine.begin() as connection:
        age = sa.text("UPDATE api_keys SET revoked_at = revoked_at - interval '1 hour' WHERE id = :id")
        await connection.execute(age, {"id": keys[1]})
    await client.post("/v1/auth/logout", headers=owner)
    answer = await client.get("/internal/revocations?seconds=660", headers=_service(container))
    told = {item["id"] for item in answer.json()["revoked"]}
    assert told >= {keys[0], session}
    assert not told & {keys[1], keys[2]}
    assert (await client.get("/internal/revocations?seconds=660", headers=owner)).status_code == 401
    assert (await client.get("/internal/revocations", headers=_service(container))).status_code == 422


async def test_no_token_outlives_its_api_key(client: httpx.AsyncClient, container: Container, register: Any) -> None:
    owner = (await register())["headers"]
    soon = (datetime.now(UTC) + timedelta(seconds=60)).isoformat()
    body = {"name": "Short", "scopes": ["statistics:read"], "expires_at": soon}
    key = (await client.post("/v1/api-keys", json=body, headers=owner)).json()["api_key"]
    answer = await client.post("/internal/api-keys/exchange", json={"api_key": key}, headers=_service(container))
    caller = await container.identity.verifier.verify(answer.json()["access_token"])
    assert answer.json()["expires_in"] <= 60
    assert caller.expires_at <= datetime.now(UTC).timestamp() + 60


@pytest.mark.parametrize(
    "expires_at",
    ["2020-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "2030-01-01T00:00:00"],
)
async def test_an_api_key_needs_a_time_to_come(client: httpx.AsyncClient, register: Any, expires_at: str) -> None:
    body = {"name": "Odd", "scopes": ["statistics:read"], "expires_at": expires_at}
    answer = await client.post("/v1/api-keys", json=body, headers=(await register())["headers"])
    assert answer.status_code == 422


async def test_nobody_without_a_service_token_exchanges_keys(client: httpx.AsyncClient, register: Any) -> None:
    owner = (await register())["headers"]
    for headers in ({}, owner):
        answer = await client.post("/internal/api-keys/exchange", json={"api_key": "x"}, headers=headers)
        assert answer.status_code == 401


async def test_an_api_key_may_do_no_more_than_its_creator(client: httpx.AsyncClient, register: Any) -> None:
    owner = (await register())["headers"]
    admin = await _sign_in(client, (await _add(client, owner, "admin")).json())
    body = {"name": "Too much", "scopes": ["organisation:write"]}
    answer = await client.post("/v1/api-keys", json=body, headers=admin)
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_not_held")


async def test_keys_of_another_organisation_do_not_exist(client: httpx.AsyncClient, register: Any) -> None:
    owner, stranger = (await register())["headers"], (await register())["headers"]
    body = {"name": "Ours", "scopes": ["contacts:read"]}
    key = (await client.post("/v1/api-keys", json=body, headers=owner)).json()
    assert (await client.delete(f"/v1/api-keys/{key['id']}", headers=stranger)).status_code == 404


async def test_a_new_signing_key_is_published_before_it_signs(
    client: httpx.AsyncClient, container: Container, register: Any
) -> None:
    before = (await client.get("/.well-known/jwks.json")).json()["keys"]
    new = await container.key_ring.rotate()
    after = (await client.get("/.well-known/jwks.json")).json()["keys"]
    assert {key["kid"] for key in after} == {key["kid"] for key in before} | {new.id}
    assert not {"d", "k"} & set().union(*after), "no private part is published"
    token = (await register())["access_token"]
    caller = await container.identity.verifier.verify(token)
    assert caller.role == "owner", "tokens are still signed by the old key, which every verifier knows"


async def test_events_tell_what_happened(container: Container, register: Any) -> None:
    registered = await register()
    async with container.engine.connect() as connection:
        query = sa.text("SELECT event_type FROM outbox WHERE body LIKE :organisation")
        types = set(await connection.scalars(query, {"organisation": f"%{registered['organisation']['id']}%"}))
    assert types == {"auth.organisation.registered.v1", "auth.user.added.v1"}


async def test_the_schema_can_be_built_and_taken_down(make_database: Callable[[str], str]) -> None:
    url = make_database("auth")
    await migrations.upgrade(url, MIGRATIONS)
    await migrations.check(url, MIGRATIONS)
    await migrations.downgrade(url, MIGRATIONS)
    await migrations.upgrade(url, MIGRATIONS)
