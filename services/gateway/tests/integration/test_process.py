"""The gateway as a process of its own: memory under load, and its end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest_asyncio
from aiohttp import web

from .support import GUARD_SECONDS, FakeService, TokenIssuer, eventually

Services = dict[str, FakeService]
MEBIBYTE = 1024 * 1024


class GatewayProcess:
    """`posthorn-gateway run`."""

    def __init__(self, process: asyncio.subprocess.Process, client: httpx.AsyncClient) -> None:
        self.process = process
        self.client = client

    def resident_bytes(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)


@pytest_asyncio.fixture
async def process(gateway_settings: dict[str, Any]) -> AsyncGenerator[GatewayProcess]:
    environment = {f"POSTHORN_GATEWAY_{name.upper()}": str(value) for name, value in gateway_settings.items()}
    program = Path(sys.executable).with_name("posthorn-gateway")
    started = await asyncio.create_subprocess_exec(
        program, "run", env={**os.environ, **environment}, stdout=asyncio.subprocess.DEVNULL
    )
    base_url = f"http://127.0.0.1:{gateway_settings['port']}"
    async with httpx.AsyncClient(base_url=base_url, timeout=120, trust_env=False) as client:

        async def is_ready() -> bool:
            try:
                return (await client.get("/health/ready")).status_code == 200
            except httpx.TransportError:
                return False

        try:
            await eventually(is_ready)
            yield GatewayProcess(started, client)
        finally:
            if started.returncode is None:
                started.kill()
            await started.wait()


async def test_a_large_upload_and_a_large_answer_take_little_memory(
    process: GatewayProcess, services: Services, issuer: TokenIssuer
) -> None:
    size = 190 * MEBIBYTE
    piece = b"a" * MEBIBYTE

    async def handler(request: web.Request) -> web.StreamResponse:
        received = 0
        async for part in request.content.iter_any():
            received += len(part)
        answer = web.StreamResponse()
        await answer.prepare(request)
        for _ in range(received // MEBIBYTE):
            await answer.write(piece)
        return answer

    async def pieces() -> AsyncGenerator[bytes]:
        for _ in range(size // MEBIBYTE):
            yield piece
            resident.append(process.resident_bytes())

    services["campaigns"].handler = handler
    assert (await process.client.get("/docs")).status_code == 200
    before = process.resident_bytes()
    resident: list[int] = []
    received = 0
    headers = {**issuer.bearer(), "Content-Length": str(size)}
    async with process.client.stream("POST", "/v1/imports", content=pieces(), headers=headers) as answer:
        async for part in answer.aiter_raw():
            received += len(part)
            resident.append(process.resident_bytes())
    assert received == size
    assert max(resident) - before < 40 * MEBIBYTE


async def test_on_sigterm_it_finishes_what_it_has_begun(
    process: GatewayProcess, services: Services, issuer: TokenIssuer
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def handler(_request: web.Request) -> web.Response:
        begun.set()
        await go_on.wait()
        return web.Response(body=b"done")

    services["campaigns"].handler = handler
    calling = asyncio.create_task(process.client.get("/v1/contacts", headers=issuer.bearer()))
    await begun.wait()
    process.process.send_signal(signal.SIGTERM)

    async def refuses_new_connections() -> bool:
        try:
            async with httpx.AsyncClient(base_url=process.client.base_url, trust_env=False) as stranger:
                await stranger.get("/health/live")
        except httpx.TransportError:
            return True
        return False

    await eventually(refuses_new_connections)
    go_on.set()
    answer = await calling
    assert (answer.status_code, answer.content) == (200, b"done")
    async with asyncio.timeout(GUARD_SECONDS):
        assert await process.process.wait() == 0


async def test_on_sigterm_streams_end_properly(
    process: GatewayProcess, services: Services, issuer: TokenIssuer
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        await answer.write(b"data: 1\n\n")
        await asyncio.Event().wait()
        raise AssertionError

    services["analytics"].handler = handler
    async with process.client.stream("GET", "/v1/campaigns/1/progress", headers=issuer.bearer()) as answer:
        pieces = answer.aiter_raw()
        assert await anext(pieces) == b"data: 1\n\n"
        process.process.send_signal(signal.SIGTERM)
        assert [piece async for piece in pieces] == [], "an end, not a broken connection"
    async with asyncio.timeout(GUARD_SECONDS):
        assert await process.process.wait() == 0


async def test_on_sigterm_a_stream_that_has_not_begun_is_refused(
    process: GatewayProcess, services: Services, issuer: TokenIssuer
) -> None:
    begun = asyncio.Event()

    async def handler(_request: web.Request) -> web.StreamResponse:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    services["analytics"].handler = handler
    calling = asyncio.create_task(process.client.get("/v1/campaigns/1/progress", headers=issuer.bearer()))
    await begun.wait()
    process.process.send_signal(signal.SIGTERM)
    answer = await calling
    assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
