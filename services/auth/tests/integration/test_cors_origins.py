"""The origins whose pages may call the API for an organisation."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa

from posthorn_auth.bootstrap import Container
from posthorn_auth.entrypoints.http.schemas import MAX_ORIGINS
from posthorn_common.clock import SystemClock
from posthorn_common.settings import secret_bytes
from posthorn_common.tokens import ServiceTokens
from posthorn_contracts.audit.v1 import ActionRecorded
from posthorn_contracts.auth.v1 import CorsOriginsChanged

pytestmark = pytest.mark.integration

PATH = "/v1/organisation/cors-origins"
OURS, THEIRS = "https://ours.example", "https://theirs.example"


async def put(client: httpx.AsyncClient, owner: dict[str, Any], origins: list[Any]) -> httpx.Response:
    return await client.put(PATH, json={"origins": origins}, headers=owner["headers"])


async def get(client: httpx.AsyncClient, owner: dict[str, Any]) -> list[str]:
    answer = await client.get(PATH, headers=owner["headers"])
    assert answer.status_code == 200
    found: list[str] = answer.json()["origins"]
    return found


async def told_to_gateways(client: httpx.AsyncClient, container: Container) -> dict[str, list[str]]:
    tokens = ServiceTokens(secret_bytes(container.settings.internal_secret), service="gateway", clock=SystemClock())
    headers = {"Authorization": f"Bearer {tokens.issue('auth')}"}
    answer = await client.get("/internal/cors-origins", headers=headers)
    assert answer.status_code == 200
    return {item["organisation_id"]: item["origins"] for item in answer.json()["organisations"]}


async def published(container: Container, event_type: str, organisation_id: str) -> list[str]:
    async with container.engine.connect() as connection:
        query = sa.text("SELECT body FROM outbox WHERE event_type = :type")
        bodies = [str(body) for body in await connection.scalars(query, {"type": event_type})]
    return [body for body in bodies if organisation_id in body]


async def test_origins_are_kept_as_browsers_send_them(
    client: httpx.AsyncClient, container: Container, register: Any
) -> None:
    owner = await register()
    assert await get(client, owner) == []
    answer = await put(client, owner, ["HTTPS://Ours.example:443", "http://localhost:5173", OURS])
    assert (answer.status_code, answer.json()) == (200, {"origins": ["http://localhost:5173", OURS]})
    assert await get(client, owner) == ["http://localhost:5173", OURS]
    assert (await told_to_gateways(client, container))[owner["organisation"]["id"]] == ["http://localhost:5173", OURS]
    assert (await put(client, owner, [])).json() == {"origins": []}
    assert await get(client, owner) == []
    assert owner["organisation"]["id"] not in await told_to_gateways(client, container)


@pytest.mark.parametrize(
    "origins",
    [
        ["*"], ["null"], ["https://*.example.com"], ["https://ours.example/page"], ["http://ours.example"], [""], [1],
        [OURS, "ftp://ours.example"], [f"https://a{number}.example" for number in range(MAX_ORIGINS + 1)],
    ],
)  # fmt: skip
async def test_what_nobody_should_allow_is_refused(
    client: httpx.AsyncClient, register: Any, origins: list[Any]
) -> None:
    owner = await register()
    assert (await put(client, owner, [OURS])).status_code == 200
    answer = await put(client, owner, origins)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert await get(client, owner) == [OURS], "nothing has changed"


async def test_an_organisation_sees_and_changes_its_own(client: httpx.AsyncClient, register: Any) -> None:
    ours, theirs = await register(), await register()
    await put(client, ours, [OURS])
    await put(client, theirs, [THEIRS])
    assert (await get(client, ours), await get(client, theirs)) == ([OURS], [THEIRS])
    await put(client, theirs, [])
    assert await get(client, ours) == [OURS]


async def test_gateways_and_the_audit_log_are_told_of_each_change(
    client: httpx.AsyncClient, container: Container, register: Any
) -> None:
    owner = await register()
    id_ = owner["organisation"]["id"]
    assert await published(container, CorsOriginsChanged.event_type, id_) == []
    await put(client, owner, [OURS])
    await put(client, owner, ["*"])
    (body,) = await published(container, CorsOriginsChanged.event_type, id_)
    assert CorsOriginsChanged.model_validate_json(body).organisation_id == UUID(id_)
    actions = [
        ActionRecorded.model_validate_json(body).data
        for body in await published(container, ActionRecorded.event_type, id_)
    ]
    (action,) = [one for one in actions if one.action == "set_cors_origins"]
    assert action.actor_id == UUID(owner["user"]["id"])


async def test_of_changes_at_the_same_time_one_is_kept_whole(client: httpx.AsyncClient, register: Any) -> None:
    owner = await register()
    wanted = [[f"https://a{number}.example", f"https://b{number}.example"] for number in range(8)]
    answers = await asyncio.gather(*(put(client, owner, origins) for origins in [*wanted, []]))
    assert {answer.status_code for answer in answers} == {200}
    assert await get(client, owner) in [*wanted, []]


async def test_nobody_but_services_learns_what_others_allow(client: httpx.AsyncClient, register: Any) -> None:
    owner = await register()
    assert (await client.get("/internal/cors-origins", headers=owner["headers"])).status_code == 401
