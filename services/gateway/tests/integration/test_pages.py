"""The gateway's own pages: documentation, health, metrics."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import httpx
import pytest
from aiohttp import web

from .support import FakeAuth, FakeService, TokenIssuer

Services = dict[str, FakeService]


def _document(path: str, model: dict[str, Any], operation_id: str = "list_things") -> dict[str, Any]:
    answer = {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Page"}}}}}
    operation = {
        "operationId": operation_id, "tags": ["things"], "security": [{"HTTPBearer": []}], "responses": answer,
    }  # fmt: skip
    return {
        "openapi": "3.1.0",
        "paths": {path: {"get": operation}, "/internal/secret": {"get": {"operationId": "secret"}}},
        "components": {"schemas": {"Page": model}, "securitySchemes": {"HTTPBearer": {"type": "http"}}},
    }


def _serve(service: FakeService, document: dict[str, Any]) -> list[str]:
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        if not request.path.startswith("/internal/"):  # asked in the background
            asked.append(request.path)
        ready = {"service": service.name, "status": "ok", "checks": {"database": "ok"}}
        return web.json_response(document if request.path == "/openapi.json" else ready)

    service.handler = handler
    return asked


def _serve_all(services: Services) -> dict[str, list[str]]:
    documents = {
        "auth": _document("/v1/users", {"title": "Page", "type": "object"}),
        "campaigns": _document("/v1/contacts", {"title": "Page", "type": "array"}),
        "mailer": _document("/v1/relays", {"title": "Page", "type": "object"}, "list_relays"),
        "analytics": _document("/v1/statistics", {"title": "Page", "type": "string"}, "get_statistics"),
    }
    return {name: _serve(services[name], document) for name, document in documents.items()}


async def test_the_services_documents_become_one(gateway: Any, services: Services) -> None:
    asked = _serve_all(services)
    first, second = await asyncio.gather(gateway.client.get("/openapi.json"), gateway.client.get("/openapi.json"))
    document = first.json()
    assert first.content == second.content
    assert all(paths == ["/openapi.json"] for paths in asked.values()), "asked once"
    assert document["openapi"].startswith("3.1")
    assert list(document["paths"]) == ["/v1/users", "/v1/contacts", "/v1/relays", "/v1/statistics"]
    ids = [item["get"]["operationId"] for item in document["paths"].values()]
    assert ids == ["list_things", "campaigns_list_things", "list_relays", "get_statistics"]
    schemas = document["components"]["schemas"]
    for path, kind in (("/v1/users", "object"), ("/v1/contacts", "array"), ("/v1/statistics", "string")):
        schema = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
        assert schemas[schema.rpartition("/")[2]]["type"] == kind
    assert list(document["components"]["securitySchemes"]) == ["bearer"]
    assert document["servers"] == [{"url": "https://posthorn.test"}]
    assert "x-missing-services" not in document


async def test_a_service_that_is_down_is_missing_from_the_document_and_named(gateway: Any, services: Services) -> None:
    _serve_all(services)
    await services["mailer"].stop()
    document = (await gateway.client.get("/openapi.json")).json()
    assert document["x-missing-services"] == ["mailer"]
    assert "/v1/contacts" in document["paths"]
    assert "/v1/relays" not in document["paths"]


async def test_the_bare_address_leads_to_the_documentation(gateway: Any) -> None:
    answer = await gateway.client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (302, "docs")


async def test_the_documentation_page_needs_nobody_else(gateway: Any) -> None:
    page = await gateway.client.get("/docs")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    sources = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(sources) >= 4
    script = (await gateway.client.get("/docs/assets/docs.js")).text
    for text in (page.text, script):
        assert "//" not in text.replace("// Starts", ""), "no address of another host"
    assert "<script>" not in page.text, "the policy allows no inline script"
    base = httpx.URL(f"http://127.0.0.1:{gateway.port}/docs")
    for source in sources:
        if source.startswith("data:"):
            continue
        answer = await gateway.client.get(base.join(source))
        assert answer.status_code == 200, source
        assert answer.headers["x-content-type-options"] == "nosniff"
    for wanted in ("swagger-ui.css", "swagger-ui-bundle.js"):
        assert f"docs/assets/{wanted}" in sources


async def test_assets_are_compressed_and_kept_by_browsers(gateway: Any) -> None:
    path = "/docs/assets/swagger-ui-bundle.js"
    plain = await gateway.client.get(path, headers={"Accept-Encoding": "identity"})
    packed = await gateway.client.get(path, headers={"Accept-Encoding": "gzip"})
    assert plain.content == packed.content
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 3
    again = await gateway.client.get(path, headers={"If-None-Match": plain.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    for name in ("NOTICE", "unknown.js"):
        assert (await gateway.client.get(f"/docs/assets/{name}")).status_code == 404


async def test_the_health_of_all_services_is_reported(start_gateway: Any, services: Services) -> None:
    gateway = await start_gateway()
    _serve_all(services)
    answer = await gateway.client.get("/health/services")
    report = answer.json()
    assert (answer.status_code, report["status"]) == (200, "ok")
    assert set(report["services"]) == {"auth", "campaigns", "mailer", "analytics"}
    assert report["services"]["mailer"]["checks"] == {"database": "ok"}
    assert report["services"]["mailer"]["latency_ms"] > 0


async def test_one_sick_service_degrades_the_whole_and_leaves_the_gateway_ready(
    gateway: Any, services: Services, auth: FakeAuth
) -> None:
    assert (await gateway.client.get("/health/ready")).status_code == 200
    _serve_all(services)
    await services["campaigns"].stop()

    async def not_ready(_request: web.Request) -> web.Response:
        return web.json_response({"status": "unavailable", "checks": {"database": "OSError"}}, status=503)

    services["mailer"].handler = not_ready
    answer = await gateway.client.get("/health/services")
    states = {name: state["status"] for name, state in answer.json()["services"].items()}
    assert (answer.status_code, answer.json()["status"]) == (503, "degraded")
    assert states == {"auth": "ok", "campaigns": "unreachable", "mailer": "unavailable", "analytics": "ok"}
    assert answer.json()["services"]["mailer"]["checks"] == {"database": "OSError"}
    assert (await gateway.client.get("/health/ready")).status_code == 200
    assert (await gateway.client.get("/health/live")).status_code == 200


async def test_a_service_that_hangs_does_not_hold_the_report_up(gateway: Any, services: Services) -> None:
    _serve_all(services)

    async def hang(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    services["analytics"].handler = hang
    report = (await gateway.client.get("/health/services")).json()
    assert report["services"]["analytics"]["status"] == "unreachable"
    assert report["services"]["auth"]["status"] == "ok"


async def test_requests_are_measured_by_service_and_outcome(gateway: Any, issuer: TokenIssuer) -> None:
    def count(text: str, labels: str) -> float:
        found = re.search(rf"posthorn_gateway_requests_total{{{re.escape(labels)}}} (\S+)", text)
        return float(found[1]) if found else 0.0

    wanted = {
        'method="GET",service="campaigns",status_class="2xx"': 1,
        'method="GET",service="campaigns",status_class="4xx"': 2,
        'method="other",service="none",status_class="4xx"': 1,
    }
    before = (await gateway.client.get("/metrics")).text
    await gateway.client.get("/v1/contacts", headers=issuer.bearer())
    await gateway.client.get("/v1/contacts")
    await gateway.client.get("/v1/contacts/secret-path-token")
    await gateway.client.request("TRACE", "/v1/contacts")
    after = (await gateway.client.get("/metrics")).text
    for labels, added in wanted.items():
        assert count(after, labels) - count(before, labels) == added, labels
    assert "secret-path-token" not in after
    assert 'posthorn_gateway_upstream_seconds_count{service="campaigns"}' in after


async def test_the_log_has_the_route_and_not_the_token(gateway: Any, capsys: Any, issuer: TokenIssuer) -> None:
    await gateway.client.get("/u/secret-recipient-token")
    await gateway.client.get("/v1/contacts?search=secret-search", headers=issuer.bearer())
    out = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)  # in colours where the environment wants them
    assert "route=/u/{token}" in out
    assert "route=/v1/contacts*" in out
    assert "secret" not in out


async def test_a_gateway_that_only_listens_to_events_serves_no_routes(start_gateway: Any, issuer: TokenIssuer) -> None:
    gateway = await start_gateway(roles=("consumer",))
    assert (await gateway.client.get("/health/ready")).status_code == 200
    assert (await gateway.client.get("/v1/contacts", headers=issuer.bearer())).status_code == 404


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "/%6detrics"])
@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Real-IP", "Forwarded", "Via"])
async def test_metrics_are_not_for_what_comes_through_a_proxy(gateway: Any, path: str, header: str) -> None:
    answer = await gateway.client.get(path, headers={header: "10.0.0.1"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await gateway.client.get("/metrics")).status_code == 200
