"""Users and their roles, API keys, signing keys."""

from __future__ import annotations

import asyncio
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


async def _key(client: httpx.AsyncClient, headers: dict[str, str], scope: str, **more: Any) -> dict[str, Any]:
    body = {"name": "Program", "scopes": [scope], **more}
    answer = await client.post("/v1/api-keys", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def _works(client: httpx.AsyncClient, container: Container, key: dict[str, Any]) -> bool:
    body = {"api_key": key["api_key"]}
    return (await client.post("/internal/api-keys/exchange", json=body, headers=_service(container))).status_code == 200


async def test_a_key_is_replaced_and_works_for_an_overlap(
    client: httpx.AsyncClient, container: Container, register: Any
) -> None:
    owner = (await register())["headers"]
    soon = (datetime.now(UTC) + timedelta(days=30)).isoformat()
    old = await _key(client, owner, "contacts:read", expires_at=soon)
    path = f"/v1/api-keys/{old['id']}/rotate"
    answers = await asyncio.gather(
        *(client.post(path, json={"overlap_seconds": 3600}, headers=owner) for _ in range(3))
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]
    (new,) = [answer.json() for answer in answers if answer.status_code == 201]
    assert (new["name"], new["scopes"]) == (old["name"], old["scopes"])
    assert [await _works(client, container, key) for key in (old, new)] == [True, True]
    listed = {key["id"]: key for key in (await client.get("/v1/api-keys", headers=owner)).json()["items"]}
    assert listed[old["id"]]["replaced_by"] == new["id"]
    left = datetime.fromisoformat(listed[old["id"]]["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=55) < left <= timedelta(hours=1)
    async with container.engine.begin() as connection:
        over = sa.text("UPDATE api_keys SET expires_at = now() - interval '1 second' WHERE id = :id")
        await connection.execute(over, {"id": old["id"]})
    assert [await _works(client, container, key) for key in (old, new)] == [False, True]


async def test_a_key_is_replaced_without_an_overlap_and_the_gateways_are_told(
    client: httpx.AsyncClient, container: Container, register: Any
) -> None:
    owner, stranger = (await register())["headers"], (await register())["headers"]
    old = await _key(client, owner, "contacts:read")
    path = f"/v1/api-keys/{old['id']}/rotate"
    assert (await client.post(path, json={}, headers=stranger)).status_code == 404
    assert (await client.post(path, json={"overlap_seconds": 0}, headers=owner)).status_code == 201
    assert not await _works(client, container, old)
    assert old["id"] in await _told_of_revoked_keys(container)


async def test_nobody_gets_by_replacing_a_key_what_they_could_not_make(
    client: httpx.AsyncClient, register: Any
) -> None:
    owner = (await register())["headers"]
    admin = await _sign_in(client, (await _add(client, owner, "admin")).json())
    key = await _key(client, owner, "organisation:write")
    refused = await client.post(f"/v1/api-keys/{key['id']}/rotate", json={}, headers=admin)
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_not_held")


async def _told_of_revoked_keys(container: Container) -> set[str]:
    async with container.engine.connect() as connection:
        query = sa.text("SELECT body::jsonb->'data'->>'api_key_id' FROM outbox WHERE event_type LIKE 'auth.api-key.%'")
        return set(await connection.scalars(query))


@pytest.mark.parametrize(
    ("change", "works"),
    [
        ({"status": "deactivated"}, [False, False]),
        ({"role": "editor"}, [False, True]),
        ({"status": "deactivated", "keep_api_keys": True}, [True, True]),
    ],
)
async def test_keys_may_do_no_more_than_their_creator_unless_an_admin_keeps_them(
    client: httpx.AsyncClient, container: Container, register: Any, change: dict[str, Any], works: list[bool]
) -> None:
    owner = (await register())["headers"]
    admin = (await _add(client, owner, "admin")).json()
    headers = await _sign_in(client, admin)
    keys = [await _key(client, headers, scope) for scope in ("users:read", "contacts:write")]
    others = await _key(client, owner, "users:read")
    assert (await client.patch(f"/v1/users/{admin['id']}", json=change, headers=owner)).status_code == 200
    assert [await _works(client, container, key) for key in keys] == works
    assert await _works(client, container, others)
    told = await _told_of_revoked_keys(container)
    assert [key["id"] in told for key in keys] == [not good for good in works]


async def test_an_access_token_of_somebody_who_was_demoted_makes_no_key(
    client: httpx.AsyncClient, register: Any
) -> None:
    owner = (await register())["headers"]
    admin = (await _add(client, owner, "admin")).json()
    headers = await _sign_in(client, admin)
    await client.patch(f"/v1/users/{admin['id']}", json={"role": "editor"}, headers=owner)
    body = {"name": "Late", "scopes": ["users:read"]}
    answer = await client.post("/v1/api-keys", json=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_not_held")


@pytest.mark.parametrize("change", [{"role": "viewer"}, {"status": "deactivated"}])
async def test_an_access_token_that_is_older_than_a_demotion_manages_nobody(
    client: httpx.AsyncClient, register: Any, change: dict[str, str]
) -> None:
    owner = (await register())["headers"]
    admin, editor = [(await _add(client, owner, role)).json() for role in ("admin", "editor")]
    headers = await _sign_in(client, admin)
    invite = {"email": f"guest-{uuid4()}@example.com", "role": "viewer"}
    invited = (await client.post("/v1/invitations", json=invite, headers=headers)).json()
    assert (await client.patch(f"/v1/users/{admin['id']}", json=change, headers=owner)).status_code == 200
    late = [
        await _add(client, headers, "viewer"),
        await client.delete(f"/v1/users/{editor['id']}", headers=headers),
        await client.delete(f"/v1/users/{editor['id']}/second-factor", headers=headers),
        await client.post("/v1/invitations", json={**invite, "email": "late@example.com"}, headers=headers),
        await client.delete(f"/v1/invitations/{invited['id']}", headers=headers),
    ]
    assert [(answer.status_code, answer.json()["code"]) for answer in late] == [(403, "role_not_sufficient")] * 5


async def _age_signing_keys(container: Container, age: timedelta) -> None:
    statement = sa.text(
        "UPDATE signing_keys SET created_at = created_at - :age, signs_from = signs_from - :age"
    ).bindparams(sa.bindparam("age", type_=sa.Interval))
    async with container.engine.begin() as connection:
        await connection.execute(statement, {"age": age})
    container.key_ring._read_at = float("-inf")


async def test_a_key_that_is_old_is_replaced_by_schedule_once(container: Container) -> None:
    month = timedelta(days=30)
    assert not await container.key_ring.rotate_if_due(month), "the key is fresh"
    await _age_signing_keys(container, month)
    rotated = await asyncio.gather(*(container.key_ring.rotate_if_due(month) for _ in range(3)))
    assert sorted(rotated) == [False, False, True]
    await _age_signing_keys(container, timedelta(hours=1))
    await container.key_ring.rotate()
    async with container.engine.connect() as connection:
        stored = await connection.scalar(sa.text("SELECT count(*) FROM signing_keys"))
    assert stored == 2, "keys that nobody needs any more are deleted, private halves and all"


async def test_a_key_that_was_stolen_is_good_for_nothing_at_once(
    client: httpx.AsyncClient, container: Container, register: Any
) -> None:
    before = await register()
    new = await container.key_ring.rotate(compromised=True)
    published = (await client.get("/.well-known/jwks.json")).json()["keys"]
    assert [key["kid"] for key in published] == [new.id]
    assert (await client.get("/v1/auth/me", headers=before["headers"])).status_code == 401
    refreshed = await client.post("/v1/auth/refresh", json={"refresh_token": before["refresh_token"]})
    headers = {"Authorization": f"Bearer {refreshed.json()['access_token']}"}
    assert (await client.get("/v1/auth/me", headers=headers)).status_code == 200, "sessions go on"


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
    assert types == {"audit.action.recorded.v1", "auth.organisation.registered.v1", "auth.user.added.v1"}


async def test_the_schema_can_be_built_and_taken_down(make_database: Callable[[str], str]) -> None:
    url = make_database("auth")
    await migrations.upgrade(url, MIGRATIONS)
    await migrations.check(url, MIGRATIONS)
    await migrations.downgrade(url, MIGRATIONS)
    await migrations.upgrade(url, MIGRATIONS)
