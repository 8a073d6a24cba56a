"""Requests on their way to the services and back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from aiohttp import web

from posthorn_gateway.entrypoints.http.server import StrictHttpProtocol

from .support import FakeService, TokenIssuer, connection, eventually, exchange_bytes

Services = dict[str, FakeService]


@pytest.mark.parametrize(
    ("method", "path", "service"),
    [
        ("POST", "/v1/auth/login", "auth"),
        ("GET", "/v1/auth/me", "auth"),
        ("GET", "/v1/users/1", "auth"),
        ("GET", "/v1/campaigns/1/statistics/links", "analytics"),
        ("GET", "/v1/campaigns/1/send", "mailer"),
        ("DELETE", "/v1/relays/1", "mailer"),
        ("PUT", "/v1/sending-limits", "mailer"),
        ("POST", "/v1/campaigns/1/actions/send", "campaigns"),
        ("GET", "/v1/contacts?limit=2&search=%C3%A9%20a", "campaigns"),
        ("GET", "/t/o/abc", "analytics"),
        ("GET", "/t/c/abc/3", "analytics"),
        ("POST", "/u/abc", "campaigns"),
        ("GET", "/v1/suppressions/ada%40example.com", "mailer"),
    ],
)
async def test_each_path_reaches_its_service_unchanged(
    gateway: Any, services: Services, issuer: TokenIssuer, method: str, path: str, service: str
) -> None:
    answer = await gateway.client.request(method, path, headers=issuer.bearer())
    assert answer.status_code == 200
    assert [(seen.method, seen.path) for seen in services[service].seen] == [(method, path)]


async def test_what_is_not_in_the_table_does_not_exist(gateway: Any, services: Services, issuer: TokenIssuer) -> None:
    for path in (
        "/internal", "/internal/api-keys/exchange", "/v1", "/v1/unknown", "/v1/usersx", "/v1/contacts/",
        "/v1/campaigns/1/statistics/", "/t/x/abc", "/u/abc/def", "/V1/contacts", "/v1/%63ontacts",
    ):  # fmt: skip
        answer = await gateway.client.get(path, headers=issuer.bearer())
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
        assert answer.headers["content-type"] == "application/problem+json"
    assert not any(service.seen for service in services.values())


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


async def test_headers_are_cleaned_on_the_way_in(gateway: Any, services: Services, issuer: TokenIssuer) -> None:
    forged = {
        "X-User-Id": "1", "X-Organisation-Id": "1", "X-Internal-Token": "1", "X-Forwarded-For": "6.6.6.6",
        "X-Forwarded-Host": "evil.example", "Forwarded": "for=6.6.6.6", "X-Real-IP": "6.6.6.6", "X-Secret": "hop",
        "Connection": "keep-alive, X-Secret", "TE": "trailers", "Upgrade": "h2c", "Proxy-Authorization": "Basic x",
        "X-Custom": "stays", "Idempotency-Key": "abc", "Cookie": "a=b",
    }  # fmt: skip
    token = issuer.token()
    await gateway.client.get("/v1/contacts", headers={**forged, "Authorization": f"bearer {token}"})
    passed = {name.lower(): value for name, value in services["campaigns"].seen[0].headers.items()}
    for name in ("x-user-id", "x-organisation-id", "x-internal-token", "forwarded", "x-real-ip", "x-secret", "te",
                 "upgrade", "proxy-authorization"):  # fmt: skip
        assert name not in passed
    assert passed["authorization"] == f"Bearer {token}"
    assert passed["x-forwarded-for"] == "127.0.0.1"
    assert passed["x-forwarded-proto"] == "http"
    assert passed["x-forwarded-host"] == f"127.0.0.1:{gateway.port}"
    assert (passed["x-custom"], passed["idempotency-key"]) == ("stays", "abc")


async def test_a_trusted_proxy_may_say_who_calls(start_gateway: Any, services: Services, issuer: TokenIssuer) -> None:
    gateway = await start_gateway(trusted_proxies=["127.0.0.0/8", "10.0.0.0/8"])
    told = {"X-Forwarded-For": "6.6.6.6, 203.0.113.9, 10.1.2.3", "X-Forwarded-Proto": "https"}
    await gateway.client.get("/v1/contacts", headers={**issuer.bearer(), **told})
    passed = services["campaigns"].seen[0].headers
    assert passed["X-Forwarded-For"] == "203.0.113.9", "what stands before the last stranger may be made up"
    assert passed["X-Forwarded-Proto"] == "https"


async def test_ids_follow_a_request(gateway: Any, services: Services, issuer: TokenIssuer) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = {**issuer.bearer(), "X-Request-ID": "a-good-request-id", "traceparent": trace}
    answer = await gateway.client.get("/v1/contacts", headers=headers)
    assert answer.headers.get_list("x-request-id") == ["a-good-request-id"]
    passed = services["campaigns"].seen[0].headers
    assert passed["X-Request-ID"] == "a-good-request-id"
    assert passed["traceparent"].split("-")[1] == trace.split("-")[1]
    assert passed["traceparent"].split("-")[2] != trace.split("-")[2]
    made = await gateway.client.get("/v1/contacts", headers={**issuer.bearer(), "X-Request-ID": "bad id"})
    assert made.headers["x-request-id"] == services["campaigns"].seen[1].headers["X-Request-ID"] != "bad id"


async def test_headers_are_cleaned_on_the_way_out(gateway: Any, services: Services, issuer: TokenIssuer) -> None:
    async def handler(_request: web.Request) -> web.Response:
        headers = [
            ("Server", "secret/1"), ("X-Powered-By", "secret"), ("Keep-Alive", "timeout=5"), ("X-Hop", "1"),
            ("Connection", "X-Hop"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("Referrer-Policy", "origin"),
        ]  # fmt: skip
        answer = web.Response(body=b"x")
        for name, value in headers:
            answer.headers.add(name, value)
        return answer

    services["campaigns"].handler = handler
    answer = await gateway.client.get("/v1/contacts", headers=issuer.bearer())
    for name in ("server", "x-powered-by", "keep-alive", "x-hop"):
        assert name not in answer.headers
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert answer.headers.get_list("date") != []
    assert len(answer.headers.get_list("date")) == 1
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert answer.headers.get_list("referrer-policy") == ["origin"]


@pytest.mark.parametrize("status", [200, 201, 204, 304, 302, 404, 409, 500])
async def test_every_status_comes_back(gateway: Any, services: Services, issuer: TokenIssuer, status: int) -> None:
    async def handler(_request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": "https://example.com/x"})

    services["campaigns"].handler = handler
    answer = await gateway.client.get("/v1/contacts", headers=issuer.bearer())
    assert answer.status_code == status
    assert answer.headers["location"] == "https://example.com/x"


async def test_head_has_the_length_and_no_body(gateway: Any, services: Services, issuer: TokenIssuer) -> None:
    for _ in range(2):  # the second one shows that the connection is still in step
        answer = await gateway.client.head("/v1/contacts", headers=issuer.bearer())
        assert (answer.status_code, answer.content) == (200, b"")
        assert int(answer.headers["content-length"]) > 0


async def test_compressed_answers_pass_unchanged(gateway: Any, services: Services, issuer: TokenIssuer) -> None:
    async def handler(request: web.Request) -> web.Response:
        assert request.headers["Accept-Encoding"] == "gzip"
        answer = web.Response(body=b"a" * 10_000)
        answer.enable_compression(web.ContentCoding.gzip)
        return answer

    services["campaigns"].handler = handler
    headers = {**issuer.bearer(), "Accept-Encoding": "gzip"}
    answer = await gateway.client.get("/v1/contacts", headers=headers)
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.content == b"a" * 10_000


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
