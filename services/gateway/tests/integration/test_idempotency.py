"""A POST with an Idempotency-Key is carried out once, and answered alike afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

import pytest
import redis.asyncio as redis
from aiohttp import web

from posthorn_gateway.domain.idempotency import MAX_ANSWER_BYTES
from posthorn_local.ports import free_ports

from .conftest import RunningGateway, StartGateway
from .support import GUARD_SECONDS, Creator, FakeService, TokenIssuer, with_key

Services = dict[str, FakeService]
PATH = "/v1/contacts"


async def test_the_same_request_is_answered_again_without_being_carried_out_again(
    gateway: RunningGateway, creator: Creator, who: dict[str, str]
) -> None:
    first = await gateway.client.post(PATH, json={"email": "a"}, headers=with_key(who))
    again = await gateway.client.post(PATH, json={"email": "a"}, headers=with_key(who))
    assert creator.created == [b'{"email":"a"}']
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content == b'{"number": 1}'
    assert again.headers["location"] == first.headers["location"] == f"{PATH}/1"
    assert again.headers["content-type"] == "application/json"
    assert (again.headers["idempotent-replayed"], first.headers.get("idempotent-replayed")) == ("true", None)
    assert first.headers["x-request-id"] != again.headers["x-request-id"], "each exchange has an id of its own"
    assert "ratelimit" in ",".join(again.headers).lower(), "a repeated request counts like any other"
    assert "set-cookie" not in again.headers


async def test_without_a_key_every_request_is_carried_out(
    gateway: RunningGateway, creator: Creator, who: dict[str, str]
) -> None:
    for _ in range(2):
        assert (await gateway.client.post(PATH, json={}, headers=who)).status_code == 201
    assert len(creator.created) == 2


@pytest.mark.parametrize("changed", [{"json": {"email": "b"}}, {"json": {"email": "a"}, "params": {"dry_run": "1"}}])
async def test_the_same_key_for_another_request_is_refused(
    gateway: RunningGateway, creator: Creator, who: dict[str, str], changed: dict[str, Any]
) -> None:
    await gateway.client.post(PATH, json={"email": "a"}, headers=with_key(who))
    other = await gateway.client.post(PATH, headers=with_key(who), **changed)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert len(creator.created) == 1


async def test_a_key_belongs_to_its_caller_and_path(
    gateway: RunningGateway, creator: Creator, who: dict[str, str], issuer: TokenIssuer
) -> None:
    organisation = str(uuid4())
    callers = [who, issuer.bearer(), issuer.bearer(org=organisation), issuer.bearer(org=organisation)]
    for caller in callers:
        answer = await gateway.client.post(PATH, json={}, headers=with_key(caller))
        assert "idempotent-replayed" not in answer.headers
    assert "idempotent-replayed" not in (await gateway.client.post("/v1/lists", json={}, headers=with_key(who))).headers
    assert len(creator.created) == len(callers) + 1


async def test_a_caller_with_a_new_token_finds_its_answer(
    gateway: RunningGateway, creator: Creator, issuer: TokenIssuer
) -> None:
    person = {"org": str(uuid4()), "sub": str(uuid4())}
    for expected in (None, "true"):
        answer = await gateway.client.post(PATH, json={}, headers=with_key(issuer.bearer(**person)))
        assert answer.headers.get("idempotent-replayed") == expected
    assert len(creator.created) == 1


async def test_a_concurrent_duplicate_is_told_to_come_again(
    gateway: RunningGateway, creator: Creator, services: Services, who: dict[str, str]
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        begun.set()
        await go_on.wait()
        return await creator.handle(request)

    services["campaigns"].handler = slow
    first = asyncio.create_task(gateway.client.post(PATH, json={}, headers=with_key(who)))
    await begun.wait()
    second = await gateway.client.post(PATH, json={}, headers=with_key(who))
    assert (second.status_code, second.json()["code"]) == (409, "idempotency_in_progress")
    assert int(second.headers["retry-after"]) >= 1
    go_on.set()
    assert (await first).status_code == 201
    third = await gateway.client.post(PATH, json={}, headers=with_key(who))
    assert third.headers["idempotent-replayed"] == "true"
    assert len(creator.created) == 1


async def test_of_many_at_once_over_two_gateways_one_is_carried_out(
    start_gateway: StartGateway, creator: Creator, who: dict[str, str]
) -> None:
    gateways = [await start_gateway(), await start_gateway(port=free_ports(1)[0])]
    calls = [gateway.client.post(PATH, json={}, headers=with_key(who)) for gateway in gateways for _ in range(10)]
    statuses = [answer.status_code for answer in await asyncio.gather(*calls)]
    assert set(statuses) <= {201, 409}
    assert len(creator.created) == 1


@pytest.mark.parametrize("status", [400, 404, 409, 422, 429, 503])
async def test_a_refused_request_may_be_tried_again_with_its_key(
    gateway: RunningGateway, creator: Creator, who: dict[str, str], status: int
) -> None:
    creator.status = status
    assert (await gateway.client.post(PATH, json={}, headers=with_key(who))).status_code == status
    creator.status = 201
    assert (await gateway.client.post(PATH, json={}, headers=with_key(who))).status_code == 201
    assert len(creator.created) == 2


async def test_an_error_after_which_nobody_knows_is_the_answer_for_good(
    gateway: RunningGateway, creator: Creator, who: dict[str, str]
) -> None:
    creator.status = 500
    answers = [await gateway.client.post(PATH, json={}, headers=with_key(who)) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [500, 500]
    assert len(creator.created) == 1


async def test_an_answer_too_large_to_keep_is_passed_on_once(
    gateway: RunningGateway, creator: Creator, who: dict[str, str]
) -> None:
    creator.answer = b"x" * (MAX_ANSWER_BYTES + 1)
    first = await gateway.client.post(PATH, json={}, headers=with_key(who))
    assert (first.status_code, first.content) == (201, creator.answer)
    again = await gateway.client.post(PATH, json={}, headers=with_key(who))
    assert (again.status_code, again.json()["code"]) == (409, "idempotency_answer_not_kept")
    other = await gateway.client.post(PATH, json={"other": 1}, headers=with_key(who))
    assert other.status_code == 422
    assert len(creator.created) == 1


async def test_a_large_upload_is_streamed_and_recognised_again(
    gateway: RunningGateway, creator: Creator, who: dict[str, str]
) -> None:
    piece = b"email\n" * 20_000

    async def pieces(last: bytes) -> AsyncGenerator[bytes]:
        for _ in range(10):
            yield piece
        yield last

    headers = with_key(who, **{"Content-Type": "text/csv"})
    answers = [
        await gateway.client.post("/v1/imports", content=pieces(last), headers=headers)
        for last in (b"end", b"end", b"another end")
    ]
    assert [answer.status_code for answer in answers] == [201, 201, 422]
    assert creator.created == [piece * 10 + b"end"]


async def test_redis_holds_no_answer_in_clear_text_and_forgets_it_after_a_day(
    gateway: RunningGateway, creator: Creator, who: dict[str, str], redis_client: redis.Redis
) -> None:
    creator.answer = b'{"api_key": "ph_secret"}'
    await gateway.client.post(PATH, json={"email": "person@example.com"}, headers=with_key(who))
    (key,) = await redis_client.keys("posthorn:gateway:idempotency:*")
    kept = b"".join([key, *await redis_client.hvals(key)])
    for secret in (b"ph_secret", b"person", b"key-1"):
        assert secret not in kept
    assert 86_000 < await redis_client.ttl(key) <= 86_400


@pytest.mark.parametrize("key", ["", '""', "a b", "x" * 256, "ü", 'half"quoted'])
async def test_a_key_that_is_none_is_refused(
    gateway: RunningGateway, creator: Creator, who: dict[str, str], key: str
) -> None:
    headers = {**who, "Idempotency-Key": key.encode()}
    answer = await gateway.client.post(PATH, json={}, headers=headers)  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_idempotency_key")
    assert creator.created == []


async def test_two_keys_are_refused(gateway: RunningGateway, creator: Creator, who: dict[str, str]) -> None:
    headers = [*who.items(), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    assert (await gateway.client.post(PATH, json={}, headers=headers)).status_code == 400


async def test_a_quoted_key_is_the_same_key(gateway: RunningGateway, creator: Creator, who: dict[str, str]) -> None:
    await gateway.client.post(PATH, json={}, headers=with_key(who, "key-1"))
    again = await gateway.client.post(PATH, json={}, headers=with_key(who, '"key-1"'))
    assert again.headers["idempotent-replayed"] == "true"


async def test_sign_in_and_other_methods_take_no_key(
    gateway: RunningGateway, creator: Creator, services: Services, who: dict[str, str], redis_client: redis.Redis
) -> None:
    await gateway.client.post("/v1/auth/login", json={}, headers={"Idempotency-Key": "k"})
    await gateway.client.patch(f"{PATH}/1", json={}, headers=with_key(who))
    assert await redis_client.keys("posthorn:gateway:idempotency:*") == []


async def test_an_answer_without_a_body_is_given_again(
    gateway: RunningGateway, creator: Creator, who: dict[str, str]
) -> None:
    creator.status, creator.answer = 204, b""
    for expected in (None, "true"):
        async with asyncio.timeout(GUARD_SECONDS):
            answer = await gateway.client.post(PATH, headers=with_key(who))
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers.get("idempotent-replayed") == expected
    assert len(creator.created) == 1
