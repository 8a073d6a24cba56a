"""Relays through the API."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import sqlalchemy as sa

from posthorn_common.testing import TokenMint
from posthorn_contracts.permissions import ROLE_PERMISSIONS, Role
from posthorn_mailer.adapters.db import tables
from posthorn_mailer.adapters.relay_hosts import ResolvingRelayHosts
from posthorn_mailer.bootstrap import Container
from posthorn_mailer.entrypoints.http.app import build_app

from .smtp_peer import Peer

pytestmark = pytest.mark.integration

CANARY = "canary-4711-secret"
RELAY = {"name": "Main", "host": "127.0.0.1", "port": 2525, "tls": "none"}


@pytest.fixture
def organisation_id() -> UUID:
    return uuid4()


@pytest.fixture
def headers(mint: TokenMint, organisation_id: UUID) -> dict[str, str]:
    return _headers(mint, organisation_id, Role.OWNER)


def _headers(mint: TokenMint, organisation_id: UUID, role: Role) -> dict[str, str]:
    return {"Authorization": f"Bearer {mint.access_token(organisation_id, ROLE_PERMISSIONS[role])}"}


async def _create(client: httpx.AsyncClient, headers: dict[str, str], **changes: Any) -> dict[str, Any]:
    answer = await client.post("/v1/relays", json={**RELAY, **changes}, headers=headers)
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def _defaults(client: httpx.AsyncClient, headers: dict[str, str]) -> list[str]:
    items = (await client.get("/v1/relays", headers=headers)).json()["items"]
    return [item["name"] for item in items if item["is_default"]]


async def test_the_first_relay_is_the_default_and_there_is_always_exactly_one(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    first = await _create(client, headers, name="First")
    second = await _create(client, headers, name="Second")
    assert (first["is_default"], second["is_default"]) == (True, False)
    third = await _create(client, headers, name="Third", is_default=True)
    assert await _defaults(client, headers) == ["Third"]
    path = f"/v1/relays/{third['id']}"
    refused = await client.patch(path, json={"is_default": False}, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (409, "default_relay_needed")
    await client.patch(f"/v1/relays/{second['id']}", json={"is_default": True}, headers=headers)
    assert await _defaults(client, headers) == ["Second"]
    assert (await client.delete(f"/v1/relays/{second['id']}", headers=headers)).status_code == 204
    assert await _defaults(client, headers) == ["First"]
    await client.delete(f"/v1/relays/{first['id']}", headers=headers)
    await client.delete(path, headers=headers)
    assert (await client.get("/v1/relays", headers=headers)).json()["items"] == []


async def test_many_first_relays_at_once_make_one_default(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    await asyncio.gather(*(_create(client, headers, name=f"Relay {number}", is_default=True) for number in range(8)))
    assert len(await _defaults(client, headers)) == 1


async def test_a_password_goes_in_and_never_out(
    client: httpx.AsyncClient, headers: dict[str, str], container: Container, capsys: pytest.CaptureFixture[str]
) -> None:
    relay = await _create(client, headers, username="ada", password=CANARY)
    path = f"/v1/relays/{relay['id']}"
    answers = [
        await client.get(path, headers=headers),
        await client.get("/v1/relays", headers=headers),
        await client.patch(path, json={"name": "Renamed"}, headers=headers),
        await client.post("/v1/relays", json={**RELAY, "password": CANARY, "port": 0}, headers=headers),
        await client.get("/metrics"),
    ]
    assert CANARY not in "".join(answer.text for answer in answers)
    async with container.engine.connect() as connection:
        row = (await connection.execute(sa.select(tables.relays).where(tables.relays.c.id == UUID(relay["id"])))).one()
    assert CANARY.encode() not in row.sealed_password
    assert CANARY not in str(row)
    stored = await container.managing_relays.get(row.organisation_id, row.id)
    assert CANARY not in repr(stored)
    assert await container.transport._dialling.password(stored) == CANARY
    assert CANARY not in "".join(capsys.readouterr())


async def test_a_stored_password_is_not_sent_anywhere_else(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    relay = await _create(client, headers, username="ada", password=CANARY, tls="starttls")
    path = f"/v1/relays/{relay['id']}"
    for change in ({"host": "192.0.2.1"}, {"port": 26}, {"tls": "none"}, {"verify_certificate": False}):
        refused = await client.patch(path, json=change, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (422, "password_needed"), change
        changed = await client.patch(path, json={**change, "password": "new"}, headers=headers)
        assert changed.status_code == 200
    assert (await client.patch(path, json={"max_connections": 3}, headers=headers)).json()["max_connections"] == 3


async def test_changes_count_versions_and_leave_the_rest_as_it_is(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    relay = await _create(client, headers, messages_per_second=5, from_email="Post@Example.com")
    assert (relay["from_email"], relay["version"]) == ("post@example.com", 1)
    path = f"/v1/relays/{relay['id']}"
    changed = (await client.patch(path, json={"messages_per_second": None}, headers=headers)).json()
    assert changed["version"] == 2
    assert {name: value for name, value in changed.items() if name not in {"version", "updated_at"}} == {
        **{name: value for name, value in relay.items() if name not in {"version", "updated_at"}},
        "messages_per_second": None,
    }


@pytest.mark.parametrize(
    "change",
    [
        {"name": "a\r\nb"}, {"name": ""}, {"host": "two words"}, {"host": "x\r\ny"}, {"host": "-x"}, {"host": ""},
        {"host": "user@host"}, {"port": 0}, {"port": 65536}, {"tls": "ssl"}, {"max_connections": 0},
        {"max_connections": 201}, {"messages_per_second": 0}, {"messages_per_second": -1}, {"from_email": "nobody"},
        {"username": "a\nb"}, {"password": "a\u0000b"}, {"passwrod": "x"}, {"is_default": None},
    ],
)  # fmt: skip
async def test_settings_that_make_no_sense_are_refused(
    client: httpx.AsyncClient, headers: dict[str, str], change: dict[str, Any]
) -> None:
    answer = await client.post("/v1/relays", json={**RELAY, **change}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    relay = await _create(client, headers)
    changed = await client.patch(f"/v1/relays/{relay['id']}", json=change, headers=headers)
    assert changed.status_code == 422


async def test_another_organisation_finds_nothing(
    client: httpx.AsyncClient, headers: dict[str, str], mint: TokenMint
) -> None:
    relay = await _create(client, headers)
    stranger = _headers(mint, uuid4(), Role.OWNER)
    path = f"/v1/relays/{relay['id']}"
    answers = [
        await client.get(path, headers=stranger),
        await client.patch(path, json={"name": "Mine"}, headers=stranger),
        await client.delete(path, headers=stranger),
        await client.post(f"{path}/actions/test", headers=stranger),
    ]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(404, "relay_not_found")] * 4
    assert (await client.get("/v1/relays", headers=stranger)).json()["items"] == []
    assert (await client.get(path, headers=headers)).json()["name"] == "Main"


async def test_editors_read_and_admins_write(client: httpx.AsyncClient, mint: TokenMint, organisation_id: UUID) -> None:
    statuses = {}
    for role in Role:
        headers = _headers(mint, organisation_id, role)
        read = await client.get("/v1/relays", headers=headers)
        write = await client.post("/v1/relays", json=RELAY, headers=headers)
        statuses[role] = (read.status_code, write.status_code)
    assert statuses == {
        Role.OWNER: (200, 201),
        Role.ADMIN: (200, 201),
        Role.EDITOR: (200, 403),
        Role.VIEWER: (403, 403),
    }
    assert (await client.get("/v1/relays")).status_code == 401


async def test_a_relay_that_a_campaign_needs_stays(
    client: httpx.AsyncClient, headers: dict[str, str], container: Container, organisation_id: UUID
) -> None:
    relay = await _create(client, headers)
    send = {
        "id": uuid4(),
        "organisation_id": organisation_id,
        "status": "paused",
        "relay_id": UUID(relay["id"]),
        "on_ambiguous": "hold",
        "started_at": sa.func.now(),
    }
    async with container.engine.begin() as connection:
        await connection.execute(sa.insert(tables.sends).values(send))
    path = f"/v1/relays/{relay['id']}"
    refused = await client.delete(path, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (409, "relay_in_use")
    async with container.engine.begin() as connection:
        await connection.execute(
            sa.update(tables.sends).where(tables.sends.c.id == send["id"]).values(drained_at=sa.func.now())
        )
    assert (await client.delete(path, headers=headers)).status_code == 204
    assert (await client.get(path, headers=headers)).status_code == 404


async def test_a_relay_can_be_tried_out(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    async with Peer(extensions=["AUTH PLAIN"]).listening() as peer:
        relay = await _create(client, headers, port=peer.port, username="ada", password="x")
        path = f"/v1/relays/{relay['id']}/actions/test"
        fit = await client.post(path, headers=headers)
        peer.script["AUTH"] = "535 5.7.8 wrong password"
        unfit = await client.post(path, headers=headers)
    away = await client.post(path, headers=headers)
    assert fit.json() == {"ok": True, "stage": "ready", "code": 250, "reply": "2.0.0 ok"}
    assert unfit.json() == {"ok": False, "stage": "auth", "code": 535, "reply": "5.7.8 wrong password"}
    assert away.json() == {"ok": False, "stage": "connect", "code": None, "reply": "The connection was refused"}
    assert [fit.status_code, unfit.status_code, away.status_code] == [200, 200, 200]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "169.254.169.254", "10.0.0.1", "::1", "0.0.0.0"])
async def test_private_hosts_are_refused_where_they_are_not_allowed(
    container: Container, headers: dict[str, str], host: str
) -> None:
    managing = container.managing_relays
    hosts = ResolvingRelayHosts(allow_internal=False)
    strict = type(managing)(
        new_unit_of_work=managing._new_unit_of_work,
        vault=managing._vault,
        hosts=hosts,
        probe=container.transport,
        days=managing._days,
        clock=managing._clock,
    )
    app = build_app(replace(container, managing_relays=strict))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://mailer") as client:
        answer = await client.post("/v1/relays", json={**RELAY, "host": host}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "relay_host_not_allowed")
