"""Services that are away, or answer something else than they should."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from .support import FakeService, TokenIssuer

Services = dict[str, FakeService]


async def test_a_service_that_is_down_is_a_503_and_the_others_go_on(
    gateway: Any, services: Services, issuer: TokenIssuer
) -> None:
    await services["campaigns"].stop()
    for method in ("GET", "POST"):
        answer = await gateway.client.request(method, "/v1/contacts", headers=issuer.bearer())
        assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert (await gateway.client.get("/v1/relays", headers=issuer.bearer())).status_code == 200
    await services["campaigns"].start()
    assert (await gateway.client.get("/v1/contacts", headers=issuer.bearer())).status_code == 200


class FlakyServer:
    """A server that closes its first connections before it answers."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.requests: list[bytes] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            self.requests.append((await reader.readuntil(b"\r\n")).split(b" ")[0])
            await reader.readuntil(b"\r\n\r\n")
            if len(self.requests) > self.failures:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                await writer.drain()
        writer.close()


@pytest.mark.parametrize(
    ("method", "failures", "status", "attempts"),
    [
        ("GET", 1, 200, 2), ("DELETE", 1, 200, 2), ("GET", 5, 503, 2),
        ("POST", 1, 503, 1), ("PATCH", 1, 503, 1),
    ],
)  # fmt: skip
async def test_only_what_may_be_repeated_is_repeated_and_only_once(
    start_gateway: Any, issuer: TokenIssuer, method: str, failures: int, status: int, attempts: int
) -> None:
    flaky = FlakyServer(failures)
    server = await asyncio.start_server(flaky.handle, "127.0.0.1", 0)
    async with server:
        gateway = await start_gateway(campaigns_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        answer = await gateway.client.request(method, "/v1/contacts/1", headers=issuer.bearer())
        assert answer.status_code == status
        assert flaky.requests == [method.encode()] * attempts


async def test_an_upload_is_never_repeated(start_gateway: Any, issuer: TokenIssuer) -> None:
    async def pieces() -> AsyncGenerator[bytes]:
        yield b"a" * 10
        await asyncio.sleep(0.05)
        yield b"b" * 10

    flaky = FlakyServer(1)
    server = await asyncio.start_server(flaky.handle, "127.0.0.1", 0)
    async with server:
        gateway = await start_gateway(campaigns_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        answer = await gateway.client.put("/v1/contacts/1", content=pieces(), headers=issuer.bearer())
        assert answer.status_code == 503
        assert flaky.requests == [b"PUT"]


async def test_an_answer_that_is_not_http_is_a_502(start_gateway: Any, issuer: TokenIssuer) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SMTP ready\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        gateway = await start_gateway(campaigns_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        answer = await gateway.client.get("/v1/contacts", headers=issuer.bearer())
        assert (answer.status_code, answer.json()["code"]) == (502, "bad_gateway")


async def test_an_answer_that_breaks_off_is_not_completed(start_gateway: Any, issuer: TokenIssuer) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        gateway = await start_gateway(campaigns_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(httpx.RemoteProtocolError):
            await gateway.client.get("/v1/contacts", headers=issuer.bearer())
