"""Bodies and streams pass piece by piece, within limits, and end when somebody leaves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from aiohttp import web

from .support import FakeService, TokenIssuer, connection, eventually, exchange_bytes

Services = dict[str, FakeService]


async def test_events_pass_at_once(gateway: Any, services: Services, issuer: TokenIssuer) -> None:
    go_on = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        await answer.write(b"event: progress\ndata: 1\n\n")
        await go_on.wait()
        await answer.write(b"event: end\ndata: 2\n\n")
        return answer

    services["analytics"].handler = handler
    async with gateway.client.stream("GET", "/v1/campaigns/1/progress", headers=issuer.bearer()) as answer:
        pieces = answer.aiter_raw()
        assert await anext(pieces) == b"event: progress\ndata: 1\n\n", "before the stream goes on"
        go_on.set()
        assert b"".join([piece async for piece in pieces]) == b"event: end\ndata: 2\n\n"


async def test_a_stream_may_pause_longer_than_other_answers(
    start_gateway: Any, services: Services, issuer: TokenIssuer
) -> None:
    gateway = await start_gateway(read_timeout_seconds=0.2)

    async def handler(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.6)
        return web.Response(body=b"late")

    services["analytics"].handler = handler
    assert (await gateway.client.get("/v1/campaigns/1/progress", headers=issuer.bearer())).content == b"late"
    late = await gateway.client.get("/v1/campaigns/1/statistics", headers=issuer.bearer())
    assert (late.status_code, late.json()["code"]) == (504, "upstream_timeout")


async def test_a_client_that_leaves_ends_the_call_behind(gateway: Any, services: Services, issuer: TokenIssuer) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    services["campaigns"].handler = handler
    calling = asyncio.create_task(gateway.client.get("/v1/contacts", headers=issuer.bearer()))
    await started.wait()
    calling.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await calling
    await eventually(ended.is_set)


async def test_a_client_that_leaves_a_stream_ends_it(gateway: Any, services: Services, issuer: TokenIssuer) -> None:
    ended = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        try:
            await answer.write(b"data: 1\n\n")
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    services["analytics"].handler = handler
    async with gateway.client.stream("GET", "/v1/campaigns/1/progress", headers=issuer.bearer()) as answer:
        await anext(answer.aiter_raw())
    await eventually(ended.is_set)


async def test_an_upload_passes_while_it_arrives(gateway: Any, services: Services, issuer: TokenIssuer) -> None:
    first_seen, go_on = asyncio.Event(), asyncio.Event()
    received = bytearray()

    async def handler(request: web.Request) -> web.StreamResponse:
        async for piece in request.content.iter_any():
            received.extend(piece)
            first_seen.set()
        return web.json_response({"bytes": len(received)}, status=202)

    async def pieces() -> AsyncGenerator[bytes]:
        yield b"email\n"
        await go_on.wait()
        yield b"ada@example.com\n"

    services["campaigns"].handler = handler
    calling = asyncio.create_task(gateway.client.post("/v1/imports", content=pieces(), headers=issuer.bearer()))
    await first_seen.wait()
    assert bytes(received) == b"email\n", "before the upload goes on"
    go_on.set()
    answer = await calling
    assert (answer.status_code, answer.json()) == (202, {"bytes": 22})


async def test_bodies_have_limits(gateway: Any, services: Services, issuer: TokenIssuer) -> None:
    async def pieces(count: int) -> AsyncGenerator[bytes]:
        for _ in range(count):
            yield b"a" * 65_536

    announced = await gateway.client.post("/v1/contacts", content=b"a" * (1024 * 1024 + 1), headers=issuer.bearer())
    assert (announced.status_code, announced.json()["code"]) == (413, "body_too_large")
    assert services["campaigns"].seen == []
    chunked = await gateway.client.post("/v1/contacts", content=pieces(17), headers=issuer.bearer())
    assert (chunked.status_code, chunked.json()["code"]) == (413, "body_too_large")
    fits = await gateway.client.post("/v1/contacts", content=pieces(16), headers=issuer.bearer())
    assert fits.status_code == 200
    large = await gateway.client.post("/v1/imports", content=pieces(100), headers=issuer.bearer())
    assert large.status_code == 200
    head = (
        f"POST /v1/imports HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {issuer.token()}\r\n"
        f"Content-Length: {200 * 1024 * 1024 + 1}\r\nExpect: 100-continue\r\n\r\n"
    )
    assert (await exchange_bytes(gateway.port, head.encode())).startswith(b"HTTP/1.1 413 ")


async def test_a_client_that_waits_for_100_continue_is_told(
    gateway: Any, services: Services, issuer: TokenIssuer
) -> None:
    head = (
        f"POST /v1/contacts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {issuer.token()}\r\n"
        "Content-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    )
    async with connection(gateway.port) as (reader, writer):
        writer.write(head.encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        writer.write(b"abc")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    assert services["campaigns"].seen[0].body == b"abc"


async def test_a_client_that_stops_in_the_middle_of_a_body_is_not_waited_for(
    start_gateway: Any, services: Services, issuer: TokenIssuer
) -> None:
    gateway = await start_gateway(read_timeout_seconds=0.3)
    head = (
        f"POST /v1/imports HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {issuer.token()}\r\nContent-Length: 10\r\n\r\n"
    )
    assert (await exchange_bytes(gateway.port, head.encode() + b"abc")).startswith(b"HTTP/1.1 408 ")
    assert services["campaigns"].seen == []
