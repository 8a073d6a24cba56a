"""Access tokens by RFC 8725: only what auth signed, for us, of the right kind, and still valid."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from posthorn_common.clock import SystemClock
from posthorn_common.errors import TransientError
from posthorn_common.testing import FakeClock
from posthorn_common.tokens import (
    AccessTokenIssuer,
    AccessTokenVerifier,
    HttpJwks,
    InvalidToken,
    Principal,
    ServiceTokens,
    StaticJwks,
)

ISSUER = "https://posthorn.test"
KEY = Ed25519PrivateKey.generate()
PUBLIC = KEY.public_key()
CALLER = Principal(
    organisation_id=uuid4(),
    subject_id=uuid4(),
    kind="user",
    scopes=frozenset({"a:read"}),
    session_id=uuid4(),
    role="owner",
)


def verifier() -> AccessTokenVerifier:
    return AccessTokenVerifier(StaticJwks({"k1": PUBLIC}), issuer=ISSUER)


def token(**changes: Any) -> str:
    """Return a valid token with some claims or headers changed; None removes."""
    now = datetime.now(UTC)
    claims: dict[str, Any] = {
        "iss": ISSUER, "aud": "posthorn", "sub": str(uuid4()), "org": str(uuid4()), "kind": "user", "scope": "a:read",
        "jti": "1", "iat": now, "nbf": now, "exp": now + timedelta(minutes=5),
    }  # fmt: skip
    headers = {"kid": "k1", "typ": "at+jwt"}
    headers |= changes.pop("headers", {})
    claims |= changes
    kept = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(kept, KEY, algorithm="EdDSA", headers={n: v for n, v in headers.items() if v is not None})


async def test_an_issued_token_names_its_caller() -> None:
    issuer = AccessTokenIssuer(KEY, key_id="k1", issuer=ISSUER, clock=SystemClock())
    verified = await verifier().verify(issuer.issue(CALLER, lifetime=timedelta(minutes=5)))
    assert verified.token_id
    assert (verified.organisation_id, verified.subject_id, verified.scopes, verified.session_id, verified.role) == (
        CALLER.organisation_id,
        CALLER.subject_id,
        CALLER.scopes,
        CALLER.session_id,
        CALLER.role,
    )


async def test_the_unchanged_token_of_the_attack_table_is_accepted() -> None:
    await verifier().verify(token())


ATTACKS: dict[str, Callable[[], str]] = {
    "expired": lambda: token(exp=datetime.now(UTC) - timedelta(minutes=1)),
    "without expiry": lambda: token(exp=None),
    "not yet valid": lambda: token(nbf=datetime.now(UTC) + timedelta(minutes=5)),
    "of another issuer": lambda: token(iss="https://elsewhere.test"),
    "for another audience": lambda: token(aud="somebody-else"),
    "without audience": lambda: token(aud=None),
    "without organisation": lambda: token(org=None),
    "with an organisation that is no id": lambda: token(org="../1"),
    "of another type": lambda: token(headers={"typ": "JWT"}),
    "of the service type": lambda: token(headers={"typ": "svc+jwt"}),
    "without key id": lambda: token(headers={"kid": None}),
    "with an unknown key id": lambda: token(headers={"kid": "../../k1"}),
    "with a critical extension": lambda: token(headers={"crit": ["exp"]}),
    "unsigned": lambda: jwt.encode({"sub": "1"}, "", algorithm="none", headers={"kid": "k1", "typ": "at+jwt"}),
    "signed by somebody else": lambda: jwt.encode(
        jwt.decode(token(), options={"verify_signature": False}),
        Ed25519PrivateKey.generate(),
        algorithm="EdDSA",
        headers={"kid": "k1", "typ": "at+jwt"},
    ),
    "64 kB long": lambda: "a" * 65536,
    "empty": lambda: "",
    "not a token": lambda: "a.b.c",
}


def _hs256_with_public_key() -> str:
    raw = PUBLIC.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    claims = jwt.decode(token(), options={"verify_signature": False})
    return jwt.encode(claims, raw, algorithm="HS256", headers={"kid": "k1", "typ": "at+jwt"})


ATTACKS["signed with our public key as a shared secret"] = _hs256_with_public_key


@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_token_is_refused_when_it_is(attack: str) -> None:
    with pytest.raises(InvalidToken):
        await verifier().verify(ATTACKS[attack]())


def test_a_service_token_is_for_one_service_and_one_minute() -> None:
    clock = FakeClock(datetime.now(UTC))
    secret = b"x" * 32
    issued = ServiceTokens(secret, service="mailer", clock=clock).issue("campaigns")
    assert ServiceTokens(secret, service="campaigns", clock=clock).verify(issued) == "mailer"
    with pytest.raises(InvalidToken):
        ServiceTokens(secret, service="auth", clock=clock).verify(issued)
    with pytest.raises(InvalidToken):
        ServiceTokens(b"y" * 32, service="campaigns", clock=clock).verify(issued)
    clock.advance(minutes=-5)
    old = ServiceTokens(secret, service="mailer", clock=clock).issue("campaigns")
    with pytest.raises(InvalidToken):
        ServiceTokens(secret, service="campaigns", clock=clock).verify(old)


def jwks(keys: Mapping[str, Ed25519PrivateKey] = MappingProxyType({"k1": KEY})) -> list[dict[str, Any]]:
    return [
        {**json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key())), "kid": name} for name, key in keys.items()
    ]


class KeyServer:
    """Publishes keys, counts fetches, and can be down."""

    def __init__(self) -> None:
        self.fetches = 0
        self.up = True
        self.keys = {"k1": KEY}

    def __call__(self, _request: httpx.Request) -> httpx.Response:
        self.fetches += 1
        if not self.up:
            return httpx.Response(503)
        return httpx.Response(200, json={"keys": jwks(self.keys)})


def source(server: KeyServer, **options: float) -> HttpJwks:
    client = httpx.AsyncClient(transport=httpx.MockTransport(server))
    return HttpJwks("http://auth/jwks", client, **options)


async def test_keys_are_fetched_once() -> None:
    server = KeyServer()
    keys = source(server)
    assert await keys.key("k1") == await keys.key("k1") == PUBLIC
    assert server.fetches == 1


async def test_made_up_key_ids_cause_no_flood_of_fetches() -> None:
    server = KeyServer()
    keys = source(server)
    await keys.key("k1")
    for number in range(100):
        with pytest.raises(InvalidToken):
            await keys.key(f"made-up-{number}")
    assert server.fetches == 1


async def test_a_new_key_is_found_when_a_token_names_it() -> None:
    server = KeyServer()
    keys = source(server, min_refetch_seconds=0)
    await keys.key("k1")
    server.keys["k2"] = Ed25519PrivateKey.generate()
    assert await keys.key("k2") == server.keys["k2"].public_key()


async def test_the_last_keys_serve_while_auth_is_away() -> None:
    server = KeyServer()
    keys = source(server, max_age_seconds=0, min_refetch_seconds=0)
    await keys.key("k1")
    server.up = False
    assert await keys.key("k1") == PUBLIC


async def test_without_any_keys_the_failure_is_transient() -> None:
    server = KeyServer()
    server.up = False
    with pytest.raises(TransientError):
        await source(server).key("k1")


async def test_loading_the_keys_beforehand_saves_the_first_caller_the_fetch() -> None:
    server = KeyServer()
    keys = source(server)
    await keys.load()
    server.up = False
    await keys.load()
    assert await keys.key("k1") == PUBLIC
    assert server.fetches == 1


async def test_loading_says_when_there_is_nothing_to_load() -> None:
    server = KeyServer()
    server.keys = {}
    with pytest.raises(TransientError):
        await source(server).load()


async def test_a_caller_is_known_until_the_token_expires() -> None:
    caller = await verifier().verify(token())
    claims = jwt.decode(token(), options={"verify_signature": False})
    assert abs(caller.expires_at - claims["exp"]) <= 1


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        {"keys": []},
        {"keys": None},
        {"keys": [{"kty": "RSA"}]},
        {"keys": [{"kty": "OKP", "crv": "Ed25519"}]},
        "x",
    ],
)
async def test_the_last_good_keys_outlive_an_answer_that_is_no_key_set(document: Any) -> None:
    answers = iter([{"keys": jwks()}, document])
    transport = httpx.MockTransport(lambda _request: httpx.Response(200, json=next(answers)))
    keys = HttpJwks(
        "http://auth/jwks", httpx.AsyncClient(transport=transport), max_age_seconds=0, min_refetch_seconds=0
    )
    assert await keys.key("k1") == PUBLIC
    assert await keys.key("k1") == PUBLIC


async def test_keys_of_other_kinds_are_passed_over() -> None:
    others = [{"kty": "RSA", "kid": "r"}, {"kty": "OKP", "crv": "X25519", "x": "AA", "kid": "x"}, {"kty": "new"}]
    transport = httpx.MockTransport(lambda _request: httpx.Response(200, json={"keys": [*others, *jwks()]}))
    assert await HttpJwks("http://auth/jwks", httpx.AsyncClient(transport=transport)).key("k1") == PUBLIC


async def test_callers_do_not_queue_up_for_a_server_that_does_not_answer() -> None:
    tries = 0

    async def silent(_request: httpx.Request) -> httpx.Response:
        nonlocal tries
        tries += 1
        await asyncio.sleep(0.05)
        raise httpx.ReadTimeout("silent")

    keys = HttpJwks(
        "http://auth/jwks", httpx.AsyncClient(transport=httpx.MockTransport(silent)), first_retry_seconds=60
    )
    results = await asyncio.gather(*(keys.key("k1") for _ in range(50)), return_exceptions=True)
    assert all(isinstance(result, TransientError) for result in results)
    assert tries == 1
