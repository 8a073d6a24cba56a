"""Where requests go, and what of a request and its answer passes the gateway."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from .support import FakeService, TokenIssuer

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
