"""Which requests are taken: targets, hosts, methods, and heads as a whole."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from posthorn_gateway.entrypoints.http.server import StrictHttpProtocol

from .support import FakeService, TokenIssuer, connection, exchange_bytes

Services = dict[str, FakeService]


@pytest.mark.parametrize(
    "target",
    [
        "/v1/contacts/../../internal/messages", "/v1/./contacts", "/v1//contacts", "//v1/contacts", "/v1/contacts/..",
        "/v1/contacts/%2e%2e/internal", "/v1/contacts/%2E", "/v1/contacts%2Fx", "/v1/contacts/%5c..", "/v1/con\\tacts",
        "/v1/contacts/%0d%0aX-Evil:%201", "/v1/contacts/%00", "/v1/contacts/%", "/v1/contacts/%zz", "/v1/contacts?a=\"",
        "http://127.0.0.1/v1/contacts", "@evil", "*", "/v1/contacts#x", "/" + "a" * 20_000,
    ],
)  # fmt: skip
async def test_targets_that_could_be_read_in_two_ways_are_refused(
    gateway: Any, services: Services, issuer: TokenIssuer, target: str
) -> None:
    request = f"GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {issuer.token()}\r\n\r\n"
    head = await exchange_bytes(gateway.port, request.encode())
    assert head.startswith(b"HTTP/1.1 400 "), head
    assert not any(service.seen for service in services.values())


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v1/contacts HTTP/1.1\r\n",
        b"GET /v1/contacts HTTP/1.1\r\nHost: a\r\nHost: b\r\n",
        b"GET /v1/contacts HTTP/1.1\r\nHost: example/abc?x=\r\n",
        b"GET /v1/contacts HTTP/1.1\r\nHost: a\r\nX-Long: " + b"a" * 65_536 + b"\r\n",
        b"GET /v1/contacts HTTP/1.1\r\nHost: a\r\n" + b"X-Many: 1\r\n" * 200,
        b"GET /v1/contacts HTTP/1.1\r\nHost: a\r\nX-Bad: a\rb\r\n",
        b"POST /v1/contacts HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"POST /v1/contacts HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n",
    ],
)
async def test_malformed_heads_are_refused(gateway: Any, services: Services, head: bytes) -> None:
    answer = await exchange_bytes(gateway.port, head + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert b"application/problem+json" in answer
    assert not services["campaigns"].seen


@pytest.mark.parametrize(
    "beginnings",
    [
        (b"",),
        (b"GET /v1/contacts HT",),
        (b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /health/live HTTP/1.1\r\nX-"),
    ],
)
async def test_heads_that_do_not_end_are_not_waited_for(
    gateway: Any, monkeypatch: pytest.MonkeyPatch, beginnings: tuple[bytes, ...]
) -> None:
    monkeypatch.setattr(StrictHttpProtocol, "head_seconds", 0.3)
    async with connection(gateway.port) as (reader, writer), asyncio.timeout(30):
        for beginning in beginnings[:-1]:
            writer.write(beginning)
            assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 OK")
        writer.write(beginnings[-1])
        assert await reader.read() == b"", "closed"


async def test_waiting_for_a_head_does_not_cut_an_answer_short(
    gateway: Any, services: Services, issuer: TokenIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StrictHttpProtocol, "head_seconds", 0.1)

    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(0.5)
        return web.Response(text="late")

    services["campaigns"].handler = slow
    answer = await gateway.client.get("/v1/contacts", headers=issuer.bearer())
    assert (answer.status_code, answer.text) == (200, "late")


async def test_only_configured_hosts_are_served_if_there_are_any(start_gateway: Any, issuer: TokenIssuer) -> None:
    gateway = await start_gateway(allowed_hosts=["mail.example.com"])
    for host, status in (("mail.example.com", 200), ("MAIL.example.com:8080", 200), ("evil.example", 400)):
        answer = await gateway.client.get("/v1/contacts", headers={**issuer.bearer(), "Host": host})
        assert answer.status_code == status


async def test_unknown_methods_are_refused(gateway: Any) -> None:
    answer = await gateway.client.request("TRACE", "/v1/contacts")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
