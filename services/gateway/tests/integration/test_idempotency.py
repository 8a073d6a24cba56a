"""A POST with an Idempotency-Key is carried out once, whatever happens on the way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import redis.asyncio as redis
from aiohttp import web

from posthorn_gateway.domain.idempotency import MAX_ANSWER_BYTES
from posthorn_local.ports import free_ports

from .conftest import RunningGateway
from .support import GUARD_SECONDS, FakeService, TokenIssuer, connection, eventually

Services = dict[str, FakeService]
PATH = "/v1/contacts"


class Creator:
    """A service that creates something with each request."""

    def __init__(self, service: FakeService) -> None:
        self.created: list[bytes] = []
        self.status = 201
        self.answer: bytes | None = None
        service.handler = self.handle

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.created.append(body)
        return web.Response(
            status=self.status,
            body=self.answer if self.answer is not None else f'{{"number": {len(self.created)}}}'.encode(),
            headers={
                "Content-Type": "application/json",
                "Location": f"{PATH}/{len(self.created)}",
                "Set-Cookie": "a=b",
                "X-Request-ID": "of-the-service",
            },
        )


@pytest.fixture
def creator(services: Services) -> Creator:
    return Creator(services["campaigns"])


@pytest.fixture
def who(issuer: TokenIssuer) -> dict[str, str]:
    """A caller; the same in every request of a test."""
    return issuer.bearer()


def _with(who: dict[str, str], key: str = "key-1", **more: str) -> dict[str, str]:
    return {**who, "Idempotency-Key": key, **more}


async def test_the_same_request_is_answered_again_without_being_carried_out_again(
    gateway: RunningGateway, creator: Creator, who: dict[str, str]
) -> None:
    first = await gateway.client.post(PATH, json={"email": "a"}, headers=_with(who))
    again = await gateway.client.post(PATH, json={"email": "a"}, headers=_with(who))
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
    await gateway.client.post(PATH, json={"email": "a"}, headers=_with(who))
    other = await gateway.client.post(PATH, headers=_with(who), **changed)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert len(creator.created) == 1


async def test_a_key_belongs_to_its_caller_and_path(
    gateway: RunningGateway, creator: Creator, who: dict[str, str], issuer: TokenIssuer
) -> None:
    organisation = str(uuid4())
    callers = [who, issuer.bearer(), issuer.bearer(org=organisation), issuer.bearer(org=organisation)]
    for caller in callers:
        answer = await gateway.client.post(PATH, json={}, headers=_with(caller))
        assert "idempotent-replayed" not in answer.headers
    assert "idempotent-replayed" not in (await gateway.client.post("/v1/lists", json={}, headers=_with(who))).headers
    assert len(creator.created) == len(callers) + 1


async def test_a_caller_with_a_new_token_finds_its_answer(
    gateway: RunningGateway, creator: Creator, issuer: TokenIssuer
) -> None:
    person = {"org": str(uuid4()), "sub": str(uuid4())}
    for expected in (None, "true"):
        answer = await gateway.client.post(PATH, json={}, headers=_with(issuer.bearer(**person)))
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
    first = asyncio.create_task(gateway.client.post(PATH, json={}, headers=_with(who)))
    await begun.wait()
    second = await gateway.client.post(PATH, json={}, headers=_with(who))
    assert (second.status_code, second.json()["code"]) == (409, "idempotency_in_progress")
    assert int(second.headers["retry-after"]) >= 1
    go_on.set()
    assert (await first).status_code == 201
    third = await gateway.client.post(PATH, json={}, headers=_with(who))
    assert third.headers["idempotent-replayed"] == "true"
    assert len(creator.created) == 1


async def test_of_many_at_once_over_two_gateways_one_is_carried_out(
    start_gateway: Any, creator: Creator, who: dict[str, str]
) -> None:
    gateways = [await start_gateway(), await start_gateway(port=free_ports(1)[0])]
    calls = [gateway.client.post(PATH, json={}, headers=_with(who)) for gateway in gateways for _ in range(10)]
    statuses = [answer.status_code for answer in await asyncio.gather(*calls)]
    assert set(statuses) <= {201, 409}
    assert len(creator.created) == 1


@pytest.mark.parametrize("status", [400, 404, 409, 422, 429, 503])
async def test_a_refused_request_may_be_tried_again_with_its_key(
    gateway: RunningGateway, creator: Creator, who: dict[str, str], status: int
) -> None:
    creator.status = status
    assert (await gateway.client.post(PATH, json={}, headers=_with(who))).status_code == status
    creator.status = 201
    assert (await gateway.client.post(PATH, json={}, headers=_with(who))).status_code == 201
    assert len(creator.created) == 2


async def test_an_error_after_which_nobody_knows_is_the_answer_for_good(
    gateway: RunningGateway, creator: Creator, who: dict[str, str]
) -> None:
    creator.status = 500
    answers = [await gateway.client.post(PATH, json={}, headers=_with(who)) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [500, 500]
    assert len(creator.created) == 1


async def test_a_service_that_was_not_reached_leaves_the_key_free(
    gateway: RunningGateway, creator: Creator, services: Services, who: dict[str, str]
) -> None:
    await services["campaigns"].stop()
    assert (await gateway.client.post(PATH, json={}, headers=_with(who))).status_code == 503
    await services["campaigns"].start()
    assert (await gateway.client.post(PATH, json={}, headers=_with(who))).status_code == 201


async def test_a_service_that_breaks_off_leaves_the_outcome_unknown(
    gateway: RunningGateway, creator: Creator, services: Services, who: dict[str, str]
) -> None:
    async def break_off(request: web.Request) -> web.StreamResponse:
        creator.created.append(await request.read())
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    services["campaigns"].handler = break_off
    assert (await gateway.client.post(PATH, json={}, headers=_with(who))).status_code == 503
    services["campaigns"].handler = creator.handle
    again = await gateway.client.post(PATH, json={}, headers=_with(who))
    assert (again.status_code, again.json()["code"]) == (409, "idempotency_outcome_unknown")
    assert len(creator.created) == 1, "not carried out a second time"


async def test_an_answer_that_ends_in_the_middle_leaves_the_outcome_unknown(
    gateway: RunningGateway, services: Services, who: dict[str, str]
) -> None:
    async def half(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(status=201, headers={"Content-Length": "100"})
        await answer.prepare(request)
        await answer.write(b"half")
        assert request.transport is not None
        request.transport.abort()
        return answer

    services["campaigns"].handler = half
    with contextlib.suppress(httpx.TransportError):
        await gateway.client.post(PATH, json={}, headers=_with(who))
    again = await gateway.client.post(PATH, json={}, headers=_with(who))
    assert (again.status_code, again.json()["code"]) == (409, "idempotency_outcome_unknown")


async def test_a_silent_service_leaves_the_outcome_unknown(
    start_gateway: Any, creator: Creator, services: Services, who: dict[str, str]
) -> None:
    gateway = await start_gateway(read_timeout_seconds=0.3)

    async def silent(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    services["campaigns"].handler = silent
    assert (await gateway.client.post(PATH, json={}, headers=_with(who))).status_code == 504
    services["campaigns"].handler = creator.handle
    again = await gateway.client.post(PATH, json={}, headers=_with(who))
    assert again.json()["code"] == "idempotency_outcome_unknown"
    assert creator.created == []


async def test_a_client_that_leaves_finds_its_answer_when_it_comes_again(
    gateway: RunningGateway, creator: Creator, services: Services, who: dict[str, str]
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        begun.set()
        await go_on.wait()
        return await creator.handle(request)

    services["campaigns"].handler = slow
    leaving = asyncio.create_task(gateway.client.post(PATH, json={}, headers=_with(who)))
    await begun.wait()
    leaving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await leaving
    go_on.set()

    async def answered_again() -> bool:
        answer = await gateway.client.post(PATH, json={}, headers=_with(who))
        return answer.status_code == 201 and answer.headers.get("idempotent-replayed") == "true"

    await eventually(answered_again)
    assert len(creator.created) == 1


async def test_a_client_that_leaves_in_the_middle_of_its_body_has_sent_nothing(
    gateway: RunningGateway, creator: Creator, who: dict[str, str], redis_client: redis.Redis
) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: h\r\nAuthorization: {who['Authorization']}\r\nIdempotency-Key: key-1\r\n"
    async with connection(gateway.port) as (_reader, writer):
        writer.write(head.encode() + b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\nhalf of it")
        await writer.drain()
        await eventually(lambda: redis_client.keys("posthorn:gateway:idempotency:*"))

    async def carried_out() -> bool:
        return (await gateway.client.post(PATH, json={}, headers=_with(who))).status_code == 201

    await eventually(carried_out)
    assert creator.created == [b"{}"]


async def test_a_gateway_that_dies_leaves_the_outcome_unknown(
    start_gateway: Any, creator: Creator, who: dict[str, str], redis_client: redis.Redis
) -> None:
    gateway = await start_gateway()
    await gateway.client.post(PATH, json={}, headers=_with(who))
    # As a process leaves it that was killed between the service's work and its own note of it.
    (key,) = await redis_client.keys("posthorn:gateway:idempotency:*")
    await redis_client.hset(key, mapping={"state": "running", "until": 0, "holder": "dead"})
    again = await gateway.client.post(PATH, json={}, headers=_with(who))
    assert (again.status_code, again.json()["code"]) == (409, "idempotency_outcome_unknown")
    assert len(creator.created) == 1


async def test_a_gateway_that_is_at_work_for_long_is_not_taken_for_dead(
    start_gateway: Any, creator: Creator, services: Services, who: dict[str, str], redis_client: redis.Redis
) -> None:
    gateway = await start_gateway(idempotency_lease_seconds=0.3)
    go_on = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        await go_on.wait()
        return await creator.handle(request)

    services["campaigns"].handler = slow
    first = asyncio.create_task(gateway.client.post(PATH, json={}, headers=_with(who)))
    (key,) = await eventually(lambda: redis_client.keys("posthorn:gateway:idempotency:*"))
    until = int(await redis_client.hget(key, "until"))

    async def renewed_twice() -> bool:
        return int(await redis_client.hget(key, "until")) > until + 150

    await eventually(renewed_twice)
    go_on.set()
    assert (await first).status_code == 201


async def test_without_redis_a_request_with_a_key_is_not_carried_out_and_others_are(
    start_gateway: Any, creator: Creator, who: dict[str, str]
) -> None:
    gateway = await start_gateway(redis_url=f"redis://127.0.0.1:{free_ports(1)[0]}/0")
    refused = await gateway.client.post(PATH, json={}, headers=_with(who))
    assert (refused.status_code, refused.json()["code"]) == (503, "idempotency_unavailable")
    assert "retry-after" in refused.headers
    assert creator.created == []
    assert (await gateway.client.post(PATH, json={}, headers=who)).status_code == 201


async def test_an_emptied_redis_in_the_middle_of_a_request_does_not_lose_its_answer(
    gateway: RunningGateway, creator: Creator, services: Services, who: dict[str, str], redis_client: redis.Redis
) -> None:
    async def empty(request: web.Request) -> web.StreamResponse:
        await redis_client.flushdb()
        return await creator.handle(request)

    services["campaigns"].handler = empty
    await gateway.client.post(PATH, json={}, headers=_with(who))
    again = await gateway.client.post(PATH, json={}, headers=_with(who))
    assert again.headers["idempotent-replayed"] == "true"
    assert len(creator.created) == 1


async def test_an_answer_too_large_to_keep_is_passed_on_once(
    gateway: RunningGateway, creator: Creator, who: dict[str, str]
) -> None:
    creator.answer = b"x" * (MAX_ANSWER_BYTES + 1)
    first = await gateway.client.post(PATH, json={}, headers=_with(who))
    assert (first.status_code, first.content) == (201, creator.answer)
    again = await gateway.client.post(PATH, json={}, headers=_with(who))
    assert (again.status_code, again.json()["code"]) == (409, "idempotency_answer_not_kept")
    other = await gateway.client.post(PATH, json={"other": 1}, headers=_with(who))
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

    headers = _with(who, **{"Content-Type": "text/csv"})
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
    await gateway.client.post(PATH, json={"email": "person@example.com"}, headers=_with(who))
    (key,) = await redis_client.keys("posthorn:gateway:idempotency:*")
    kept = b"".join([key, *await redis_client.hvals(key)])
    for secret in (b"ph_secret", b"person", b"key-1"):
        assert secret not in kept
    assert 86_000 < await redis_client.ttl(key) <= 86_400


async def test_a_kept_answer_that_cannot_be_read_any_more_is_not_carried_out_again(
    start_gateway: Any, creator: Creator, who: dict[str, str]
) -> None:
    gateway = await start_gateway()
    await gateway.client.post(PATH, json={}, headers=_with(who))
    other = await start_gateway(port=free_ports(1)[0], internal_secret="another-secret-of-enough-characters-0123456789")
    again = await other.client.post(PATH, json={}, headers=_with(who))
    assert (again.status_code, again.json()["code"]) == (409, "idempotency_answer_not_kept")


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
    await gateway.client.post(PATH, json={}, headers=_with(who, "key-1"))
    again = await gateway.client.post(PATH, json={}, headers=_with(who, '"key-1"'))
    assert again.headers["idempotent-replayed"] == "true"


async def test_sign_in_and_other_methods_take_no_key(
    gateway: RunningGateway, creator: Creator, services: Services, who: dict[str, str], redis_client: redis.Redis
) -> None:
    await gateway.client.post("/v1/auth/login", json={}, headers={"Idempotency-Key": "k"})
    await gateway.client.patch(f"{PATH}/1", json={}, headers=_with(who))
    assert await redis_client.keys("posthorn:gateway:idempotency:*") == []


async def test_an_answer_without_a_body_is_given_again(
    gateway: RunningGateway, creator: Creator, who: dict[str, str]
) -> None:
    creator.status, creator.answer = 204, b""
    for expected in (None, "true"):
        async with asyncio.timeout(GUARD_SECONDS):
            answer = await gateway.client.post(PATH, headers=_with(who))
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers.get("idempotent-replayed") == expected
    assert len(creator.created) == 1
