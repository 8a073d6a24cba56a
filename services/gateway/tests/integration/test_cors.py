"""Pages of other origins: what browsers are told, by whose organisation."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from aiohttp import web

from posthorn_common.clock import SystemClock
from posthorn_common.events import event
from posthorn_common.messaging import connect
from posthorn_contracts.auth.v1 import CorsOriginsChanged, CorsOriginsChangedData
from posthorn_local.ports import free_ports

from .support import FakeAuth, FakeService, TokenIssuer, eventually, with_key

OURS, THEIRS, INSTALLATION, NOBODYS = (
    "https://ours.example", "https://theirs.example:8443", "https://app.example", "https://evil.example",
)  # fmt: skip
NO_REDIS = "redis://127.0.0.1:1/0"
WE, THEY = uuid4(), uuid4()


@pytest.fixture
def auth(auth: FakeAuth) -> FakeAuth:
    auth.origins = {WE: [OURS], THEY: [THEIRS]}
    return auth


async def leave(gateway: Any, origin: str, path: str = "/v1/contacts") -> Any:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    return await gateway.client.options(path, headers=asked)


async def allowed(gateway: Any, origin: str, headers: dict[str, str] | None = None, path: str = "/v1/contacts") -> bool:
    """Tell whether a page of the origin may read the answer."""
    answer = await gateway.client.get(path, headers={"Origin": origin, **(headers or {})})
    told = answer.headers.get("access-control-allow-origin")
    assert told in {None, origin}
    assert "origin" in answer.headers["vary"].lower()
    assert "access-control-allow-credentials" not in answer.headers
    return told is not None


async def test_leave_is_given_to_pages_that_anybody_allows(start_gateway: Any, auth: FakeAuth) -> None:
    gateway = await start_gateway(cors_origins=[INSTALLATION])

    async def knows() -> bool:
        return (await leave(gateway, OURS)).status_code == 204

    await eventually(knows)
    for path in ("/v1/contacts", "/v1/auth/login", "/no/such/page"):
        for origin in (OURS, THEIRS, INSTALLATION):
            answer = await leave(gateway, origin, path)
            assert answer.status_code == 204
            assert answer.headers["access-control-allow-origin"] == origin
            assert "PATCH" in answer.headers["access-control-allow-methods"]
            assert "Authorization" in answer.headers["access-control-allow-headers"]
            assert "access-control-allow-credentials" not in answer.headers
        for origin in (NOBODYS, "null", "*", OURS.upper(), f"{OURS}.evil.example", f"{OURS}:444", ""):
            answer = await leave(gateway, origin, path)
            assert (answer.status_code, answer.json()["code"]) == (403, "origin_not_allowed"), origin
            assert "access-control-allow-origin" not in answer.headers
        assert "origin" in answer.headers["vary"].lower()
    assert auth.service.seen == [], "no service is asked"


async def test_an_answer_is_for_pages_that_the_callers_own_organisation_allows(
    start_gateway: Any, auth: FakeAuth, issuer: TokenIssuer
) -> None:
    gateway = await start_gateway(cors_origins=[INSTALLATION])
    ours, theirs = issuer.bearer(org=str(WE)), issuer.bearer(org=str(THEY))
    await eventually(lambda: allowed(gateway, OURS, ours))
    may = {
        (name, origin): await allowed(gateway, origin, headers)
        for name, headers in (("we", ours), ("they", theirs), ("others", issuer.bearer()))
        for origin in (OURS, THEIRS, INSTALLATION, NOBODYS)
    }
    assert {pair for pair, is_allowed in may.items() if is_allowed} == {
        ("we", OURS), ("they", THEIRS), ("we", INSTALLATION), ("they", INSTALLATION), ("others", INSTALLATION),
    }  # fmt: skip


async def test_refusals_are_for_the_same_pages_as_answers(
    start_gateway: Any, auth: FakeAuth, issuer: TokenIssuer
) -> None:
    """A page has to see that its token is over; what a known caller is refused is the organisation's own business."""
    gateway = await start_gateway(organisation_per_minute=1)
    await eventually(lambda: allowed(gateway, OURS))
    for headers in ({}, {"Authorization": "Bearer nonsense"}):
        assert await allowed(gateway, OURS, headers)
        assert not await allowed(gateway, NOBODYS, headers)
    ours = issuer.bearer(org=str(WE))
    for origin, may in ((OURS, True), (THEIRS, False)):
        answer = [await gateway.client.get("/v1/contacts", headers={"Origin": origin, **ours}) for _ in range(2)][-1]
        assert answer.status_code == 429
        assert (answer.headers.get("access-control-allow-origin") == origin) is may
        assert ("retry-after" in answer.headers.get("access-control-expose-headers", "").lower()) is may


async def test_sign_in_and_the_documentation_are_for_pages_that_anybody_allows(
    start_gateway: Any, auth: FakeAuth
) -> None:
    gateway = await start_gateway(cors_origins=[INSTALLATION])
    await eventually(lambda: allowed(gateway, OURS, path="/v1/auth/login"))
    for path in ("/v1/auth/login", "/.well-known/jwks.json", "/docs", "/docs/assets/docs.js", "/health/live", "/v2"):
        assert [await allowed(gateway, origin, path=path) for origin in (OURS, THEIRS, INSTALLATION, NOBODYS)] == [
            True, True, True, False,
        ]  # fmt: skip


async def test_an_answer_that_is_given_again_is_for_the_page_that_asks_now(
    start_gateway: Any, auth: FakeAuth, issuer: TokenIssuer, creator: Any
) -> None:
    gateway = await start_gateway(cors_origins=[INSTALLATION])
    who = with_key(issuer.bearer(org=str(WE)))
    await eventually(lambda: allowed(gateway, OURS))
    told = [
        (await gateway.client.post("/v1/contacts", json={}, headers={**who, "Origin": origin})).headers.get(
            "access-control-allow-origin"
        )
        for origin in (OURS, INSTALLATION, NOBODYS)
    ]
    assert told == [OURS, INSTALLATION, None]
    assert len(creator.created) == 1


async def test_without_an_origin_nothing_is_said_but_that_it_matters(gateway: Any, issuer: TokenIssuer) -> None:
    """Else a cache would give the answer to a page, which could not read it, or the other way round."""
    for path, headers in (("/v1/contacts", issuer.bearer()), ("/v1/contacts", {}), ("/docs", {}), ("/v2", {})):
        answer = await gateway.client.get(path, headers=headers)
        assert answer.headers["vary"] == "Origin"
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    asset = await gateway.client.get("/docs/assets/docs.js")
    assert asset.headers["vary"] == "Accept-Encoding, Origin"


async def test_what_services_say_about_other_origins_does_not_get_out(
    gateway: Any, issuer: TokenIssuer, services: dict[str, FakeService]
) -> None:
    async def generous(_request: web.Request) -> web.Response:
        said = {
            "Access-Control-Allow-Origin": "*", "Access-Control-Allow-Credentials": "true", "Vary": "Accept-Language",
        }  # fmt: skip
        return web.json_response({}, headers=said)

    services["campaigns"].handler = generous
    answer = await gateway.client.get("/v1/contacts", headers={"Origin": NOBODYS, **issuer.bearer()})
    assert answer.headers["vary"] == "Accept-Language, Origin"
    assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_two_origins_in_one_request_are_none(gateway: Any, auth: FakeAuth) -> None:
    await eventually(lambda: allowed(gateway, OURS))
    answer = await gateway.client.get("/v1/contacts", headers=[("Origin", OURS), ("Origin", OURS)])
    assert "access-control-allow-origin" not in answer.headers


async def test_without_redis_auth_tells_and_a_change_is_known_by_its_event(
    start_gateway: Any, auth: FakeAuth, issuer: TokenIssuer, amqp_url: str
) -> None:
    gateway = await start_gateway(redis_url=NO_REDIS, cors_origins_ask_seconds=600)
    ours = issuer.bearer(org=str(WE))
    await eventually(lambda: allowed(gateway, OURS, ours))
    auth.origins = {WE: [THEIRS]}

    async def change_is_known() -> bool:
        # Told again until the gateway's queue is there.
        await _tell_of_change(amqp_url, WE)
        return await allowed(gateway, THEIRS, ours)

    await eventually(change_is_known)
    assert not await allowed(gateway, OURS, ours)
    assert (await leave(gateway, OURS)).status_code == 403


async def test_without_events_auth_is_asked_now_and_then(
    start_gateway: Any, auth: FakeAuth, issuer: TokenIssuer
) -> None:
    gateway = await start_gateway(roles=("api",), cors_origins_ask_seconds=0.1)
    ours = issuer.bearer(org=str(WE))
    await eventually(lambda: allowed(gateway, OURS, ours))
    auth.origins = {}

    async def is_removed() -> bool:
        return not await allowed(gateway, OURS, ours)

    await eventually(is_removed)


async def test_a_gateway_that_starts_while_auth_is_away_knows_what_another_knew(
    start_gateway: Any, auth: FakeAuth, issuer: TokenIssuer
) -> None:
    first = await start_gateway()
    ours = issuer.bearer(org=str(WE))
    await eventually(lambda: allowed(first, OURS, ours))
    auth.is_away = True
    second = await start_gateway(port=free_ports(1)[0])
    assert (await leave(second, OURS)).status_code == 204
    assert (await leave(second, NOBODYS)).status_code == 403
    assert await allowed(first, OURS, ours), "and the first one goes on"


async def _tell_of_change(amqp_url: str, organisation_id: UUID) -> None:
    data = CorsOriginsChangedData()
    told = event(CorsOriginsChanged, organisation_id, organisation_id, data, SystemClock())
    async with connect(amqp_url, service="auth") as bus:
        await bus.publish(told.event_type, told.model_dump_json().encode(), event_id=told.id)
