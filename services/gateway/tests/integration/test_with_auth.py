"""The gateway before the real auth service: what auth decides reaches it, with RabbitMQ and without."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any

import httpx
import pytest
import pytest_asyncio

from posthorn_auth.bootstrap import MIGRATIONS
from posthorn_auth.entrypoints.roles import start as start_auth
from posthorn_auth.settings import Settings as AuthSettings
from posthorn_common import migrations
from posthorn_common.testing import common_settings
from posthorn_local.ports import free_ports

from .support import eventually

NO_RABBITMQ = "amqp://guest:guest@127.0.0.1:1/"


@pytest_asyncio.fixture
async def client(
    request: pytest.FixtureRequest,
    make_database: Callable[[str], str],
    redis_url: str,
    amqp_url: str,
    start_gateway: Any,
) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of a gateway with a real auth behind it, with or without RabbitMQ between them."""
    changes: dict[str, Any] = {}
    if request.param == "without RabbitMQ":
        amqp_url = NO_RABBITMQ
        changes = {"amqp_url": amqp_url, "revocation_ask_seconds": 0.3, "cors_origins_ask_seconds": 0.3}
    database = make_database("auth")
    await migrations.upgrade(database, MIGRATIONS)
    settings = AuthSettings(
        **{**common_settings(redis_url=redis_url, amqp_url=amqp_url), "port": free_ports(1)[0]},
        database_url=database,
        encryption_key=base64.urlsafe_b64encode(b"k" * 32).decode(),
        mailer_url="http://127.0.0.1:9",
    )
    url = f"http://127.0.0.1:{settings.port}"
    async with contextlib.AsyncExitStack() as stack:
        roles = await stack.enter_async_context(start_auth(settings, frozenset({"api", "relay"})))
        stop = asyncio.Event()
        tasks = [asyncio.create_task(role.run(stop)) for role in roles]

        async def end() -> None:
            stop.set()
            await asyncio.gather(*tasks)

        stack.push_async_callback(end)
        gateway = await start_gateway(auth_url=url, jwks_url=f"{url}/.well-known/jwks.json", **changes)

        async def is_ready() -> bool:
            return bool((await gateway.client.get("/health/ready")).status_code == 200)

        await eventually(is_ready)
        yield gateway.client


@pytest.mark.parametrize("client", ["with RabbitMQ", "without RabbitMQ"], indirect=True)
async def test_a_session_and_an_api_key_work_until_they_are_revoked(client: httpx.AsyncClient) -> None:
    registered = await _register(client, "ada@example.com")
    person = {"Authorization": f"Bearer {registered['access_token']}"}
    me = await client.get("/v1/auth/me", headers=person)
    assert me.json()["user"]["email"] == "ada@example.com"

    body = {"name": "Reporting", "scopes": ["contacts:read"]}
    key = (await client.post("/v1/api-keys", json=body, headers=person)).json()
    program = {"Authorization": f"Bearer {key['api_key']}"}
    assert (await client.get("/v1/contacts", headers=program)).status_code == 200
    as_key = await client.get("/v1/auth/me", headers=program)
    assert as_key.json()["permissions"] == ["contacts:read"]

    assert (await client.delete(f"/v1/api-keys/{key['id']}", headers=person)).status_code == 204
    await eventually(lambda: _is_refused(client, program))
    assert (await client.post("/v1/auth/logout", headers=person)).status_code == 204
    await eventually(lambda: _is_refused(client, person))


@pytest.mark.parametrize("client", ["with RabbitMQ", "without RabbitMQ"], indirect=True)
async def test_an_organisation_allows_pages_for_itself_until_it_does_not(client: httpx.AsyncClient) -> None:
    origin = "https://app.lighthouse.example"
    ours, theirs = [
        {"Authorization": f"Bearer {(await _register(client, email))['access_token']}", "Origin": origin}
        for email in ("ada@example.com", "grace@example.com")
    ]
    path = "/v1/organisation/cors-origins"

    async def may_read(headers: dict[str, str]) -> bool:
        return (await client.get(path, headers=headers)).headers.get("access-control-allow-origin") == origin

    async def may_not_read() -> bool:
        return not await may_read(ours)

    assert not await may_read(ours)
    assert (await client.put(path, json={"origins": [origin]}, headers=ours)).status_code == 200
    await eventually(lambda: may_read(ours))
    assert not await may_read(theirs)
    assert (await client.put(path, json={"origins": []}, headers=ours)).status_code == 200
    await eventually(may_not_read)


async def _register(client: httpx.AsyncClient, email: str) -> dict[str, Any]:
    owner = {
        "organisation_name": "Lighthouse Books",
        "name": "Ada",
        "email": email,
        "password": "a long and private sentence",
    }
    registered: dict[str, Any] = (await client.post("/v1/auth/register", json=owner)).json()
    return registered


async def _is_refused(client: httpx.AsyncClient, headers: dict[str, str]) -> bool:
    return (await client.get("/v1/contacts", headers=headers)).status_code == 401
