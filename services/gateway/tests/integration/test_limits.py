"""Requests are counted, all gateways together."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import redis.asyncio as redis

from posthorn_gateway.adapters.redis_rate_limiter import RedisRateLimiter
from posthorn_local.ports import free_ports

from .support import FakeAuth, TokenIssuer


async def test_sign_in_is_limited_per_address(start_gateway: Any) -> None:
    gateway = await start_gateway(sign_in_per_minute=3)
    answers = [await gateway.client.post("/v1/auth/login", json={}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["2", "1", "0", "0"]
    refused = answers[-1]
    assert refused.json()["code"] == "rate_limited"
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert refused.headers["ratelimit-limit"] == "3"
    assert (await gateway.client.get("/t/o/x")).status_code == 200, "recipients are not limited by default"
    assert (await gateway.client.get("/.well-known/jwks.json")).status_code == 200


async def test_callers_are_limited_per_organisation_and_per_api_key(
    start_gateway: Any, issuer: TokenIssuer, auth: FakeAuth
) -> None:
    gateway = await start_gateway(requests_per_minute=5)
    ours, others = str(uuid4()), str(uuid4())
    statuses = [
        (await gateway.client.get("/v1/contacts", headers=issuer.bearer(org=ours))).status_code for _ in range(7)
    ]
    assert statuses == [200] * 5 + [429] * 2
    assert (await gateway.client.get("/v1/contacts", headers=issuer.bearer(org=others))).status_code == 200
    auth.keys["ph_key"] = uuid4()
    with_key = await gateway.client.get("/v1/contacts", headers={"Authorization": "Bearer ph_key"})
    assert with_key.status_code == 200


async def test_two_gateways_share_one_limit(start_gateway: Any, issuer: TokenIssuer) -> None:
    first = await start_gateway(requests_per_minute=10)
    second = await start_gateway(requests_per_minute=10, port=free_ports(1)[0])
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
    assert [verdict.allowed for verdict in verdicts if verdict] == [True] * 100 + [False]
    async with asyncio.timeout(30):
        while True:
            verdict = await limiter.take("a", per_minute)
            assert verdict is not None
            if verdict.allowed:
                break
            await asyncio.sleep(0.05)
    assert 0 < await redis_client.pttl("posthorn:gateway:rate:a") <= 61_000


async def test_a_busy_key_costs_few_round_trips_and_stays_within_its_limit(redis_client: redis.Redis) -> None:
    limiters = [RedisRateLimiter(redis_client) for _ in range(2)]
    calls = (await redis_client.info("stats"))["total_commands_processed"]
    per_minute = 1000
    verdicts = [await limiter.take("busy", per_minute) for _ in range(600) for limiter in limiters]
    allowed = sum(verdict.allowed for verdict in verdicts if verdict)
    spent = (await redis_client.info("stats"))["total_commands_processed"] - calls
    # What has come back meanwhile is allowed too: 1000 a minute are 16.7 a second.
    assert 980 <= allowed <= 1200
    assert spent < 1200, "less than one command for each request"


async def test_an_emptied_redis_only_forgets(redis_client: redis.Redis) -> None:
    limiter = RedisRateLimiter(redis_client)
    while (verdict := await limiter.take("b", 5)) and verdict.allowed:
        pass
    await redis_client.flushdb()
    await redis_client.script_flush()
    verdict = await limiter.take("b", 5)
    assert verdict is not None
    assert verdict.allowed
