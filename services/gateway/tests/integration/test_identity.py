"""Who comes in: access tokens, API keys, and what is revoked."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis.asyncio as redis
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from posthorn_common.messaging import EventBus
from posthorn_common.tokens import SERVICE_TOKEN_TYPE
from posthorn_contracts.auth.v1 import ApiKeyRevoked, ApiKeyRevokedData, SessionRevoked, SessionRevokedData
from posthorn_local.ports import free_ports

from .support import FakeAuth, FakeService, TokenIssuer, eventually

Services = dict[str, FakeService]
KEY = "ph_a-good-key"


async def _get(gateway: Any, credential: str) -> Any:
    return await gateway.client.get("/v1/contacts", headers={"Authorization": f"Bearer {credential}"})


async def test_without_a_token_only_public_routes_answer(gateway: Any, services: Services) -> None:
    for path in ("/v1/contacts", "/v1/auth/me", "/v1/auth/logout", "/v1/campaigns/1/progress"):
        answer = await gateway.client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated"), path
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert "server" not in answer.headers
    for path in ("/v1/auth/login", "/v1/auth/register", "/v1/auth/refresh", "/.well-known/jwks.json", "/t/o/x", "/u/x"):
        assert (await gateway.client.get(path)).status_code == 200, path


async def test_public_routes_pass_no_credentials_on(gateway: Any, services: Services, issuer: TokenIssuer) -> None:
    await gateway.client.get("/u/x", headers=issuer.bearer())
    assert "Authorization" not in services["campaigns"].seen[0].headers


@pytest.mark.parametrize("value", ["Basic abc", "Bearer", "Token abc", "abc"])
async def test_other_ways_to_sign_in_are_refused(gateway: Any, value: str) -> None:
    answer = await gateway.client.get("/v1/contacts", headers={"Authorization": value})
    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")


async def test_two_credentials_are_refused(gateway: Any, issuer: TokenIssuer) -> None:
    header = issuer.bearer()["Authorization"]
    answer = await gateway.client.get("/v1/contacts", headers=[("Authorization", header)] * 2)
    assert answer.status_code == 401


STRANGER = Ed25519PrivateKey.generate()
PAST = datetime.now(UTC) - timedelta(minutes=10)
ATTACKS: dict[str, Any] = {
    "unsigned": {"key": "", "algorithm": "none"},
    "HS256 with the public key": {"algorithm": "HS256"},
    "signed by a stranger": {"key": STRANGER},
    "expired": {"exp": PAST},
    "not valid yet": {"nbf": datetime.now(UTC) + timedelta(days=1)},
    "without expiry": {"exp": None},
    "another issuer": {"iss": "https://evil.example"},
    "another audience": {"aud": "something-else"},
    "of no type": {"header": {"typ": "JWT"}},
    "a service token's type": {"header": {"typ": SERVICE_TOKEN_TYPE}},
    "an unknown key": {"header": {"kid": "made-up"}},
    "a path as key id": {"header": {"kid": "../../etc/passwd"}},
    "its own key": {"header": {"jwk": {"kty": "OKP"}, "kid": "other"}},
    "a critical extension": {"header": {"crit": ["b64"], "b64": True}},
    "no organisation": {"org": None},
    "a malformed organisation": {"org": "x"},
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_bad_tokens_stop_at_the_door(
    gateway: Any, services: Services, auth: FakeAuth, issuer: TokenIssuer, attack: str
) -> None:
    assert (await _get(gateway, issuer.token())).status_code == 200
    changes = dict(ATTACKS[attack])
    if changes.get("algorithm") == "HS256":
        changes["key"] = issuer.public_bytes()
    answer = await _get(gateway, issuer.token(**changes))
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")
    assert len(services["campaigns"].seen) == 1
    assert auth.jwks_fetches == 1, "a made-up token causes no call"


@pytest.mark.parametrize("token", ["abc", "a.b.c", "a" * 20_000, "e30.e30.e30"])
async def test_what_is_no_token_stops_at_the_door(gateway: Any, services: Services, token: str) -> None:
    assert (await _get(gateway, token)).status_code == 401
    assert services["campaigns"].seen == []


async def test_a_cached_token_expires_in_time(gateway: Any, issuer: TokenIssuer) -> None:
    # Verifiers allow fifteen seconds for clocks that differ.
    token = issuer.token(exp=datetime.now(UTC) - timedelta(seconds=13))
    assert (await _get(gateway, token)).status_code == 200

    async def refused() -> bool:
        return (await _get(gateway, token)).status_code == 401

    await eventually(refused)


async def test_known_keys_serve_while_auth_is_away(gateway: Any, auth: FakeAuth, issuer: TokenIssuer) -> None:
    assert (await _get(gateway, issuer.token())).status_code == 200
    auth.is_away = True
    assert (await _get(gateway, issuer.token())).status_code == 200


async def _is_ready(gateway: Any) -> bool:
    return (await gateway.client.get("/health/ready")).status_code == 200


async def test_without_any_keys_the_gateway_says_that_it_cannot_tell(
    start_gateway: Any, auth: FakeAuth, issuer: TokenIssuer
) -> None:
    auth.is_away = True
    gateway = await start_gateway()
    answer = await _get(gateway, issuer.token())
    assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
    ready = await gateway.client.get("/health/ready")
    assert (ready.status_code, ready.json()["checks"]) == (503, {"signing_keys": "TransientError"})
    auth.is_away = False
    await eventually(lambda: _is_ready(gateway))
    assert (await _get(gateway, issuer.token())).status_code == 200


async def test_an_api_key_is_exchanged_once_for_many_requests(gateway: Any, services: Services, auth: FakeAuth) -> None:
    auth.keys[KEY] = uuid4()
    answers = await asyncio.gather(*(_get(gateway, KEY) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert auth.exchanges == 1
    passed = {seen.headers["Authorization"] for seen in services["campaigns"].seen}
    assert len(passed) == 1
    assert KEY not in passed.pop(), "services see the token, not the key"


async def test_a_void_api_key_is_refused_without_asking_each_time(gateway: Any, auth: FakeAuth) -> None:
    for _ in range(5):
        answer = await _get(gateway, "ph_void")
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")
    assert auth.exchanges == 1
    assert (await _get(gateway, "ph_" + "a" * 500)).status_code == 401
    assert auth.exchanges == 1


async def test_an_api_key_is_asked_about_again_after_a_while(start_gateway: Any, auth: FakeAuth) -> None:
    gateway = await start_gateway(api_key_cache_seconds=0)
    auth.keys[KEY] = uuid4()
    assert (await _get(gateway, KEY)).status_code == 200
    assert (await _get(gateway, KEY)).status_code == 200
    assert auth.exchanges == 2
    auth.is_away = True
    assert (await _get(gateway, KEY)).status_code == 200, "the last token serves while auth is away"
    auth.is_away = False
    auth.keys.clear()
    assert (await _get(gateway, KEY)).status_code == 401


async def test_an_unknown_api_key_while_auth_is_away_is_nobodys_fault(gateway: Any, auth: FakeAuth) -> None:
    auth.is_away = True
    answer = await _get(gateway, KEY)
    assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")


async def test_guessing_api_keys_is_limited_per_address(start_gateway: Any, auth: FakeAuth) -> None:
    gateway = await start_gateway(sign_in_per_minute=3)
    statuses = [(await _get(gateway, f"ph_guess-{number}")).status_code for number in range(5)]
    assert statuses == [401, 401, 401, 429, 429]
    assert auth.exchanges == 3


def _session_revoked(session_id: UUID, at: datetime | None = None) -> SessionRevoked:
    return SessionRevoked.about(
        session_id,
        id=uuid4(),
        organisation_id=uuid4(),
        occurred_at=at or datetime.now(UTC),
        data=SessionRevokedData(session_id=session_id, user_id=uuid4()),
        correlation_id=None,
        traceparent=None,
    )


def _key_revoked(key_id: UUID) -> ApiKeyRevoked:
    return ApiKeyRevoked.about(
        key_id,
        id=uuid4(),
        organisation_id=uuid4(),
        occurred_at=datetime.now(UTC),
        data=ApiKeyRevokedData(api_key_id=key_id),
        correlation_id=None,
        traceparent=None,
    )


async def _publish(amqp_url: str, event: Any) -> None:
    bus = EventBus(amqp_url, service="auth")
    try:
        await bus.publish(event.event_type, event.model_dump_json().encode(), event_id=event.id)
    finally:
        await bus.close()


def _refused(gateway: Any, credential: str, *, amqp_url: str | None = None, told: Any = None) -> Any:
    """Whether it is refused; an event is told again each time, as a gateway that is only starting does not hear it."""

    async def check() -> bool:
        if told is not None:
            await _publish(amqp_url or "", told)
            await asyncio.sleep(0.1)
        answer = await _get(gateway, credential)
        return bool(answer.status_code == 401)

    return check


async def test_a_revoked_session_is_refused_by_every_gateway(
    start_gateway: Any, issuer: TokenIssuer, amqp_url: str
) -> None:
    # The second one hears no events: it learns from Redis, as one does that missed the broadcast.
    first = await start_gateway()
    second = await start_gateway(roles=("api",), port=free_ports(1)[0])
    session, other = uuid4(), issuer.token()
    token = issuer.token(sid=str(session))
    for gateway in (first, second):
        assert (await _get(gateway, token)).status_code == 200
    revoked = _session_revoked(session)
    for gateway in (first, second):
        await eventually(_refused(gateway, token, amqp_url=amqp_url, told=revoked))
        assert (await _get(gateway, other)).status_code == 200
        assert (await _get(gateway, issuer.token(sid=str(session)))).status_code == 401, "other tokens of it too"


async def test_a_gateway_that_starts_later_knows_what_was_revoked(
    start_gateway: Any, issuer: TokenIssuer, amqp_url: str
) -> None:
    first = await start_gateway()
    session = uuid4()
    token = issuer.token(sid=str(session))
    await eventually(_refused(first, token, amqp_url=amqp_url, told=_session_revoked(session)))
    later = await start_gateway(port=free_ports(1)[0], revocation_poll_seconds=60)
    assert (await _get(later, token)).status_code == 401, "from its first request on"


async def test_a_revoked_api_key_is_refused_though_its_token_was_cached(
    gateway: Any, auth: FakeAuth, amqp_url: str
) -> None:
    id_ = auth.keys[KEY] = uuid4()
    assert (await _get(gateway, KEY)).status_code == 200
    await eventually(_refused(gateway, KEY, amqp_url=amqp_url, told=_key_revoked(id_)))


async def test_what_was_revoked_long_ago_is_not_kept(
    gateway: Any, issuer: TokenIssuer, amqp_url: str, redis_client: redis.Redis
) -> None:
    old, new = uuid4(), uuid4()
    await _publish(amqp_url, _session_revoked(old, datetime.now(UTC) - timedelta(minutes=20)))
    token = issuer.token(sid=str(new))
    await eventually(_refused(gateway, token, amqp_url=amqp_url, told=_session_revoked(new)))
    kept = await redis_client.zrange("posthorn:gateway:revoked", 0, -1)
    assert kept == [str(new).encode()]
    assert 0 < await redis_client.ttl("posthorn:gateway:revoked") <= 662


async def test_an_event_that_cannot_be_read_is_put_aside_and_the_next_one_counts(
    gateway: Any, issuer: TokenIssuer, amqp_url: str
) -> None:
    bus = EventBus(amqp_url, service="auth")
    await bus.publish(SessionRevoked.event_type, b"{}", event_id=uuid4())
    await bus.close()
    session = uuid4()
    token = issuer.token(sid=str(session))
    await eventually(_refused(gateway, token, amqp_url=amqp_url, told=_session_revoked(session)))


async def test_neither_redis_nor_rabbitmq_is_needed_to_serve(start_gateway: Any, issuer: TokenIssuer) -> None:
    gateway = await start_gateway(
        redis_url=f"redis://127.0.0.1:{free_ports(1)[0]}/0", amqp_url=f"amqp://x:x@127.0.0.1:{free_ports(1)[0]}/"
    )
    for _ in range(3):
        answer = await _get(gateway, issuer.token())
        assert answer.status_code == 200
        assert "ratelimit" in answer.headers, "every process counts for itself"
    assert (await gateway.client.get("/health/ready")).status_code == 200
    metrics = (await gateway.client.get("/metrics")).text
    assert "posthorn_gateway_rate_limit_counted_alone_total" in metrics


async def test_what_admins_change_waits_while_it_is_not_known_who_is_shut_out(
    start_gateway: Any, issuer: TokenIssuer, auth: FakeAuth, services: Any
) -> None:
    gateway = await start_gateway(revocation_ask_seconds=0.1, revocation_stale_seconds=1.0)
    who = issuer.bearer()
    assert (await gateway.client.post("/v1/relays", json={}, headers=who)).status_code == 200
    auth.is_away = True

    async def refused() -> bool:
        answer = await gateway.client.post("/v1/relays", json={}, headers=who)
        return answer.status_code == 503 and answer.json()["code"] == "revocations_unknown"

    await eventually(refused)
    assert (await gateway.client.get("/v1/relays", headers=who)).status_code == 200, "reading goes on"
    assert (await gateway.client.post("/v1/contacts", json={}, headers=who)).status_code == 200, "and so does work"
    auth.is_away = False

    async def allowed() -> bool:
        return (await gateway.client.post("/v1/relays", json={}, headers=who)).status_code == 200

    await eventually(allowed)
