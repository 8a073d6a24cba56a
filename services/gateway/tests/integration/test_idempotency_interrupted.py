"""What is known of an Idempotency-Key when a client, a service, a gateway or Redis goes away in the middle."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio
import redis.asyncio as redis
from aiohttp import web

from posthorn_local.ports import free_ports

from .conftest import RunningGateway, StartGateway
from .support import Creator, FakeService, connection, eventually, with_key

Services = dict[str, FakeService]
PATH = "/v1/contacts"


class LossyRedis:
    """The way to Redis, on which answers about idempotency keys are lost: carried out, and the connection breaks."""

    def __init__(self, redis_url: str) -> None:
        self._url = urlsplit(redis_url)
        self._ends: list[asyncio.StreamWriter] = []
        self.to_lose = 0

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        redis_reader, redis_writer = await asyncio.open_connection(self._url.hostname, self._url.port)
        self._ends += [writer, redis_writer]
        with contextlib.suppress(ConnectionError):
            while request := await reader.read(65_536):
                redis_writer.write(request)
                answer = await redis_reader.read(65_536)
                if self.to_lose and b"posthorn:gateway:idempotency" in request:
                    self.to_lose -= 1
                    break
                writer.write(answer)
        redis_writer.close()
        writer.close()

    async def close(self) -> None:
        for end in self._ends:
            end.close()
            with contextlib.suppress(ConnectionError):
                await end.wait_closed()


@pytest_asyncio.fixture
async def lossy(redis_url: str) -> AsyncGenerator[tuple[LossyRedis, str]]:
    """The way to Redis, and its address."""
    way = LossyRedis(redis_url)
    server = await asyncio.start_server(way.connect, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield way, redis_url.replace(f":{urlsplit(redis_url).port}/", f":{port}/")
    await way.close()


async def test_a_service_that_was_not_reached_leaves_the_key_free(
    gateway: RunningGateway, creator: Creator, services: Services, who: dict[str, str]
) -> None:
    await services["campaigns"].stop()
    assert (await gateway.client.post(PATH, json={}, headers=with_key(who))).status_code == 503
    await services["campaigns"].start()
    assert (await gateway.client.post(PATH, json={}, headers=with_key(who))).status_code == 201


async def test_a_service_that_breaks_off_leaves_the_outcome_unknown(
    gateway: RunningGateway, creator: Creator, services: Services, who: dict[str, str]
) -> None:
    async def break_off(request: web.Request) -> web.StreamResponse:
        creator.created.append(await request.read())
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    services["campaigns"].handler = break_off
    assert (await gateway.client.post(PATH, json={}, headers=with_key(who))).status_code == 503
    services["campaigns"].handler = creator.handle
    again = await gateway.client.post(PATH, json={}, headers=with_key(who))
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
        await gateway.client.post(PATH, json={}, headers=with_key(who))
    again = await gateway.client.post(PATH, json={}, headers=with_key(who))
    assert (again.status_code, again.json()["code"]) == (409, "idempotency_outcome_unknown")


async def test_a_silent_service_leaves_the_outcome_unknown(
    start_gateway: StartGateway, creator: Creator, services: Services, who: dict[str, str]
) -> None:
    gateway = await start_gateway(read_timeout_seconds=0.3)

    async def silent(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    services["campaigns"].handler = silent
    assert (await gateway.client.post(PATH, json={}, headers=with_key(who))).status_code == 504
    services["campaigns"].handler = creator.handle
    again = await gateway.client.post(PATH, json={}, headers=with_key(who))
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
    leaving = asyncio.create_task(gateway.client.post(PATH, json={}, headers=with_key(who)))
    await begun.wait()
    leaving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await leaving
    go_on.set()

    async def answered_again() -> bool:
        answer = await gateway.client.post(PATH, json={}, headers=with_key(who))
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
        return (await gateway.client.post(PATH, json={}, headers=with_key(who))).status_code == 201

    await eventually(carried_out)
    assert creator.created == [b"{}"]


async def test_a_gateway_that_dies_leaves_the_outcome_unknown(
    start_gateway: StartGateway, creator: Creator, who: dict[str, str], redis_client: redis.Redis
) -> None:
    gateway = await start_gateway()
    await gateway.client.post(PATH, json={}, headers=with_key(who))
    # As a process leaves it that was killed between the service's work and its own note of it.
    (key,) = await redis_client.keys("posthorn:gateway:idempotency:*")
    await redis_client.hset(key, mapping={"state": "running", "until": 0, "holder": "dead"})
    again = await gateway.client.post(PATH, json={}, headers=with_key(who))
    assert (again.status_code, again.json()["code"]) == (409, "idempotency_outcome_unknown")
    assert len(creator.created) == 1


async def test_a_gateway_that_is_at_work_for_long_is_not_taken_for_dead(
    start_gateway: StartGateway, creator: Creator, services: Services, who: dict[str, str], redis_client: redis.Redis
) -> None:
    gateway = await start_gateway(idempotency_lease_seconds=0.3)
    go_on = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        await go_on.wait()
        return await creator.handle(request)

    services["campaigns"].handler = slow
    first = asyncio.create_task(gateway.client.post(PATH, json={}, headers=with_key(who)))
    (key,) = await eventually(lambda: redis_client.keys("posthorn:gateway:idempotency:*"))
    until = int(await redis_client.hget(key, "until"))

    async def renewed_twice() -> bool:
        return int(await redis_client.hget(key, "until")) > until + 150

    await eventually(renewed_twice)
    go_on.set()
    assert (await first).status_code == 201


async def test_without_redis_a_request_with_a_key_is_not_carried_out_and_others_are(
    start_gateway: StartGateway, creator: Creator, who: dict[str, str]
) -> None:
    gateway = await start_gateway(redis_url=f"redis://127.0.0.1:{free_ports(1)[0]}/0")
    refused = await gateway.client.post(PATH, json={}, headers=with_key(who))
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
    await gateway.client.post(PATH, json={}, headers=with_key(who))
    again = await gateway.client.post(PATH, json={}, headers=with_key(who))
    assert again.headers["idempotent-replayed"] == "true"
    assert len(creator.created) == 1


async def test_a_kept_answer_that_cannot_be_read_any_more_is_not_carried_out_again(
    start_gateway: StartGateway, creator: Creator, who: dict[str, str]
) -> None:
    gateway = await start_gateway()
    await gateway.client.post(PATH, json={}, headers=with_key(who))
    other = await start_gateway(port=free_ports(1)[0], internal_secret="another-secret-of-enough-characters-0123456789")
    again = await other.client.post(PATH, json={}, headers=with_key(who))
    assert (again.status_code, again.json()["code"]) == (409, "idempotency_answer_not_kept")


@pytest.mark.parametrize(("to_lose", "first_status"), [(1, 201), (2, 503)])
async def test_a_claim_whose_answer_was_lost_does_not_keep_the_key_from_its_own_request(
    start_gateway: StartGateway,
    creator: Creator,
    who: dict[str, str],
    lossy: tuple[LossyRedis, str],
    to_lose: int,
    first_status: int,
) -> None:
    way, redis_url = lossy
    gateway = await start_gateway(redis_url=redis_url)
    await gateway.client.post(PATH, json={}, headers=with_key(who, "teaches-redis-the-scripts"))
    way.to_lose = to_lose
    first = await gateway.client.post(PATH, json={}, headers=with_key(who))
    assert first.status_code == first_status, first.text

    async def carried_out() -> bool:
        return (await gateway.client.post(PATH, json={}, headers=with_key(who))).status_code == 201

    await eventually(carried_out)
    assert len(creator.created) == 2
