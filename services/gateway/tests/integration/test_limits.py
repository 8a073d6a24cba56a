"""Requests are counted, all gateways together."""

from __future__ import annotations

import asyncio
import re
from typing import Any
from uuid import uuid4

import redis.asyncio as redis

from posthorn_gateway.adapters.redis_rate_limiter import RedisRateLimiter
from posthorn_local.ports import free_ports

from .support import GUARD_SECONDS, FakeAuth, TokenIssuer, connection


async def test_sign_in_is_limited_per_address(start_gateway: Any) -> None:
    gateway = await start_gateway(sign_in_per_minute=3)
    answers = [await gateway.client.post("/v1/auth/login", json={}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    left = [re.fullmatch(r'"sign-in";r=(\d+);t=\d+', answer.headers["ratelimit"]) for answer in answers]
    assert [found and found[1] for found in left] == ["2", "1", "0", "0"]
    refused = answers[-1]
    assert refused.json()["code"] == "rate_limited"
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert refused.headers["ratelimit-policy"] == '"sign-in";q=3;w=60'
    assert (await gateway.client.get("/t/o/x")).status_code == 200, "recipients are not limited by default"
    assert (await gateway.client.get("/.well-known/jwks.json")).status_code == 200


async def test_callers_are_limited_per_organisation_and_per_api_key(
    start_gateway: Any, issuer: TokenIssuer, auth: FakeAuth
) -> None:
    gateway = await start_gateway(organisation_per_minute=5, api_key_per_minute=2)
    ours, others = str(uuid4()), str(uuid4())
    statuses = [
        (await gateway.client.get("/v1/contacts", headers=issuer.bearer(org=ours))).status_code for _ in range(7)
    ]
    assert statuses == [200] * 5 + [429] * 2
    assert (await gateway.client.get("/v1/contacts", headers=issuer.bearer(org=others))).status_code == 200
    auth.keys["ph_key"] = uuid4()
    with_key = [await gateway.client.get("/v1/contacts", headers={"Authorization": "Bearer ph_key"}) for _ in range(3)]
    assert [answer.status_code for answer in with_key] == [200, 200, 429]
    assert with_key[1].headers["ratelimit-policy"] == (
        '"address";q=60000;w=60, "organisation";q=5;w=60, "api-key";q=2;w=60'
    )


async def test_all_keys_of_an_organisation_share_its_limit(
    start_gateway: Any, issuer: TokenIssuer, services: Any
) -> None:
    gateway = await start_gateway(organisation_per_minute=4)
    ours = str(uuid4())
    callers = [issuer.bearer(org=ours, kind="api_key", sid=None, sub=str(uuid4())) for _ in range(6)]
    statuses = [(await gateway.client.get("/v1/contacts", headers=caller)).status_code for caller in callers]
    assert statuses == [200] * 4 + [429] * 2


async def test_an_address_that_shows_made_up_tokens_is_limited(start_gateway: Any) -> None:
    gateway = await start_gateway(address_per_minute=3)
    statuses = [
        (await gateway.client.get("/v1/contacts", headers={"Authorization": f"Bearer {number}"})).status_code
        for number in range(5)
    ]
    assert statuses == [401] * 3 + [429] * 2


async def test_without_redis_every_process_counts_for_itself(start_gateway: Any, issuer: TokenIssuer) -> None:
    gateway = await start_gateway(organisation_per_minute=3, redis_url=f"redis://127.0.0.1:{free_ports(1)[0]}/0")
    headers = issuer.bearer()
    answers = [await gateway.client.get("/v1/contacts", headers=headers) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 3 + [429] * 2
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 20
    assert (await gateway.client.get("/v1/contacts", headers=issuer.bearer())).status_code == 200


async def test_a_body_that_drips_for_ever_is_refused(start_gateway: Any, issuer: TokenIssuer) -> None:
    gateway = await start_gateway(body_timeout_seconds=0.5)

    token = issuer.bearer()["Authorization"]
    head = f"POST /v1/imports HTTP/1.1\r\nHost: h\r\nAuthorization: {token}\r\nContent-Length: 100000\r\n\r\n"
    async with connection(gateway.port) as (reader, writer), asyncio.timeout(GUARD_SECONDS):
        writer.write(head.encode())
        answering = asyncio.create_task(reader.readuntil(b"\r\n\r\n"))
        while not answering.done():
            writer.write(b"x")
            await asyncio.wait([answering], timeout=0.05)
        assert (await answering).startswith(b"HTTP/1.1 408 ")


async def test_two_gateways_share_one_limit(start_gateway: Any, issuer: TokenIssuer) -> None:
    first = await start_gateway(organisation_per_minute=10)
    second = await start_gateway(organisation_per_minute=10, port=free_ports(1)[0])
    organisation = str(uuid4())
    calls = [
        gateway.client.get("/v1/contacts", headers=issuer.bearer(org=organisation))
        for gateway in (first, second)
        for _ in range(10)
    ]
    answers = await asyncio.gather(*calls)
    assert sorted(answer.status_code for answer in answers) == [200] * 10 + [429] * 10


async def test_the_share_comes_back_with_time(redis_client: redis.Redis) -> None:
    limiter = RedisRateLimiter(redis_client)
    per_minute = 100  # one every 0.6 s
    verdicts = [await limiter.take("a", per_minute) for _ in range(101)]
    assert [verdict.allowed for verdict in verdicts] == [True] * 100 + [False]
    async with asyncio.timeout(30):
        while True:
            verdict = await limiter.take("a", per_minute)
            if verdict.allowed:
                break
            await asyncio.sleep(0.05)
    assert 0 < await redis_client.pttl("posthorn:gateway:rate:a") <= 61_000


async def test_a_busy_key_costs_few_round_trips_and_stays_within_its_limit(redis_client: redis.Redis) -> None:
    limiters = [RedisRateLimiter(redis_client) for _ in range(2)]
    calls = (await redis_client.info("stats"))["total_commands_processed"]
    per_minute = 1000
    verdicts = [await limiter.take("busy", per_minute) for _ in range(600) for limiter in limiters]
    allowed = sum(verdict.allowed for verdict in verdicts)
    spent = (await redis_client.info("stats"))["total_commands_processed"] - calls
    # What has come back meanwhile is allowed too: 1000 a minute are 16.7 a second.
    assert 980 <= allowed <= 1200
    assert spent < 1200, "less than one command for each request"


async def test_an_emptied_redis_only_forgets(redis_client: redis.Redis) -> None:
    limiter = RedisRateLimiter(redis_client)
    while (await limiter.take("b", 5)).allowed:
        pass
    await redis_client.flushdb()
    await redis_client.script_flush()
    assert (await limiter.take("b", 5)).allowed
